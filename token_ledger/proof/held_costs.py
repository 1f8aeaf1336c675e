"""Check: what holds set aside in money is computed again from the stored prices and what their calls announced."""

from typing import Any

from sqlalchemy import text

from token_ledger.core.model.hold_cost import Announced, CacheWrite, Size, hold_cost_nanos, most_rates
from token_ledger.core.model.price import Price
from token_ledger.proof.check import Check, Row, Scope
from token_ledger.storage.json_columns import announced_from

_PAGE_ROWS = 5_000

_PAGE_OF_HOLDS = """
select reservation_id, input_tokens, cached_input_tokens, max_output_tokens, held_nanos, held_calls, price_id,
       discount_id, announced, created_at
from reservations where tenant_id = :tenant and reservation_id > :after order by reservation_id limit :page
"""


async def _find_wrong_holds(scope: Scope) -> list[Row]:
    """Return holds with other money than their price gives for their size, written to the cache or not."""
    wrong: list[Row] = []
    after = scope.parameters["cut"]
    while len(wrong) < scope.most_rows:
        values = {"tenant": scope.parameters["tenant"], "after": after, "page": _PAGE_ROWS}
        rows = (await scope.connection.execute(text(_PAGE_OF_HOLDS), values)).all()
        for row in rows:
            expected = _expected_nanos(row, scope.price(row.price_id, row.discount_id, row.created_at), scope)
            if row.held_nanos not in expected:
                found = {"held_nanos": row.held_nanos, "expected": str(expected)}
                wrong.append({"reservation_id": row.reservation_id, **found})
        if len(rows) < _PAGE_ROWS:
            break
        after = rows[-1].reservation_id
    return wrong[: scope.most_rows]


def _expected_nanos(row: Any, price: Price | None, scope: Scope) -> set[int]:
    """Return what a hold may have: the caller alone knows whether it announced to write to the cache."""
    if price is None:
        return set()
    said = Announced() if row.announced is None else announced_from(row.announced)
    price = price.served_as(said.service_tier, row.created_at) or price
    rates: tuple[tuple[str, int], ...] = ()
    if said.assumed_by:
        if not scope.stood_in(said.assumed_by, row.created_at):
            return set()
        stand_in = scope.prices[said.assumed_by]
        rates = most_rates(stand_in.served_as(said.service_tier, row.created_at) or stand_in, said.max_usage)
    size = row.input_tokens, row.cached_input_tokens, row.max_output_tokens
    return {
        row.held_calls * hold_cost_nanos(price, Size(*size, cache_write, said.max_usage, rates))
        for cache_write in (None, *CacheWrite)
    }


CHECKS = (Check("the money of a hold is what its price gives for its size", _find_wrong_holds),)
