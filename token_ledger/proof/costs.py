"""Check: costs are computed again from the stored prices, event by event."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from token_ledger.core.model.event import NO_PRICE
from token_ledger.core.model.price import OtherUse, Price, charge
from token_ledger.core.model.usage import KINDS, Usage
from token_ledger.proof.check import Check, Row, Scope
from token_ledger.storage.json_columns import other_uses_from

_PAGE_ROWS = 5_000

_PAGE_OF_EVENTS = f"""
select event_id, cost_nanos, price_id, unpriced, corrects, others, service_tier, posted_at,
       {", ".join(KINDS)}
from usage_events where tenant_id = :tenant and event_id > :after order by event_id limit :page
"""


async def _find_wrong_costs(scope: Scope) -> list[Row]:
    """Return events whose cost is not what their price gives for their usage."""
    wrong: list[Row] = []
    after = scope.parameters["cut"]
    while len(wrong) < scope.most_rows:
        values = {"tenant": scope.parameters["tenant"], "after": after, "page": _PAGE_ROWS}
        rows = (await scope.connection.execute(text(_PAGE_OF_EVENTS), values)).all()
        for row in rows:
            expected = _expected_cost(row, scope.prices)
            if expected is None or expected[0] != row.cost_nanos:
                cost = None if expected is None else expected[0]
                wrong.append({"event_id": row.event_id, "cost_nanos": row.cost_nanos, "expected": cost})
            elif expected[1] != _others(row):
                wrong.append({"event_id": row.event_id, "others": row.others, "expected": str(expected[1])})
        if len(rows) < _PAGE_ROWS:
            break
        after = rows[-1].event_id
    return wrong[: scope.most_rows]


def _expected_cost(row: Any, prices: Mapping[int, Price]) -> tuple[int, tuple[OtherUse, ...]] | None:
    """Return the cost that the price of an event gives, and its lines of other kinds; None if there is no such price.

    A correction has the amounts of what it takes back with the sign changed. The fee of the call itself is among the
    lines already.
    """
    sign = 1 if row.corrects is None else -1
    said = tuple((use.kind, sign * use.count) for use in _others(row))
    usage = Usage(*(sign * count for count in row[8:]), others=said)
    price = prices.get(row.price_id)
    if (price is None and row.price_id != NO_PRICE) or (price is None and not row.unpriced):
        return None
    cost, others, is_priced = charge(price, usage, row.service_tier, 0, row.posted_at)
    if not is_priced and not row.unpriced:
        return None
    signed = tuple(OtherUse(use.kind, sign * use.count, use.nanos and sign * use.nanos) for use in others)
    return sign * cost, signed


def _others(row: Any) -> tuple[OtherUse, ...]:
    return other_uses_from(row.others) if row.others else ()


CHECKS = (Check("costs follow from the stored prices", _find_wrong_costs),)
