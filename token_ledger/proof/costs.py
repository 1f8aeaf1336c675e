"""Check: costs are computed again from the stored prices, event by event, those of a call's parts as one call's."""

from dataclasses import replace
from typing import Any

from sqlalchemy import text

from token_ledger.core.model.charge import NOTHING_ASSUMED, Assumed, OtherUse, charge
from token_ledger.core.model.details import Kind
from token_ledger.core.model.event import NO_PRICE
from token_ledger.core.model.other_kinds import REQUESTS, others_of
from token_ledger.core.model.parts import DrawnUse, charge_part, drawn_with, earlier_use
from token_ledger.core.model.price import Price
from token_ledger.core.model.recosting import BookedCall, Difference, Part, difference_by, has_fee, whole_difference
from token_ledger.core.model.usage import KINDS, Usage
from token_ledger.proof.assumed_rates import Holds, assumed_for, assumes, load_holds
from token_ledger.proof.check import Check, Row, Scope
from token_ledger.storage.json_columns import details_from_column, drawn_use_from, other_uses_from

Drawn = dict[int, tuple[DrawnUse, ...] | None]
"""What the parts of calls have used so far, by their holds; None where nobody knows it any more."""

Recosted = dict[int, BookedCall | None]
"""What calls were booked with that are re-costed, by their events; None where it is not known."""

_PAGE_ROWS = 5_000

# What a correction costs follows from what it corrects. Of a call on a lease every part is a call.
_ONE_CALL = "part and calls = 0"
_PAGE_OF_EVENTS = f"""
select event_id, reservation_id, provider, model, {_ONE_CALL} as is_part, cost_nanos, price_id, unpriced, others,
       service_tier, posted_at, held_at, kind, details, discount_id, list_price_id, list_cost_nanos, recosts, calls,
       {", ".join(KINDS)}
from usage_events where tenant_id = :tenant and event_id > :after and corrects is null
order by event_id limit :page
"""

# Parts from before the cut are gone: what they used is what was drawn on their hold, less what is kept of it. A hold
# that had expired may be gone too while its last parts are still reported: what these cost is then only in the sums.
_OLDER_HOLDS = """
select reservation_id, drawn_use from reservations
where tenant_id = :tenant and reservation_id <= :cut and drawn_use is not null and (event_id is null or event_id > :cut)
"""
_THEIR_PARTS = f"""
select reservation_id, provider, model, cost_nanos, list_cost_nanos, others, {", ".join(KINDS)}
from usage_events where tenant_id = :tenant and event_id > :cut and reservation_id <= :cut and {_ONE_CALL}
"""


_RECOSTED = "select distinct recosts from usage_events where tenant_id = :tenant and recosts > :cut"


async def _find_wrong_costs(scope: Scope) -> list[Row]:
    """Return events whose cost is not what their price gives for their usage."""
    wrong: list[Row] = []
    drawn = await _drawn_before(scope)
    holds = await load_holds(scope, _assuming(drawn), ())
    found = await scope.connection.execute(text(_RECOSTED), scope.parameters)
    recosted: Recosted = dict.fromkeys(found.scalars())
    unpriced: set[int] = set()
    after = scope.parameters["cut"]
    while len(wrong) < scope.most_rows:
        values = {"tenant": scope.parameters["tenant"], "after": after, "page": _PAGE_ROWS}
        rows = (await scope.connection.execute(text(_PAGE_OF_EVENTS), values)).all()
        named = [row for row in rows if row.others and assumes(_others(row))]
        holds |= await load_holds(
            scope, [row.reservation_id for row in named if row.reservation_id is not None],
            [row.event_id for row in named if row.kind == Kind.OTHER_MODEL],
        )  # fmt: skip
        for row in rows:
            price = scope.price(row.price_id, row.discount_id, row.posted_at, row.held_at)
            if row.recosts is not None:
                wrong.extend(_wrong_recosting(row, price, _listed(row, price, scope), recosted, unpriced))
                continue
            if row.event_id in recosted:
                recosted[row.event_id] = _booked_call(row, price, drawn)
                if row.unpriced:
                    unpriced.add(row.event_id)
            expected = _expected_cost(row, price, _listed(row, price, scope), drawn, holds, scope)
            if expected is None or expected[0] != row.cost_nanos:
                cost = None if expected is None else expected[0]
                wrong.append({"event_id": row.event_id, "cost_nanos": row.cost_nanos, "expected": cost})
            elif expected[1] != _others(row):
                wrong.append({"event_id": row.event_id, "others": row.others, "expected": str(expected[1])})
            elif expected[2] != row.list_cost_nanos:
                listed = {"list_cost_nanos": row.list_cost_nanos, "expected": expected[2]}
                wrong.append({"event_id": row.event_id, **listed})
            elif row.kind == Kind.CACHE_HIT and not _is_saving_right(row, price):
                wrong.append({"event_id": row.event_id, "details": row.details})
        if len(rows) < _PAGE_ROWS:
            break
        after = rows[-1].event_id
    return wrong[: scope.most_rows]


