"""Owns folding: the rows that segments of roll-ups have of a key are added to the one of what is folded (design D12).

What is to be folded is looked for without a lock, because nothing is added to a segment that has ended. If someone else
folds it first, its key is not found any more. While a user is being erased, nothing is folded.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.tenant import TenantId
from token_ledger.storage.bookings import SEGMENT_BITS
from token_ledger.storage.rollup_tables import daily_tag_usage, daily_usage, hourly_usage, run_usage

SEGMENTS_AT_ONCE = 64
"""How many segments are looked at: so many rows there are of one key at most."""
ROWS_AT_ONCE = 100_000

_KEYS = {
    table.name: [column.name for column in table.primary_key.columns if column.name not in ("tenant_id", "segment")]
    for table in (hourly_usage, daily_usage, run_usage, daily_tag_usage)
}


@dataclass(frozen=True, slots=True)
class Unfolded:
    """Keys of a roll-up, as JSON objects, that have rows in segments up to one that has ended."""

    table: str
    last_segment: int
    keys: Sequence[Any]


async def tenants_to_fold(connection: AsyncConnection, tenants: Iterable[TenantId]) -> list[TenantId]:
    """Return the tenants with roll-ups in segments that no batch adds to any more."""
    unfolded = " union all ".join(
        f"(select 1 from {table} as u where u.tenant_id = l.tenant_id and u.segment > 0"
        f" and u.segment <= l.sequence >> {SEGMENT_BITS} limit 1)"
        for table in _KEYS
    )
    found = await connection.execute(
        text(
            "select l.tenant_id from tenant_ledgers as l where l.tenant_id = any(:tenants)"
            f" and not exists (select from erasures as e where e.tenant_id = l.tenant_id) and exists ({unfolded})"
        ),
        {"tenants": list(tenants)},
    )
    return [TenantId(row.tenant_id) for row in found]


async def find_unfolded(connection: AsyncConnection, tenant: TenantId) -> list[Unfolded]:
    """Return what is to be folded of a tenant, at most so many segments and rows of each roll-up; empty for nothing."""
    ended = text(
        f"select sequence >> {SEGMENT_BITS} from tenant_ledgers where tenant_id = :tenant"
        " and not exists (select from erasures where tenant_id = :tenant)"
    )
    last_ended = (await connection.execute(ended, {"tenant": tenant})).scalar_one_or_none()
    if last_ended is None:
        return []
    found = []
    for table, key in _KEYS.items():
        of_tenant = f"from {table} where tenant_id = :tenant and segment > 0 and segment <= :last"
        values = {"tenant": tenant, "last": last_ended}
        oldest = text(f"select segment {of_tenant} order by segment limit 1")
        first = (await connection.execute(oldest, values)).scalar_one_or_none()
        if first is None:
            continue
        last = min(last_ended, first + SEGMENTS_AT_ONCE - 1)
        shown = ", ".join(f"'{name}', {name}" for name in key)
        names = ", ".join(key)
        keys = await connection.execute(
            text(
                f"select jsonb_build_object({shown}) from (select {names} {of_tenant} order by segment limit :rows)"
                f" as r group by {names} order by {names}"
            ),
            {"tenant": tenant, "last": last, "rows": ROWS_AT_ONCE},
        )
        found.append(Unfolded(table, last, keys.scalars().all()))
    return found


async def fold(connection: AsyncConnection, tenant: TenantId, unfolded: Unfolded, keys: Sequence[Any]) -> None:
    """Add what ended segments have of these keys to what is folded, under the tenant's lock."""
    await connection.execute(
        text("select token_ledger_fold(:tenant, :bits, :last, :table, cast(:keys as jsonb))"),
        {
            "tenant": tenant,
            "bits": SEGMENT_BITS,
            "last": unfolded.last_segment,
            "table": unfolded.table,
            "keys": json.dumps(keys),
        },
    )
