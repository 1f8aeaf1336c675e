"""Owns quarantined items, which could not be booked, and the decisions on them, which are in the audit log."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.audit_log import find_change, note_change, note_key
from token_ledger.storage.tenant_lock import lock_tenant

Verdict = Literal["resolved", "dismissed"]
State = Literal["open", "resolved", "dismissed"]
_ACTIONS: dict[Verdict, str] = {"resolved": "quarantine.resolve", "dismissed": "quarantine.dismiss"}
MANY: dict[Verdict, str] = {"resolved": "quarantine.resolve_many", "dismissed": "quarantine.dismiss_many"}
"""The actions in the audit log that decide on several items, which are also what their keys are unique within."""


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


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which open items to decide on: those that have all of what is not None."""

    code: str | None = None
    sources: tuple[str, ...] | None = None
    before: datetime | None = None
    quarantine_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """How many items one request decided on, and how many that it chooses are left."""

    decided: int
    left: int
    replayed: bool = False


MOST_DECIDED = 1_000
"""How many items one request decides on: the tenant's batches wait meanwhile."""


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


_CHOSEN = """
from quarantine as q left join quarantine_decisions as d using (tenant_id, quarantine_id)
where q.tenant_id = :tenant and d.state is null
  and (cast(:code as text) is null or q.code = :code)
  and (cast(:sources as text[]) is null or q.source = any(:sources))
  and (cast(:before as timestamptz) is null or q.kept_at < :before)
  and (cast(:quarantine_ids as bigint[]) is null or q.quarantine_id = any(:quarantine_ids))
"""
_CHOOSE = text(f"select q.quarantine_id {_CHOSEN} order by q.quarantine_id limit {MOST_DECIDED}")
_COUNT = text(f"select count(*) {_CHOSEN}")
_DECIDE_ALL = text(
    "insert into quarantine_decisions (tenant_id, quarantine_id, state, audit_id)"
    " select :tenant, quarantine_id, :state, :audit_id from unnest(cast(:ids as bigint[])) as chosen (quarantine_id)"
    " returning 1"
)


async def decide_chosen(
    connection: AsyncConnection, tenant: TenantId, chosen: Chosen, verdict: Verdict, note: str,
    *, key: str, fingerprint: bytes, actor: str,
) -> Decided | None:  # fmt: skip
    """Decide on the oldest open items that are chosen, at most MOST_DECIDED; None if the key was used for another."""
    await lock_tenant(connection, tenant)
    done = await find_change(connection, tenant, MANY[verdict], key)
    values = {"tenant": tenant, **asdict(chosen)}
    if done is not None:
        known, left = done
        if known != fingerprint:
            return None
        return Decided(len(left["items"]), (await connection.execute(_COUNT, values)).scalar_one(), replayed=True)
    ids = list((await connection.execute(_CHOOSE, values)).scalars())
    after = {"state": verdict, "note": note, "items": [str(each) for each in ids]}
    entry = await note_change(connection, tenant, actor, MANY[verdict], key, before={"state": "open"}, after=after)
    await connection.execute(_DECIDE_ALL, {"tenant": tenant, "state": verdict, "audit_id": entry, "ids": ids})
    await note_key(connection, tenant, MANY[verdict], key, fingerprint, entry)
    return Decided(len(ids), (await connection.execute(_COUNT, values)).scalar_one())
