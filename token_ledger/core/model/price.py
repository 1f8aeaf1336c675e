"""Owns the price book: dated rates per model, and what a model is called in the books (see `charge` for costs).

Rates are integers (see `money`). A tier replaces every rate once the whole input passes its threshold, the "cliff"
that providers publish; marginal tiers are for the input beyond it only (see `marginal_tiers`). Of the tokens that every
call has, a kind without a rate of its own costs what the kind it is a part of costs; other kinds without one have no
price, and cost what another entry says that is assumed in its place, if there is one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

from token_ledger.core.model.nearest_names import NearestNames, Ranked, most_alike


class Rates(NamedTuple):
    """Atto-dollars per million tokens for the kinds of tokens that every call has, in the order of `Usage`."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    reasoning: int

    @property
    def dearest_output(self) -> int:
        """The highest rate that a token of output may have."""
        return max(self.output, self.reasoning)


STANDARD = "standard"
SERVICE_TIERS = (STANDARD, "flex", "priority", "batch", "fast")
"""How a provider treats a call, by the names that providers use; each may have rates of its own."""

OtherRates = Mapping[str, int]
"""Rates of other kinds by their names, in atto-dollars for as many as `OtherKind.per` says."""


@dataclass(frozen=True, slots=True)
class Price:
    """One dated entry of the price book: base rates and tiers `(input tokens above which, rates)`, ascending.

    `others` are the rates of other kinds, in the same way: those of the base, and of tiers. A kind that is not there
    has no price; without `has_token_rates` tokens have none. `service_tiers` are the prices of calls that are not
    served in the standard way; of those that apply at an instant the last counts. `listed` is the entry without the
    discount `discount_id` of the tenant, whose factor is in all rates; both None where there is no discount.
    """

    price_id: int
    base: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    valid_from: datetime | None = None
    daily_from: time | None = None
    daily_until: time | None = None
    others: OtherRates = field(default_factory=dict)
    other_tiers: tuple[tuple[int, OtherRates], ...] = ()
    service_tiers: Mapping[str, tuple["Price", ...]] = field(default_factory=dict)
    has_token_rates: bool = True
    stands_in: bool = False
    """Whether it is only assumed, for models whose price is unknown: what is priced by it is flagged."""
    discount_id: int | None = None
    listed: "Price | None" = None
    tiers_are_marginal: bool = False
    """Whether the tiers are for the input beyond their thresholds only, and not cliffs."""

    @property
    def bands(self) -> tuple[tuple[int, Rates, OtherRates], ...]:
        """The base and the tiers, each with the number of input tokens above which it begins."""
        others = dict(self.other_tiers)
        tiers = ((above, rates, others.get(above, self.others)) for above, rates in self.tiers)
        return (0, self.base, self.others), *tiers

    def divides(self, input_tokens: int) -> bool:
        """Tell whether input reaches beyond the first threshold of marginal tiers."""
        return self.tiers_are_marginal and bool(self.tiers) and input_tokens > self.tiers[0][0]

    def rates_for(self, input_tokens: int) -> Rates:
        """Return the rates that a call with this whole input falls into; marginal tiers divide the input itself."""
        if not self.tiers or input_tokens <= self.tiers[0][0] or self.tiers_are_marginal:
            return self.base
        position = bisect_left(self.tiers, input_tokens, key=lambda tier: tier[0])
        return self.tiers[position - 1][1]

    def other_rates_for(self, input_tokens: int) -> OtherRates:
        """Return the rates of other kinds that a call with this whole input falls into, in the same way."""
        if self.tiers_are_marginal:
            return self.others
        reached = [rates for above, rates in self.other_tiers if input_tokens > above]
        return reached[-1] if reached else self.others

    def served_as(self, service_tier: str | None, at: datetime) -> "Price | None":
        """Return the price of a service tier, or None if it has none; without a tier, that of the standard one."""
        if service_tier is None:
            return self
        served = self.service_tiers.get(service_tier, ())
        return next((price for price in reversed(served) if price.applies_at(at)), None)

    def applies_at(self, at: datetime) -> bool:
        """Tell whether this entry is valid at an instant; daily hours are UTC and may wrap over midnight."""
        if self.valid_from is not None and at < self.valid_from:
            return False
        if self.daily_from is None or self.daily_until is None:
            return True
        clock = at.astimezone(UTC).time()
        if self.daily_from <= self.daily_until:
            return self.daily_from <= clock < self.daily_until
        return clock >= self.daily_from or clock < self.daily_until


class ModelName(NamedTuple):
    """The one name of a model in the books, whatever it is called by callers."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """All entries of one model; of those that apply at an instant the last in the book counts."""

    provider: str
    model: str
    entries: tuple[Price, ...]

    def at(self, instant: datetime) -> Price | None:
        """Return the price at an instant, or None where none applies yet."""
        for price in reversed(self.entries):
            if price.applies_at(instant):
                return price
        return None

    @property
    def dated(self) -> tuple[Price, ...]:
        """All entries that count at some time, those of a tenant's own among them, without discounts."""
        return self.entries

    def has(self, price_id: int) -> bool:
        """Tell whether an entry is one of this model's."""
        return any(price.price_id == price_id for price in self.entries)

    def begins_after(self, instant: datetime) -> datetime | None:
        """Return when the first entry begins that does so after an instant, None where none does."""
        dated = (price.valid_from for price in self.dated if price.valid_from is not None)
        return min((begins for begins in dated if begins > instant), default=None)

    def list_at(self, instant: datetime) -> Price | None:
        """Return what the model costs everybody at an instant: without prices and discounts of a tenant's own."""
        return ModelPrices.at(self, instant)


