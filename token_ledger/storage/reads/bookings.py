"""Reads what was booked under a key: one event, or everything on a hold; with other models within these calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.commands import (
    MOST_OTHER_MODELS,
    OTHER_MODEL,
    Lease,
    Reserve,
    Settle,
    call_key_spaces,
    event_keys,
    is_settle_key,
)
from token_ledger.core.batch.idempotency import sources_of
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.reads.query import fetch_rows


@dataclass(frozen=True, slots=True)
class Booked:
    """Events with the instants of their booking, and their hold if the key is one's; not all may be kept any more."""

    events: tuple[tuple[int, datetime], ...] = ()
    reservation_id: int | None = None
    is_complete: bool = True


# Parts of a call are posted at the instant of its hold, calls of a lease from then on until it is settled.
_PARTS = """
select e.event_id, e.booked_at, e.input_tokens + e.output_tokens as tokens, e.calls
from usage_events as e where e.tenant_id = :tenant and e.part and e.reservation_id = :id and e.posted_at >= :since
  and e.posted_at <= case when :lease then coalesce(cast(:until as timestamptz), now()) else :since end
order by e.event_id
"""


# Their keys are made from the events of the calls.
_BESIDE = f"""
select k.target_id, k.booked_at
from unnest(cast(:calls as bigint[])) as call (event_id)
cross join generate_series(0, {MOST_OTHER_MODELS - 1}) as other (place)
cross join lateral (
    select * from operation_keys as stored
    where stored.tenant_id = :tenant and stored.source = :source
      and stored.key = call.event_id || ':' || other.place limit 1
) as k
order by k.target_id
"""


async def find_booked(connection: AsyncConnection, tenant: TenantId, source: str | None, key: str) -> Booked:
    """Return what was booked under the key of an event of a source, or of a settlement or reservation without one.

    Raises ValueError if the key is one of different holds.
    """
    if source is not None:
        sources = [event_keys(source, space) for space in call_key_spaces()]
    else:
        sources = [*sources_of(Settle.verb), *sources_of(Reserve.verb), *sources_of(Lease.verb)]
    found = await fetch_rows(
        connection,
        "select k.source, k.answer, k.target_id, k.booked_at, e.reservation_id from operation_keys as k"
        " left join usage_events as e on k.answer = 'event' and e.tenant_id = k.tenant_id and e.event_id = k.target_id"
        " and e.booked_at = k.booked_at where k.tenant_id = :tenant and k.source = any(:sources) and k.key = :key",
        tenant=tenant, sources=sources, key=key,
    )  # fmt: skip
    if source is None and is_settle_key(key) and any(row.source == Settle.verb for row in found):
        found = [row for row in found if row.source == Settle.verb]  # others may have called something else by it
    events = [row for row in found if row.answer == "event"]
    holds = [row.target_id for row in found if row.answer == "reservation"]
    if len({*holds, *(row.reservation_id for row in events)}) > 1:
        raise ValueError("this is the key of several holds; reverse each by the key of its settlement")
    if holds:
        return await _find_on_hold(connection, tenant, holds[0])
    calls = [(row.target_id, row.booked_at) for row in events]
    return Booked((*calls, *await _find_beside(connection, tenant, calls)))


async def _find_beside(
    connection: AsyncConnection, tenant: TenantId, calls: Sequence[tuple[int, datetime]]
) -> list[tuple[int, datetime]]:
    """Return the events of other models within calls."""
    found = await fetch_rows(
        connection, _BESIDE, tenant=tenant, source=f"{Settle.verb}@{OTHER_MODEL}", calls=[call[0] for call in calls]
    )
    return [(row.target_id, row.booked_at) for row in found]


async def _find_on_hold(connection: AsyncConnection, tenant: TenantId, reservation_id: int) -> Booked:
    found = await fetch_rows(
        connection,
        "select r.created_at, r.lease, r.drawn_tokens, r.drawn_calls, r.event_id, e.booked_at from reservations as r"
        " left join usage_events as e on e.tenant_id = r.tenant_id and e.event_id = r.event_id"
        " where r.tenant_id = :tenant and r.reservation_id = :id",
        tenant=tenant, id=reservation_id,
    )  # fmt: skip
    if not found:
        return Booked()
    [hold] = found
    parts = await fetch_rows(
        connection, _PARTS,
        tenant=tenant, id=reservation_id, since=hold.created_at, lease=hold.lease, until=hold.booked_at,
    )  # fmt: skip
    drawn = sum(part.tokens for part in parts), sum(part.calls for part in parts)
    events = [(part.event_id, part.booked_at) for part in parts]
    if hold.booked_at is not None:
        events.append((hold.event_id, hold.booked_at))
    is_complete = drawn == (hold.drawn_tokens, hold.drawn_calls) and (hold.event_id is None) == (hold.booked_at is None)
    return Booked((*events, *await _find_beside(connection, tenant, events)), reservation_id, is_complete)
