"""Owns what a call costs more or less once a part of it has a price that had none, or once its price was corrected.

In the first case only that part changes, and what was priced stays at the price of its time; in the second all of it.
A call is without a price as a whole where its model had none, so that it was booked at a stand-in, at the price of its
hold or at nothing, or where its way of serving had none. Else only its tokens were, or some of its other kinds, which
are booked in the same way.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from itertools import pairwise

from token_ledger.core.model.charge import OtherUse, charge, other_uses, token_cost_nanos
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.frozen import value
from token_ledger.core.model.other_kinds import OTHER_KINDS, REQUESTS, others_of
from token_ledger.core.model.parts import DrawnUse, drawn_with, sums
from token_ledger.core.model.price import ModelName, Price, PriceBook
from token_ledger.core.model.usage import Usage

LAST_SEQUENCE = 2**47
"""More than any: ids have 16 bits for what is in a batch."""
_NOTHING_BOOKED = OtherUse("", 0, None)


class Part(Enum):
    """What of a call had no price."""

    WHOLE = "whole"
    TOKENS = "tokens"
    """Its tokens, and the other kinds that are without a price."""
    KINDS = "kinds"
    """The other kinds that are without a price."""


@value
class BookedCall:
    """What a call was booked with: its usage and cost so far, and whether a fee for the request is among its lines."""

    use: DrawnUse
    calls: int
    service_tier: str | None
    at: datetime
    has_fee: bool
    is_recosted: bool = False
    is_listed: bool = False
    """Whether what everybody pays was known for all of it, so that its list cost has what the call itself lacks."""

    def recosted(self, nanos: int, list_nanos: int | None, lines: tuple[OtherUse, ...]) -> "BookedCall":
        """Return the call with what was re-costed before; without a list cost that is the cost."""
        use = replace(
            self.use, cost_nanos=self.use.cost_nanos + nanos,
            list_nanos=self.use.list_nanos + (nanos if list_nanos is None else list_nanos),
            others=sums(*self.use.others, *lines),
        )  # fmt: skip
        fees = sum(line.count for line in lines if line.kind == REQUESTS)
        return replace(self, use=use, is_recosted=True, has_fee=fees > 0 or (self.has_fee and fees == 0))


@value
class Difference:
    """What a re-costing books: what the call costs more, also at what it costs everybody, and the lines that change.

    A line has the units that are counted for the first time, what they cost more, and how many of the kind are priced.
    `list_nanos` is None where it is the same.
    """

    nanos: int
    list_nanos: int | None
    lines: tuple[OtherUse, ...]
    tokens: int
    """How many tokens have a price now that had none."""
    is_listed: bool
    """Whether the entry that everybody pays has a price for all of it."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing changes."""
        return not (self.nanos or self.list_nanos or self.lines)


@value
class RecostableCall:
    """A call to re-cost: its event, or those of its parts by one model, the last being the newest.

    `called` is the name by which its price is found, and `recostings` are what was re-costed of it before. `whole_at`
    is the instant whose price all of it is to cost, None if only what had no price is re-costed.
    """

    events: tuple[UsageEvent, ...]
    called: ModelName
    recostings: tuple[UsageEvent, ...] = ()
    whole_at: datetime | None = None

    @property
    def last(self) -> UsageEvent:
        """The event that is re-costed; it says what counts for the whole."""
        return self.events[-1]


@value
class Recosting:
    """What re-costs a call: the price and what changes by it; `listed` is the entry that everybody pays, if another."""

    price: Price
    listed: Price | None
    difference: Difference
    booked: BookedCall
    """The call before."""


@dataclass(eq=False, slots=True)
class Basis:
    """What was known where re-costings were decided before the batches that book them."""

    edition: object
    """Of the price book; None where it was not loaded."""
    sequence: int
    """Of a batch whose changes are known, and those of all before it."""
    config_version: int
    """Of the tenant's set-up."""
    own: list[int] = field(default_factory=list)
    """The numbers of batches that have only booked other re-costings of the same command, ascending."""

    @property
    def unknown_batches(self) -> list[tuple[int, int]]:
        """The batches whose changes are not known, as the first and the last number of each span of them."""
        later_own = self.own[bisect_right(self.own, self.sequence) :]
        known = [self.sequence, *later_own, LAST_SEQUENCE]
        return [(each + 1, later - 1) for each, later in pairwise(known) if each + 1 < later]


@value
class FoundRecosting:
    """A re-costing that was decided before the batch that books it, with what it follows from and nothing else."""

    call: RecostableCall
    recosting: Recosting
    basis: Basis


