"""Owns folding: adding the rows that a key has in segments that have ended to its row of segment 0.

Keys are looked for without a lock, because no batch adds to a segment that has ended. If another process folds a key
first, it is simply not found. While a user is being erased, nothing is folded.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.schema.rollup_tables import ROLLUPS, key_of
from token_ledger.storage.write.rollups import SEGMENT_BITS

SEGMENTS_AT_ONCE = 64
"""How many segments are folded together; a key has at most one row in each."""
ROWS_AT_ONCE = 100_000

_KEYS = {table.name: key_of(table) for table in ROLLUPS}


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
    """Add the rows of these keys in ended segments to their rows of segment 0, under the tenant's lock."""
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
