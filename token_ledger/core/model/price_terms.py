"""Owns what a tenant has added to the price book: entries, aliases, discounts, facts, and how names are found there.

A name may be a pattern: `*` in a model's name stands for anything. An exact name goes before a pattern, a longer
pattern before a shorter one, and a price before an alias of the same name. Every entry is dated: before, and after it
was withdrawn, what the global book says counts. An entry of any model of any provider (`*/*`) stands in for prices that
are unknown. Discounts take off what the global book says, never off a price of the tenant's own.
"""

from bisect import insort
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from token_ledger.core.model.discount import Discount, dated, discount_at, named, reduced
from token_ledger.core.model.frozen import value
from token_ledger.core.model.model_facts import OwnFacts
from token_ledger.core.model.name_patterns import ANYTHING, Names
from token_ledger.core.model.nearest_names import NearestNames, Ranked
from token_ledger.core.model.price import ModelName, ModelPrices, Price, PriceBook, Turns


@value
class OwnPrice:
    """An entry of a tenant's own, in force from an instant on, for one model or for all that a pattern names.

    `rates` is what is stored: plain data. Without a price, the entries before it are withdrawn: the global book counts.
    """

    price_id: int
    provider: str
    model: str
    valid_from: datetime
    rates: Mapping[str, Any] | None
    price: Price | None


@value
class Alias:
    """What a name stands for, or all names of a pattern; None if it stands for nothing any more."""

    alias_id: int
    provider: str
    model: str
    stands_for: ModelName | None


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """What a tenant has added to the price book, in the order in which it was decided."""

    prices: tuple[OwnPrice, ...] = ()
    aliases: tuple[Alias, ...] = ()
    discounts: tuple[Discount, ...] = ()
    facts: tuple[OwnFacts, ...] = ()

    @property
    def ids(self) -> tuple[frozenset[int], ...]:
        """The ids of all that changes what calls cost."""
        return (
            frozenset(each.price_id for each in self.prices),
            frozenset(each.alias_id for each in self.aliases),
            frozenset(each.discount_id for each in self.discounts),
        )

    def own_price_at(self, provider: str, model: str, at: datetime) -> OwnPrice | None:
        """Return the entry of exactly this name or pattern that is in force at an instant."""
        dated = (each for each in self.prices if _same(each, provider, model) and each.valid_from <= at)
        return max(enumerate(dated), key=lambda each: (each[1].valid_from, each[0]), default=(0, None))[1]

    def stood_in(self, price_id: int, at: datetime) -> bool:
        """Tell whether an entry stood in for unknown prices at an instant, by all that was decided until it was."""
        until = next((number for number, each in enumerate(self.prices, start=1) if each.price_id == price_id), 0)
        found = replace(self, prices=self.prices[:until]).own_price_at(ANYTHING, ANYTHING, at)
        return found is not None and found.price_id == price_id

    def alias_of(self, provider: str, model: str) -> Alias | None:
        """Return the newest alias of exactly this name or pattern."""
        return next((each for each in reversed(self.aliases) if _same(each, provider, model)), None)

    def facts_of(self, provider: str, model: str) -> OwnFacts | None:
        """Return what was said last of exactly this model or pattern."""
        return next((each for each in reversed(self.facts) if _same(each, provider, model)), None)

    def discount_at(self, provider: str, model: str, at: datetime) -> Discount | None:
        """Return the discount of exactly this name or pattern that is in force at an instant."""
        return discount_at((dated(each for each in self.discounts if _same(each, provider, model)),), at)


def _same(named: OwnPrice | Alias | Discount | OwnFacts, provider: str, model: str) -> bool:
    return named.provider == provider and named.model.casefold() == model.casefold()


NO_TERMS = PriceTerms()


@dataclass(frozen=True)
class _OwnedPrices(ModelPrices):
    """Prices of a model of which a tenant has entries of its own, ascending by their instants."""

    own: Sequence[OwnPrice] = field(default=())

    def at(self, instant: datetime) -> Price | None:
        """Return the tenant's price, or that of the global book where the tenant has none."""
        for each in reversed(self.own):
            if each.valid_from <= instant:
                if each.price is None:
                    break
                return each.price
        return super().at(instant)

    @property
    def dated(self) -> tuple[Price, ...]:
        """All entries that count at some time."""
        return (*self.entries, *(each.price for each in self.own if each.price is not None))

    def has(self, price_id: int) -> bool:
        """Tell whether an entry is one of this model's, of the tenant's or of the global book."""
        return super().has(price_id) or any(each.price_id == price_id for each in self.own)


