"""Notes in the audit log what administrators change outside the ledger's batches: keys, tenants, quarantine.

The note takes the tenant's lock and a sequence number, so that it has its place in the one order of the tenant.
"""

import json
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.books import ORDINAL_BITS
from token_ledger.core.tenant import TenantId

_LOCK = text(
    "update tenant_ledgers set sequence = sequence + 1, booked_at = greatest(booked_at, clock_timestamp())"
    " where tenant_id = :tenant returning sequence, booked_at"
)
_INSERT = text(
    "insert into audit_log (tenant_id, audit_id, actor, action, target, before, after, booked_at)"
    " values (:tenant, :audit_id, :actor, :action, :target, cast(:before as jsonb), cast(:after as jsonb), :at)"
)


async def lock_tenant(connection: AsyncConnection, tenant: TenantId) -> None:
    """Wait until nobody else changes a tenant, and keep it so to the end of the transaction."""
    await connection.execute(
        text("select from tenant_ledgers where tenant_id = :tenant for update"), {"tenant": tenant}
    )


async def note_change(
    connection: AsyncConnection, tenant: TenantId, actor: str, action: str, target: str,
    *, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None,
) -> int:  # fmt: skip
    """Note a change in the transaction that makes it, and return the id of the entry."""
    lock = (await connection.execute(_LOCK, {"tenant": tenant})).one()
    audit_id: int = lock.sequence << ORDINAL_BITS
    await connection.execute(
        _INSERT,
        {
            "tenant": tenant,
            "audit_id": audit_id,
            "actor": actor,
            "action": action,
            "target": target,
            "before": None if before is None else json.dumps(before),
            "after": None if after is None else json.dumps(after),
            "at": lock.booked_at,
        },
    )
    return audit_id