def recosting_of(prices: PriceBook, call: RecostableCall) -> Recosting | None:
    """Return what re-costs a call by the price that its model has at its instant, None where that changes nothing."""
    last = call.last
    at = call.whole_at or last.posted_at
    found = prices.find(*call.called)
    price = None if found is None else found.at(at)
    if found is None or price is None:
        return None
    old = prices.entry(last.price_id, last.discount_id)
    if old is None and last.price_id:
        return None  # this process does not know yet what it was priced by
    booked = booked_call(call.events, old)
    for each in call.recostings:
        booked = booked.recosted(each.cost_nanos, each.list_cost_nanos, each.others)
    listed = None
    if price.price_id < 0 or price.discount_id is not None:
        listed = price.listed or found.list_at(last.posted_at)
    part = Part.KINDS
    if not booked.is_recosted and (last.unpriced or call.whole_at is None):
        part = _part(old, price, is_own=old is not None and found.has(old.price_id), call=booked)
    if call.whole_at is None:
        difference = difference_by(booked, part, price, listed)
    else:
        difference = whole_difference(booked, price, listed, tokens_had_none=part is not Part.KINDS)
    if difference.is_nothing:
        return None
    return Recosting(price, listed, difference, booked)


def booked_call(events: tuple[UsageEvent, ...], old: Price | None) -> BookedCall:
    """Return what a call was booked with; `old` is the price that it was booked by."""
    last, use, calls = events[-1], _drawn(events[0]), events[0].calls
    for each in events[1:]:
        [use] = drawn_with((use,), _drawn(each))
        calls += each.calls
    fee = has_fee(old, use.others, last.service_tier, last.posted_at)
    is_listed = last.list_cost_nanos is not None
    return BookedCall(use, calls, last.service_tier, last.posted_at, fee, False, is_listed)


def _drawn(event: UsageEvent) -> DrawnUse:
    facts = event.facts
    return DrawnUse(facts.provider, facts.model, event.usage, event.cost_nanos, event.listed_nanos, event.others)


def has_fee(price: Price | None, lines: tuple[OtherUse, ...], service_tier: str | None, at: datetime) -> bool:
    """Tell whether a fee for the call is among its lines: by its price, or by the own entry of its model."""
    if lines and any(line.kind == REQUESTS and line.assumed_by and not line.unpriced for line in lines):
        return True
    return price is not None and REQUESTS in (price.served_as(service_tier, at) or price).others


def _part(old: Price | None, price: Price, *, is_own: bool, call: BookedCall) -> Part:
    """Return what of a call had no price; the entry it was booked by may be a stand-in or that of its hold."""
    if old is None or not is_own:
        return Part.WHOLE
    served = old.served_as(call.service_tier, call.at)
    if served is None and price.served_as(call.service_tier, call.at) is not None:
        return Part.WHOLE
    if not (served or old).has_token_rates and any(call.use.usage.rated):
        return Part.TOKENS
    return Part.KINDS


def difference_by(call: BookedCall, part: Part, price: Price, listed: Price | None) -> Difference:
    """Return what a call costs more if the part of it that had no price costs what a price says.

    What the price has no rate for stays as it is booked. `listed` is what everybody pays, if that is another entry.
    """
    usage, rates = call.use.whole, price.served_as(call.service_tier, call.at) or price
    if part is Part.WHOLE and call.calls > 0 and not call.has_fee and REQUESTS in rates.others:
        counts = dict(usage.others)
        usage = replace(usage, others=others_of({**counts, REQUESTS: counts.get(REQUESTS, 0) + call.calls}))
    booked = {line.kind: line for line in call.use.others}
    with_tokens = part is not Part.KINDS and (rates.has_token_rates or not any(usage.rated))
    chosen = [
        line
        for line in other_uses(rates, usage)
        if line.nanos is not None
        and (part is Part.WHOLE or (line.kind in booked and booked[line.kind].unpriced))
    ]  # fmt: skip
    after = _nanos(rates, usage, chosen, with_tokens=with_tokens)
    assert after is not None, "the price has a rate for each of these"
    before = sum(_booked_nanos(booked, line.kind) for line in chosen)
    if with_tokens:
        before += call.use.cost_nanos - sum(line.nanos or 0 for line in call.use.others)
    nanos = after - before
    lines = (_change(booked.get(line.kind), line) for line in chosen)
    changed = tuple(line for line in lines if line.count or line.nanos or line.priced)
    kept = call.use.cost_nanos - before - call.use.list_nanos if part is Part.WHOLE else -before
    list_after = None
    if listed is not None:
        list_rates = listed.served_as(call.service_tier, call.at)
        if list_rates is None and price.served_as(call.service_tier, call.at) is None:
            list_rates = listed
        list_after = None if list_rates is None else _nanos(list_rates, usage, chosen, with_tokens=with_tokens)
    list_nanos = (after if list_after is None else list_after) + kept
    if part is not Part.WHOLE and call.is_listed:
        list_nanos = 0
    return Difference(
        nanos, None if list_nanos == nanos else list_nanos, changed,
        tokens=usage.total_tokens if with_tokens else 0, is_listed=list_after is not None,
    )  # fmt: skip


