"""Check: costs are computed again from the stored prices, event by event."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from token_ledger.core.decisions.holds import NO_PRICE
from token_ledger.core.model.price import Price, usage_cost_nanos
from token_ledger.core.model.usage import KINDS, Usage
from token_ledger.proof.check import Check, Row, Scope

_PAGE_ROWS = 5_000

_PAGE_OF_EVENTS = f"""
select event_id, cost_nanos, price_id, unpriced, corrects, {", ".join(KINDS)}
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
            if expected != row.cost_nanos:
                wrong.append({"event_id": row.event_id, "cost_nanos": row.cost_nanos, "expected": expected})
        if len(rows) < _PAGE_ROWS:
            break
        after = rows[-1].event_id
    return wrong[: scope.most_rows]


def _expected_cost(row: Any, prices: Mapping[int, Price]) -> int | None:
    if row.price_id == NO_PRICE:
        return 0 if row.unpriced else None
    price = prices.get(row.price_id)
    if price is None:
        return None
    sign = 1 if row.corrects is None else -1
    return sign * usage_cost_nanos(price, Usage(*(sign * count for count in row[5:])))


CHECKS = (Check("costs follow from the stored prices", _find_wrong_costs),)