def _booked_call(row: Any, price: Price | None, drawn: Drawn) -> BookedCall | None:
    """Return what a call that is re-costed later was booked with, None where nobody knows it any more."""
    earlier, use = drawn.get(row.reservation_id, ()), _use_of(row)
    if earlier is None:
        return None
    before = earlier_use(earlier, row.provider, row.model)
    whole = use if before is None else drawn_with((before,), use)[0]
    fee = has_fee(price, whole.others, row.service_tier, row.posted_at)
    is_listed = row.list_cost_nanos is not None
    return BookedCall(whole, row.calls, row.service_tier, row.posted_at, fee, is_listed=is_listed)


def _wrong_recosting(
    row: Any, price: Price | None, listed: Price | None, recosted: Recosted, unpriced: set[int]
) -> list[Row]:  # fmt: skip
    """Return a re-costing that books something else than what its price gives for the call, or for a part of it.

    All of a call may be re-costed. Which part had no price follows from what the price book said then: for the first
    re-costing it is the whole, or the tokens, or other kinds, and for others only kinds.
    """
    call = recosted.get(row.recosts)
    if call is None:
        return []
    if price is None:
        return [{"event_id": row.event_id, "cost_nanos": row.cost_nanos, "expected": None}]
    expected: list[Difference] = [whole_difference(call, price, listed)]
    if row.recosts in unpriced:
        parts = (Part.KINDS,) if call.is_recosted else tuple(Part)
        expected.extend(difference_by(call, part, price, listed) for part in parts)
    booked = row.cost_nanos, row.list_cost_nanos, _others(row)
    recosted[row.recosts] = call.recosted(row.cost_nanos, row.list_cost_nanos, _others(row))
    if booked in [(each.nanos, each.list_nanos, each.lines) for each in expected]:
        return []
    return [{"event_id": row.event_id, "cost_nanos": row.cost_nanos, "expected": str(expected)}]


async def _drawn_before(scope: Scope) -> Drawn:
    """Return what parts from before the cut used, of calls that may go on after it."""
    if not scope.parameters["cut"]:
        return {}
    holds = (await scope.connection.execute(text(_OLDER_HOLDS), scope.parameters)).all()
    drawn: Drawn = {hold.reservation_id: drawn_use_from(hold.drawn_use) for hold in holds}
    for row in (await scope.connection.execute(text(_THEIR_PARTS), scope.parameters)).all():
        known = drawn.setdefault(row.reservation_id, None)
        drawn[row.reservation_id] = None if known is None else drawn_with(known, _use_of(row, sign=-1))
    return drawn


def _assuming(drawn: Drawn) -> list[int]:
    """Return the holds of whose parts a rate was assumed."""
    return [hold for hold, uses in drawn.items() if any(assumes(use.others) for use in uses or ())]


def _listed(row: Any, price: Price | None, scope: Scope) -> Price | None:
    """Return what the model costs everybody, None where that is the price."""
    if price is not None and price.listed is not None:
        return price.listed
    return None if row.list_price_id is None else scope.prices.get(row.list_price_id)