def whole_difference(
    call: BookedCall, price: Price, listed: Price | None, *, tokens_had_none: bool = False
) -> Difference:  # fmt: skip
    """Return what a call costs more if it costs what it would if it was made now, by a price and what everybody pays.

    What the price has no rate for stays as it is booked. The fee that the ledger counts for a call goes where the price
    has none. `tokens_had_none` says that its tokens had no price.
    """
    said = _said(call)
    after, lines, _ = charge(price, said, call.service_tier, call.calls, call.at)
    rates = price.served_as(call.service_tier, call.at) or price
    with_tokens = rates.has_token_rates or not any(said.rated)
    if not with_tokens:
        after += call.use.cost_nanos - sum(line.nanos or 0 for line in call.use.others)
    changes: tuple[OtherUse, ...] = ()
    if lines or call.use.others or call.has_fee:  # hardly ever
        charged = {line.kind: line for line in lines if line.nanos is not None}
        if call.has_fee and not any(line.kind == REQUESTS for line in lines):
            charged[REQUESTS] = OtherUse(REQUESTS, 0, 0)
        after += sum(line.nanos or 0 for line in call.use.others if line.kind not in charged)
        changes = _changes(call.use.others, charged)
    list_after, is_listed = after, False
    if listed is not None:
        cost, _, is_listed = charge(listed, said, call.service_tier, call.calls, call.at)
        list_after = cost if is_listed else after
    nanos, list_nanos = after - call.use.cost_nanos, list_after - call.use.list_nanos
    return Difference(
        nanos, None if list_nanos == nanos else list_nanos, changes,
        tokens=said.total_tokens if tokens_had_none and with_tokens else 0, is_listed=is_listed,
    )  # fmt: skip


def _changes(before: tuple[OtherUse, ...], charged: dict[str, OtherUse]) -> tuple[OtherUse, ...]:
    """Return the lines of a re-costing, those that change something, in the order of all kinds."""
    booked = {line.kind: line for line in before}
    lines = (_change(booked.get(kind), charged[kind]) for kind in OTHER_KINDS if kind in charged)
    return tuple(line for line in lines if line.count or line.nanos or line.priced)


def _said(call: BookedCall) -> Usage:
    """Return what a call used as its caller has reported it, without the fee that the ledger has counted."""
    if not call.use.others:
        return call.use.usage
    counts = dict(call.use.whole.others)
    if call.has_fee:
        counts[REQUESTS] = max(0, counts.get(REQUESTS, 0) - call.calls)
    return replace(call.use.usage, others=others_of(counts))  # without kinds of which nothing is left


def _nanos(rates: Price, usage: Usage, lines: list[OtherUse], *, with_tokens: bool) -> int | None:
    """Return what lines cost by a price, with the tokens if told to; None if it has no rate for any of these."""
    costs = {line.kind: line.nanos for line in other_uses(rates, usage)}
    chosen = [costs[line.kind] for line in lines]
    if None in chosen or (with_tokens and not rates.has_token_rates and any(usage.rated)):
        return None
    return sum(filter(None, chosen)) + (token_cost_nanos(rates, usage) if with_tokens else 0)


def _change(booked: OtherUse | None, line: OtherUse) -> OtherUse:
    """Return the line of a re-costing: from what is booked of a kind to what it costs now."""
    before = booked or _NOTHING_BOOKED
    return OtherUse(line.kind, line.count - before.count, (line.nanos or 0) - (before.nanos or 0), before.unpriced)


def _booked_nanos(booked: dict[str, OtherUse], kind: str) -> int:
    return (booked.get(kind, _NOTHING_BOOKED).nanos) or 0


@dataclass(slots=True)
class ModelTotals:
    """What re-costing changes of a model: how many events, what had no price, and their cost before and after.

    The list cost is what they cost everybody. `kinds` are the units of other kinds that had no price.
    """

    name: ModelName
    events: int = 0
    tokens: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    before: int = 0
    after: int = 0
    list_before: int = 0
    list_after: int = 0

    def add(self, found: Recosting) -> None:
        """Add a call."""
        booked, difference = found.booked.use, found.difference
        self.events += 1
        self.tokens += difference.tokens
        for line in difference.lines:
            if line.priced:
                self.kinds[line.kind] = self.kinds.get(line.kind, 0) + line.priced
        self.before += booked.cost_nanos
        self.after += booked.cost_nanos + difference.nanos
        self.list_before += booked.list_nanos
        listed = difference.nanos if difference.list_nanos is None else difference.list_nanos
        self.list_after += booked.list_nanos + listed


def totals_of(found: Iterable[Recosting]) -> list[ModelTotals]:
    """Return what re-costing changes, by models in the order of their names."""
    totals: dict[ModelName, ModelTotals] = {}
    for each in found:
        add_to_totals(totals, each)
    return [totals[name] for name in sorted(totals)]


def add_to_totals(totals: dict[ModelName, ModelTotals], found: Recosting) -> None:
    """Add a call to the totals of its model."""
    use = found.booked.use
    name = ModelName(use.provider, use.model)
    of_model = totals.get(name)
    if of_model is None:
        of_model = totals[name] = ModelTotals(name)
    of_model.add(found)
