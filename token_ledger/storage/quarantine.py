"""Owns quarantined items, which could not be booked, and the decisions on them, which are in the audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.audit_log import note_change
from token_ledger.storage.tenant_lock import lock_tenant

Verdict = Literal["resolved", "dismissed"]
State = Literal["open", "resolved", "dismissed"]
_ACTIONS: dict[Verdict, str] = {"resolved": "quarantine.resolve", "dismissed": "quarantine.dismiss"}


@dataclass(frozen=True, slots=True)
class QuarantinedItem:
    """What could not be booked, why, and what was decided about it."""

    quarantine_id: int
    source: str
    key: str
    code: str
    detail: str
    body: Any
    kept_at: datetime
    state: State
    note: str | None
    decided_by: str | None
    decided_at: datetime | None


# Who decided and when is stored only in the audit log, where an erasure replaces names.
_KEPT = """
select q.quarantine_id, q.source, q.key, q.code, q.detail, q.body, q.kept_at, coalesce(d.state, 'open') as state,
       a.after->>'note' as note, a.actor as decided_by, a.booked_at as decided_at
from quarantine as q
left join quarantine_decisions as d on d.tenant_id = q.tenant_id and d.quarantine_id = q.quarantine_id
left join audit_log as a on a.tenant_id = d.tenant_id and a.audit_id = d.audit_id
where q.tenant_id = :tenant
"""
_LIST = text(
    f"{_KEPT} and coalesce(d.state, 'open') = :state and (cast(:after as bigint) is null or q.quarantine_id < :after)"
    " order by q.quarantine_id desc limit :limit"
)
_ONE = text(f"{_KEPT} and q.quarantine_id = :quarantine_id")
_DECIDE = text(
    "insert into quarantine_decisions (tenant_id, quarantine_id, state, audit_id)"
    " values (:tenant, :quarantine_id, :state, :audit_id)"
)


async def find_quarantined(
    connection: AsyncConnection, tenant: TenantId, *, state: str, after: int | None, limit: int
) -> list[QuarantinedItem]:
    """Return items in a state (open, resolved, dismissed), newest first, from below the id `after`."""
    found = await connection.execute(_LIST, {"tenant": tenant, "state": state, "after": after, "limit": limit})
    return [QuarantinedItem(*row) for row in found]


async def decide_quarantined(
    connection: AsyncConnection, tenant: TenantId, quarantine_id: int, verdict: Verdict, note: str, *, actor: str
) -> QuarantinedItem | None:
    """Decide on an open item and return it; one decided before is returned unchanged. None if there is no such item."""
    await lock_tenant(connection, tenant)
    named = {"tenant": tenant, "quarantine_id": quarantine_id}
    found = (await connection.execute(_ONE, named)).one_or_none()
    if found is None or found.state != "open":
        return None if found is None else QuarantinedItem(*found)
    before, after = {"state": "open"}, {"state": verdict, "note": note}
    entry = await note_change(
        connection, tenant, actor, _ACTIONS[verdict], str(quarantine_id), before=before, after=after
    )
    await connection.execute(_DECIDE, {**named, "state": verdict, "audit_id": entry})
    return QuarantinedItem(*(await connection.execute(_ONE, named)).one())
