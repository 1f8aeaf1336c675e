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

_FIND = text(
    "select k.fingerprint, a.after from operation_keys as k"
    " join audit_log as a on a.tenant_id = k.tenant_id and a.audit_id = k.target_id"
    " where k.tenant_id = :tenant and k.source = :action and k.key = :key"
)
_NOTE_KEY = text(
    "insert into operation_keys (tenant_id, source, key, fingerprint, answer, target_id, booked_at)"
    " select :tenant, :action, :key, :fingerprint, 'audit', audit_id, booked_at from audit_log"
    " where tenant_id = :tenant and audit_id = :audit_id returning 1"
)


async def find_change(
    connection: AsyncConnection, tenant: TenantId, action: str, key: str
) -> tuple[bytes, dict[str, Any]] | None:
    """Return the fingerprint of the request that made a change under a key, and what it left; None for none."""
    found = (await connection.execute(_FIND, {"tenant": tenant, "action": action, "key": key})).one_or_none()
    return None if found is None else (found.fingerprint, found.after)


async def note_key(
    connection: AsyncConnection, tenant: TenantId, action: str, key: str, fingerprint: bytes, audit_id: int
) -> None:
    """Remember the key that a change was made under."""
    values = {"tenant": tenant, "action": action, "key": key, "fingerprint": fingerprint, "audit_id": audit_id}
    await connection.execute(_NOTE_KEY, values)


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
