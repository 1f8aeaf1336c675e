"""Decides what a call costs by a price: its tokens by kind, and a line for each kind that few calls have."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from token_ledger.core.model.frozen import value
from token_ledger.core.model.marginal_tiers import input_amounts
from token_ledger.core.model.money import cost_nanos, unit_cost_nanos
from token_ledger.core.model.other_kinds import OTHER_KINDS, REQUESTS, others_of, rated_separately
from token_ledger.core.model.price import Price
from token_ledger.core.model.usage import KINDS, Usage


@value
class OtherUse:
    """What a call used of another kind, and the cost of it; None where no rate is known.

    `assumed_by` is the entry that the rate is of, less the discount `discount_id`, where that is not the price of the
    call. Units with such a rate have no price, like those without a cost, but for as many as are `priced`: by the
    model's own entry, where the call has another price; of a re-costing, how many of those it prices that were booked
    without a price.
    """

    kind: str
    count: int
    nanos: int | None
    priced: int = 0
    assumed_by: int = 0
    discount_id: int | None = None

    @property
    def unpriced(self) -> int:
        """How many of the units have no price."""
        return (self.count if self.nanos is None or self.assumed_by else 0) - self.priced

    @property
    def opposite(self) -> "OtherUse":
        """The line that takes this one back."""
        nanos = None if self.nanos is None else -self.nanos
        return OtherUse(self.kind, -self.count, nanos, -self.priced, self.assumed_by, self.discount_id)

    def with_later(self, line: "OtherUse") -> "OtherUse":
        """Return the line of both, with the rate of the later one, and as many units without a price as both have."""
        nanos = self.nanos + (line.nanos or 0) if self.nanos else line.nanos
        both = OtherUse(self.kind, self.count + line.count, nanos, 0, line.assumed_by, line.discount_id)
        return replace(both, priced=both.unpriced - self.unpriced - line.unpriced)


@value
class Assumed:
    """The entries whose rates are assumed for other kinds that the price of a call has none for, in their order.

    With `whole` the price of the call is none of its model's, so that its rates are only assumed, too. `own` is then
    the model's entry, if it has rates for other kinds and none for the tokens that were used.
    """

    entries: tuple[Price, ...] = ()
    whole: bool = False
    own: Price | None = None

    def sources(self, price: Price | None) -> Iterator[tuple[Price, bool]]:
        """Yield the entries that may have the rate of a kind, each with whether it is another one than the price."""
        if self.own is not None:
            yield self.own, True
        if price is not None:
            yield price, self.whole
        for entry in self.entries:
            yield entry, True


NOTHING_ASSUMED = Assumed()


def charge(
    price: Price | None, usage: Usage, service_tier: str | None, calls: int, at: datetime,
    assumed: Assumed = NOTHING_ASSUMED,
) -> tuple[int, tuple[OtherUse, ...], bool]:  # fmt: skip
    """Return what clamped usage of so many calls costs, its lines of other kinds, and whether all of it has a price.

    `at` is the instant at which the calls are priced. A way of serving without rates of its own costs what the standard
    one does. Where requests have a price, every call is one, beside those that are reported.
    """
    if price is None:
        others = other_uses(None, usage, assumed)
        return sum(use.nanos or 0 for use in others), others, False
    own = assumed.own
    if (
        service_tier is None and not usage.others and REQUESTS not in price.others and price.has_token_rates
        and own is None
    ):  # fmt: skip
        return token_cost_nanos(price, usage), (), True  # nearly always
    served = price.served_as(service_tier, at)
    rates = price if served is None else served
    if calls > 0 and (REQUESTS in rates.others or (own is not None and REQUESTS in own.others)):
        said = dict(usage.others)
        usage = replace(usage, others=others_of({**said, REQUESTS: said.get(REQUESTS, 0) + calls}))
    others = other_uses(rates, usage, assumed)
    is_priced = served is not None and not any(use.unpriced for use in others)
    is_priced = is_priced and (rates.has_token_rates or not any(usage.rated))
    return token_cost_nanos(rates, usage) + sum(use.nanos or 0 for use in others), others, is_priced


def token_cost_nanos(price: Price, usage: Usage) -> int:
    """Return the cost of clamped usage without its other kinds: each kind is rounded once, so that lines add up."""
    if price.tiers_are_marginal and price.divides(usage.input_tokens):
        amounts = _input_amounts(price, usage)
        kinds = zip(KINDS, usage.rated, price.base, strict=True)
        return sum(cost_nanos(1, amounts.get(kind, tokens * rate)) for kind, tokens, rate in kinds)
    total = 0
    for tokens, rate in zip(usage.rated, price.rates_for(usage.input_tokens), strict=True):
        if tokens:
            total += cost_nanos(tokens, rate)
    return total


def other_uses(price: Price | None, usage: Usage, assumed: Assumed = NOTHING_ASSUMED) -> tuple[OtherUse, ...]:
    """Return the lines of other kinds of clamped usage; one of a kind that no entry has a rate for costs nothing."""
    if not usage.others:
        return ()
    lines: dict[str, OtherUse] = {}
    counts = dict(usage.others)
    for entry, is_another in assumed.sources(price):
        for kind, nanos in _other_costs(entry, usage).items():
            if kind in lines:
                continue
            line = OtherUse(kind, counts[kind], nanos)
            if is_another:
                priced = line.count if entry is assumed.own else 0
                line = OtherUse(kind, line.count, nanos, priced, entry.price_id, entry.discount_id)
            lines[kind] = line
        if len(lines) == len(counts):
            break
    return tuple(lines.get(kind) or OtherUse(kind, count, None) for kind, count in usage.others)


def _other_costs(price: Price, usage: Usage) -> dict[str, int]:
    """Return what other kinds of clamped usage cost, those that a price has a rate for."""
    rates, rated = price.other_rates_for(usage.input_tokens), rated_separately(usage.others)
    amounts = _input_amounts(price, usage) if price.divides(usage.input_tokens) else {}
    return {
        name: unit_cost_nanos(1, amounts.get(name, rated[name] * rates[name]), OTHER_KINDS[name].per)
        for name, _ in usage.others
        if name in rates
    }


def _input_amounts(price: Price, usage: Usage) -> dict[str, int]:
    """Return what every kind of input costs by marginal tiers before it is rounded."""
    rated = {**dict(zip(KINDS, usage.rated, strict=True)), **rated_separately(usage.others)}
    bands = ((above, {**dict(zip(KINDS, rates, strict=True)), **others}) for above, rates, others in price.bands)
    return input_amounts(rated, bands)
