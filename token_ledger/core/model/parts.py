"""Owns what the parts of a call have used and cost so far, and what another part costs: the call is priced as a whole.

Tiers and fees follow from the usage of all parts together. So a part costs what all parts so far cost as one call, less
what the earlier ones cost, and corrects these where the whole has reached another tier or was served in another way.
"""

from dataclasses import replace
from datetime import datetime

from token_ledger.core.model.charge import NOTHING_ASSUMED, Assumed, OtherUse, charge
from token_ledger.core.model.frozen import value
from token_ledger.core.model.other_kinds import OTHER_KINDS
from token_ledger.core.model.price import Price
from token_ledger.core.model.usage import Usage, usage_from


@value
class DrawnUse:
    """What the parts that one model served have used and cost so far; `others` are the sums of their lines.

    `list_nanos` is what they cost everybody.
    """

    provider: str
    model: str
    usage: Usage
    cost_nanos: int
    list_nanos: int
    others: tuple[OtherUse, ...] = ()

    def served_by(self, provider: str, model: str) -> bool:
        """Tell whether a model, by its name in the books, served these parts."""
        return self.model == model and self.provider == provider

    @property
    def at_list_cost(self) -> "DrawnUse":
        """The same use at what it costs everybody."""
        return replace(self, cost_nanos=self.list_nanos)

    @property
    def whole(self) -> Usage:
        """The usage with the kinds that few calls have."""
        return Usage(*self.usage.counts, others=tuple((line.kind, line.count) for line in self.others))


def charge_part(
    price: Price | None, usage: Usage, service_tier: str | None, calls: int, at: datetime, before: DrawnUse,
    assumed: Assumed = NOTHING_ASSUMED,
) -> tuple[int, tuple[OtherUse, ...], bool]:  # fmt: skip
    """Return what `charge` does for a part of a call, of which `before` is known: the rest of what the whole costs.

    What is said last, the price or the way of serving, counts for the whole. Without a price nothing is corrected.
    """
    if price is None:
        return charge(None, usage, service_tier, calls, at)
    cost, lines, is_priced = charge(price, _added(before.whole, usage), service_tier, calls, at, assumed)
    earlier = [line.opposite for line in before.others]
    rest = tuple(line for line in sums(*earlier, *lines) if line.count or line.nanos or line.priced)
    return cost - before.cost_nanos, rest, is_priced


def earlier_use(drawn: tuple[DrawnUse, ...], provider: str, model: str) -> DrawnUse | None:
    """Return what the parts that a model served have used, None without any; those of another are another call."""
    return next((use for use in drawn if use.served_by(provider, model)), None)


def drawn_with(drawn: tuple[DrawnUse, ...], part: DrawnUse) -> tuple[DrawnUse, ...]:
    """Return what was drawn on a hold with one more part of its call."""
    for place, before in enumerate(drawn):
        if before.served_by(part.provider, part.model):
            usage, cost = _added(before.usage, part.usage), before.cost_nanos + part.cost_nanos
            both = replace(
                before, usage=usage, cost_nanos=cost, list_nanos=before.list_nanos + part.list_nanos,
                others=sums(*before.others, *part.others),
            )  # fmt: skip
            return (*drawn[:place], both, *drawn[place + 1 :])
    return (*drawn, part)


def _added(usage: Usage, more: Usage) -> Usage:
    counts = usage.by_kind
    for kind, count in more.by_kind.items():
        counts[kind] = counts.get(kind, 0) + count
    return usage_from(counts)


def sums(*lines: OtherUse) -> tuple[OtherUse, ...]:
    """Return a line for each kind, of lines in the order in which they were booked."""
    found: dict[str, OtherUse] = {}
    for line in lines:
        before = found.get(line.kind)
        found[line.kind] = line if before is None else before.with_later(line)
    return tuple(found[kind] for kind in OTHER_KINDS if kind in found)
