"""Owns what can't be booked and what becomes of it: a list to work off, and decisions that are in the audit log."""

from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.tenant import TenantId
from token_ledger.storage.audit import lock_tenant, note_change

Verdict = Literal["resolved", "dismissed"]
_ACTIONS: dict[Verdict, str] = {"resolved": "quarantine.resolve", "dismissed": "quarantine.dismiss"}

# Names and instants of decisions stand once, in the log, where an erasure finds them.
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
) -> list[dict[str, Any]]:
    """Return what is in quarantine in a state (open, resolved, dismissed), newest first, after one of them."""
    found = await connection.execute(_LIST, {"tenant": tenant, "state": state, "after": after, "limit": limit})
    return [_shown(row) for row in found.mappings()]


async def decide_quarantined(
    connection: AsyncConnection, tenant: TenantId, quarantine_id: int, verdict: Verdict, note: str, *, actor: str
) -> dict[str, Any] | None:
    """Take an item out of what is open, unless that was done before; return it as it stands, None if there is none."""
    await lock_tenant(connection, tenant)
    named = {"tenant": tenant, "quarantine_id": quarantine_id}
    found = (await connection.execute(_ONE, named)).mappings().one_or_none()
    if found is None or found["state"] != "open":
        return None if found is None else _shown(found)
    before, after = {"state": "open"}, {"state": verdict, "note": note}
    entry = await note_change(
        connection, tenant, actor, _ACTIONS[verdict], str(quarantine_id), before=before, after=after
    )
    await connection.execute(_DECIDE, {**named, "state": verdict, "audit_id": entry})
    return _shown((await connection.execute(_ONE, named)).mappings().one())


def _shown(row: Any) -> dict[str, Any]:
    return {**row, "quarantine_id": str(row["quarantine_id"])}