@dataclass(frozen=True)
class _DiscountedPrices(ModelPrices):
    """Prices of a model that a tenant has discounts for, by name, the most exact name first.

    `made` keeps every entry that was discounted, by the ids of both: it is the same value for all calls.
    """

    before: ModelPrices
    discounts: Sequence[Sequence[Discount]]
    made: dict[tuple[int, int], Price]

    def at(self, instant: datetime) -> Price | None:
        """Return the price at an instant, less the discount; one of the tenant's own is as it is."""
        price = self.before.at(instant)
        if price is None or price.price_id < 0:
            return price
        discount = discount_at(self.discounts, instant)
        return price if discount is None else reduced(self.made, price, discount)

    @property
    def dated(self) -> tuple[Price, ...]:
        """All entries that count at some time, without the discounts."""
        return self.before.dated

    def has(self, price_id: int) -> bool:
        """Tell whether an entry is one of this model's."""
        return self.before.has(price_id)

    def list_at(self, instant: datetime) -> Price | None:
        """Return what the model costs everybody at an instant."""
        return self.before.list_at(instant)


class TenantPriceBook(PriceBook):
    """The price book as one tenant sees it: its own entries and aliases, then the global book."""

    def __init__(self, base: PriceBook, terms: PriceTerms) -> None:
        self._base = base
        self._own: Names[list[OwnPrice]] = Names()
        self._aliases: Names[ModelName | None] = Names()
        stand_ins: list[OwnPrice] = []
        for each in terms.prices:
            if each.provider == ANYTHING:
                insort(stand_ins, _standing_in(each), key=lambda entry: entry.valid_from)
                continue
            provider = base.provider_named(each.provider)
            dated = self._own.get(provider, each.model)
            if dated is None:
                self._own.put(provider, each.model, dated := [])
            insort(dated, each, key=lambda entry: entry.valid_from)
        for alias in terms.aliases:
            self._aliases.put(base.provider_named(alias.provider), alias.model, alias.stands_for)
        super().__init__(
            ChainMap(self._own_models(), base._models),  # type: ignore[arg-type]  # it is only read
            lambda provider, model: None,
            base._providers,
            base.version,
        )
        self._stand_ins = _OwnedPrices(ANYTHING, ANYTHING, (), stand_ins)
        self._own_prices = {
            each.price_id: each.price for each in map(_standing_in, terms.prices) if each.price is not None
        }
        self._discounts = {each.discount_id: each for each in terms.discounts}
        self._discounted_names = named(terms.discounts)
        self._made: dict[tuple[int, int], Price] = {}
        self._entries_of_own = terms.prices
        self._terms = terms.ids

    def next_change(self, after: datetime) -> datetime | None:
        """Return the first instant after one at which what some call costs may change; None where there is none."""
        if self._turns is None:
            discounts = self._discounts.values()
            dated = (at for each in discounts for at in (each.valid_from, each.valid_until))
            own = (each.valid_from for each in self._entries_of_own)
            prices = (each.price for each in self._entries_of_own if each.price is not None)
            self._turns = Turns.of(prices, (*dated, *own))
        changes = (self._turns.next(after), self._base.next_change(after))
        return min((each for each in changes if each is not None), default=None)

    @property
    def edition(self) -> object:
        """What the book is made of: nothing that a tenant has added is ever changed or taken away."""
        return None if self.version is None else (self.version, self._terms)

    @property
    def extent(self) -> tuple[object, ...]:
        """The version, and how many prices, aliases and discounts a tenant has added to it; these only grow."""
        return self.version, *map(len, self._terms)

    @property
    def base(self) -> PriceBook:
        """The book without what the tenant has added."""
        return self._base

    def _own_models(self) -> dict[tuple[str, str], ModelPrices]:
        """Return the prices of the models that have entries of the tenant's by their exact names."""
        found = (self._owned(provider, own[0].model, own) for (provider, _), own in self._own.exact.items())
        return {(each.provider, each.model): each for each in found}

    def entry(self, price_id: int, discount_id: int | None = None) -> Price | None:
        """Return an entry by its id, less a discount of the tenant's, or None."""
        price = self._own_prices.get(price_id) or self._base.entry(price_id)
        discount = None if discount_id is None else self._discounts.get(discount_id)
        return price if price is None or discount is None else reduced(self._made, price, discount)

    def look_up(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model by the tenant's names first."""
        found = self._look_up(provider, model)
        if found is None or not self._discounts:
            return found
        discounts = self._discounted_names.fitting(found.provider, found.model.casefold())
        if not discounts:
            return found
        return _DiscountedPrices(found.provider, found.model, found.entries, found, discounts, self._made)

    def _look_up(self, provider: str, model: str) -> ModelPrices | None:
        if not model:
            return self._base.find(provider, model)
        owner, name = self.provider_named(provider), model.strip().casefold()
        own = self._own.exact.get((owner, name))
        if own is not None:
            return self._owned(owner, own[0].model, own)
        if (owner, name) in self._aliases.exact:
            return self._standing_for(self._aliases.exact[owner, name], provider, model)
        by_price, by_alias = self._own.match(owner, name), self._aliases.match(owner, name)
        if by_price is not None and (by_alias is None or by_price[0] >= by_alias[0]):
            return self._owned(owner, name, by_price[1])
        if by_alias is not None:
            return self._standing_for(by_alias[1], provider, model)
        return self._known(provider, model)

    def _standing_for(self, name: ModelName | None, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of what an alias stands for, which is no alias of the tenant's again."""
        return self._known(provider, model) if name is None else self._known(*name)

    def _known(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model that is no alias of the tenant's; it may have them under its canonical name."""
        found = self._base.find(provider, model)
        name = (provider, model) if found is None else (found.provider, found.model)
        owner, folded = self.provider_named(name[0]), name[1].strip().casefold()
        own = self._own.exact.get((owner, folded))
        if own is not None:
            return self._owned(owner, own[0].model, own)
        by_pattern = self._own.match(owner, folded)
        return found if by_pattern is None else self._owned(owner, folded, by_pattern[1])

    def _owned(self, provider: str, model: str, own: Sequence[OwnPrice]) -> ModelPrices:
        """Return prices with entries of the tenant; the model keeps the name that it has in the global book."""
        found = self._base.find(provider, model)
        if found is not None:
            return _OwnedPrices(found.provider, found.model, found.entries, own)
        return _OwnedPrices(provider, model, (), own)

    def stand_in_at(self, instant: datetime) -> Price | None:
        """Return what models cost at an instant whose price is unknown, None where they are refused."""
        return self._stand_ins.at(instant)

    def ranked(self, asked: str) -> tuple[tuple[Ranked, ...], ...]:
        """Return the names that are like one, of the tenant's own and of the global book."""
        if self._nearest is None:
            self._nearest = NearestNames("/".join(name) for name in (*self._own.exact, *self._aliases.exact))
        return (self._nearest.of(asked), *self._base.ranked(asked))


def _standing_in(entry: OwnPrice) -> OwnPrice:
    """Return an entry with its price marked, if it is for any model of any provider whose price is unknown."""
    if entry.provider != ANYTHING or entry.price is None:
        return entry
    return replace(entry, price=replace(entry.price, stands_in=True))


def book_with(base: PriceBook, terms: PriceTerms) -> PriceBook:
    """Return the price book of a tenant with these terms."""
    return base if terms == NO_TERMS else TenantPriceBook(base, terms)


def listed_name(book: PriceBook, terms: PriceTerms, provider: str, model: str) -> ModelName | None:
    """Return the name by which a tenant's price book lists a model or a pattern, None if it has no price."""
    owner = book.provider_named(provider)
    own = next((each for each in terms.prices if _same(each, owner, model)), None)
    found = own or book.find(provider, model)
    return None if found is None else ModelName(found.provider, found.model)
