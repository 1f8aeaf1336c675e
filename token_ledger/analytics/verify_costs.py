"""Check of verify: costs are computed again from the stored prices, one event at a time."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.price import Price, usage_cost_nanos
from token_ledger.core.tenant import TenantId
from token_ledger.core.usage import Usage

COSTS = "costs follow from the prices"
_PAGE = 5_000

_PAGE_OF_EVENTS = """
select event_id, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
       reasoning_tokens, cost_nanos, price_id, unpriced
from usage_events where tenant_id = :tenant and event_id > :after order by event_id limit :page
"""


async def find_wrong_costs(
    connection: AsyncConnection, tenant: TenantId, after: int, prices: dict[int, Price], most: int
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many events follow one of them, and at most so many whose cost is not what their price says."""
    seen = 0
    wrong: list[dict[str, Any]] = []
    while True:
        page = await connection.execute(text(_PAGE_OF_EVENTS), {"tenant": tenant, "after": after, "page": _PAGE})
        rows = page.all()
        for row in rows:
            expected = _expected_cost(row, prices)
            if expected != row.cost_nanos and len(wrong) < most:
                wrong.append({"event_id": row.event_id, "cost_nanos": row.cost_nanos, "expected": expected})
        seen += len(rows)
        if len(rows) < _PAGE:
            return seen, wrong
        after = rows[-1].event_id


def _expected_cost(row: Any, prices: dict[int, Price]) -> int | None:
    if row.unpriced:
        return 0
    price = prices.get(row.price_id)
    return None if price is None else usage_cost_nanos(price, Usage(*row[1:7]))