def _expected_cost(
    row: Any, price: Price | None, listed: Price | None, drawn: Drawn, holds: Holds, scope: Scope
) -> tuple[int, tuple[OtherUse, ...], int | None] | None:  # fmt: skip
    """Return the cost that the price of an event gives, its lines of other kinds, and what the call costs everybody.

    None if there is no such price, or if its lines have rates of an entry that these are not assumed by. The fee of the
    call itself is among the lines already.
    """
    use = _use_of(row)
    earlier = drawn.get(row.reservation_id, ())
    if earlier is None:
        return row.cost_nanos, _others(row), row.list_cost_nanos
    if row.is_part:
        drawn[row.reservation_id] = drawn_with(earlier, use)
    elif earlier:
        del drawn[row.reservation_id]  # the call has ended
    if row.kind == Kind.TOOL_CALL and row.price_id == NO_PRICE and not row.unpriced:
        # What a tool cost is only known from its caller.
        return row.cost_nanos, charge(None, use.whole, row.service_tier, 0, row.posted_at)[1], None
    if (price is None and row.price_id != NO_PRICE) or (price is None and not row.unpriced):
        return None
    before = earlier_use(earlier, row.provider, row.model)
    # A part whose lines stay as they were names nothing.
    lines = use.others if before is None or assumes(use.others) else before.others
    assumed = assumed_for(row, lines, holds, scope)
    if assumed is None:
        return None
    cost, others, is_priced = _charge(price, use, row, before, assumed)
    if not is_priced and not row.unpriced:
        return None
    if listed is None:
        return cost, others, None
    list_nanos, is_listed = _list_cost(listed, price, use, row, before)
    return cost, others, list_nanos if is_listed else None


def _list_cost(
    listed: Price, price: Price | None, use: DrawnUse, row: Any, before: DrawnUse | None
) -> tuple[int, bool]:  # fmt: skip
    """Return what a call costs everybody, and whether all of it has such a price; its fee is that of that price."""
    usage = use.whole
    if row.calls > 0 and has_fee(price, use.others, row.service_tier, row.posted_at):
        counts = dict(usage.others)
        usage = replace(usage, others=others_of({**counts, REQUESTS: counts.get(REQUESTS, 0) - row.calls}))
    if before is None:
        cost, _, is_priced = charge(listed, usage, row.service_tier, row.calls, row.posted_at)
    else:
        cost, _, is_priced = charge_part(
            listed, usage, row.service_tier, row.calls, row.posted_at, before.at_list_cost
        )  # fmt: skip
    return cost, is_priced


def _charge(
    price: Price | None, use: DrawnUse, row: Any, before: DrawnUse | None, assumed: Assumed = NOTHING_ASSUMED
) -> tuple[int, tuple[OtherUse, ...], bool]:
    if before is None:
        return charge(price, use.whole, row.service_tier, 0, row.posted_at, assumed)
    return charge_part(price, use.whole, row.service_tier, 0, row.posted_at, before, assumed)


def _is_saving_right(row: Any, price: Price | None) -> bool:
    """Tell whether what a cache hit saved is what the price gives for the usage of the call that was not made."""
    details = details_from_column(row.details)
    if details is None or details.saved is None:
        return False
    cost, _, _ = charge(price, details.saved.usage, row.service_tier, 1, row.posted_at)
    return details.saved.nanos == cost


def _use_of(row: Any, sign: int = 1) -> DrawnUse:
    """Return what an event used, or its opposite."""
    usage = Usage(*(sign * count for count in row[-len(KINDS) :]))
    others = tuple(line if sign > 0 else line.opposite for line in _others(row))
    list_nanos = row.cost_nanos if row.list_cost_nanos is None else row.list_cost_nanos
    return DrawnUse(row.provider, row.model, usage, sign * row.cost_nanos, sign * list_nanos, others)


def _others(row: Any) -> tuple[OtherUse, ...]:
    return other_uses_from(row.others) if row.others else ()


CHECKS = (Check("costs follow from the stored prices", _find_wrong_costs),)