@dataclass(frozen=True, slots=True)
class Turns:
    """When prices begin and end: on certain days, ascending, and every day at certain times."""

    instants: Sequence[datetime]
    daily: frozenset[time]

    @classmethod
    def of(cls, prices: Iterable[Price], others: Iterable[datetime | None] = ()) -> "Turns":
        """Return the turns of prices, of their service tiers, and at other instants."""
        instants = {instant for instant in others if instant is not None}
        daily: set[time] = set()
        for entry in prices:
            for price in (entry, *(each for served in entry.service_tiers.values() for each in served)):
                instants.update((price.valid_from,) if price.valid_from is not None else ())
                daily.update(each for each in (price.daily_from, price.daily_until) if each is not None)
        return cls(sorted(instants), frozenset(daily))

    def next(self, after: datetime) -> datetime | None:
        """Return the first turn after an instant, None where there is none."""
        place = bisect_right(self.instants, after)
        found = [*self.instants[place : place + 1]]
        day = after.astimezone(UTC).date()
        for clock in self.daily:
            today = datetime.combine(day, clock, UTC)
            found.append(today if today > after else today + timedelta(days=1))
        return min(found, default=None)


class PriceBook:
    """Finds a model's prices by the names that callers use; unknown names stay unknown, never free."""

    def __init__(
        self,
        models: Mapping[tuple[str, str], ModelPrices],
        resolve: Callable[[str, str], tuple[str, str] | None],
        providers: Mapping[str, str] | None = None,
        version: object = None,
    ) -> None:
        self.version = version
        """What was loaded, None where the book was not loaded."""
        self._models = models
        self._nearest: NearestNames | None = None
        self._turns: Turns | None = None
        self._providers = providers or {}
        self._resolve = resolve
        self._found: dict[tuple[str, str], ModelPrices | None] = {}
        self._names: dict[tuple[str, str], ModelName] = {}
        self._entries = {price.price_id: price for prices in models.values() for price in prices.entries}

    @property
    def names(self) -> Iterable[tuple[str, str]]:
        """The provider and the name of every model that has a price."""
        return self._models.keys()

    @property
    def edition(self) -> object:
        """What the book is made of: books of one edition price alike. None where it was not loaded."""
        return self.version

    @property
    def extent(self) -> tuple[object, ...]:
        """The version, and how many prices, aliases and discounts a tenant has added to it; these only grow."""
        return self.version, 0, 0, 0

    @property
    def base(self) -> "PriceBook":
        """The book without what a tenant has added."""
        return self

    def entry(self, price_id: int, discount_id: int | None = None) -> Price | None:
        """Return an entry by its id, less a discount of the tenant's, or None."""
        return self._entries.get(price_id)

    def name_of(self, provider: str, model: str) -> ModelName:
        """Return what a model is called in the books: as its price entry, or if it has none, its name in lower case.

        Without a provider, any will do; without a model, only the provider is named.

        Resellers list models under their vendor ("openai/gpt-5.4"). Such a model has the name that it has at its
        vendor, so that a budget of the model counts all its calls.
        """
        asked = provider, model
        name = self._names.get(asked)
        if name is None:
            if len(self._names) > _REMEMBERED_NAMES:
                self._names.clear()
            name = self._names[asked] = self._name_of(provider, model)
        return name

    def _name_of(self, provider: str, model: str) -> ModelName:
        prices = self.find(provider, model) if model else None
        if prices is None and model and not provider:
            wanted = model.strip().casefold()
            prices = next((each for each in self._models.values() if each.model.casefold() == wanted), None)
        if prices is None:
            return ModelName(self.provider_named(provider), model.strip().casefold())
        vendor, slash, rest = prices.model.partition("/")
        original = self.find(vendor, rest) if slash else None
        return ModelName(prices.provider, prices.model if original is None else original.model)

    def find(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model, by its exact name in the book first, then by its aliases."""
        name = (provider, model)
        try:
            return self._found[name]
        except KeyError:
            pass
        prices = self.look_up(provider, model)
        if len(self._found) > _REMEMBERED_NAMES:  # names come from callers: what they can fill must be bounded
            self._found.clear()
        self._found[name] = prices
        return prices

    def look_up(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model as `find` does, which remembers them."""
        prices = self._models.get((provider, model))
        if prices is None:
            canonical = self._resolve(provider, model)
            prices = self._models.get(canonical) if canonical is not None else None
        return prices

    def next_change(self, after: datetime) -> datetime | None:
        """Return the first instant after one at which what some call costs may change; None where there is none."""
        if self._turns is None:
            self._turns = Turns.of(prices for model in self._models.values() for prices in model.dated)
        return self._turns.next(after)

    def stand_in_at(self, instant: datetime) -> Price | None:
        """Return what models cost at an instant whose price is unknown, None where they are refused."""
        return None

    def nearest(self, provider: str, model: str) -> tuple[str, ...]:
        """Return the other names in the book that are most like one, the most like first, each as provider/model."""
        asked = f"{provider}/{model}"
        ranked = self.ranked(asked)
        return most_alike(*(tuple(each for each in part if each[1].casefold() != asked.casefold()) for part in ranked))

    def ranked(self, asked: str) -> tuple[tuple[Ranked, ...], ...]:
        """Return the names that are like one, as `NearestNames` finds them, of every part of the book."""
        if self._nearest is None:
            self._nearest = NearestNames(f"{provider}/{model}" for provider, model in self._models)
        return (self._nearest.of(asked),)

    def provider_named(self, provider: str) -> str:
        """Return what the book calls a provider; one that it does not know has its name in lower case."""
        name = provider.strip().casefold()
        return self._providers.get(name, name)


_REMEMBERED_NAMES = 10_000
