"""Adds entries to the audit log for changes outside the ledger's batches: keys, tenants, quarantine.

An entry takes the tenant's lock and a sequence number, so it has its place in the tenant's order of decisions.
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.json_columns import object_text
from token_ledger.storage.tenant_lock import take_sequence

_INSERT = text(
    "insert into audit_log (tenant_id, audit_id, actor, action, target, before, after, booked_at)"
    " values (:tenant, :audit_id, :actor, :action, :target, cast(:before as jsonb), cast(:after as jsonb), :at)"
)


async def note_change(
    connection: AsyncConnection, tenant: TenantId, actor: str, action: str, target: str,
    *, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None,
) -> int:  # fmt: skip
    """Add an entry in the transaction that makes the change, and return its id."""
    lock = await take_sequence(connection, tenant)
    audit_id: int = lock.sequence << ORDINAL_BITS
    await connection.execute(
        _INSERT,
        {
            "tenant": tenant,
            "audit_id": audit_id,
            "actor": actor,
            "action": action,
            "target": target,
            "before": object_text(before),
            "after": object_text(after),
            "at": lock.booked_at,
        },
    )
    return audit_id
