"""Loads the events that commands take back or re-cost, and what was taken back or re-costed of them before.

Who imports a call again may take back what an earlier reading of it booked.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from token_ledger.core.batch.administration import Recost, RecostedCall, Reverse
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.keys import readings_of
from token_ledger.storage.load.locks import Connection
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.load.repeated_keys import LOAD_EVENTS

LOAD_CORRECTED = """
select c.tenant_id, c.corrects, c.event_id
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, event_id)
cross join lateral (
    select * from usage_events as stored
    where stored.tenant_id = wanted.tenant_id and stored.corrects = wanted.event_id and stored.corrects is not null
    order by stored.corrects limit 1
) as c
"""


LOAD_RECOSTINGS = f"""
select r.recosts, {rows.EVENT.select("r")}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, event_id)
cross join lateral (
    select * from usage_events as stored
    where stored.tenant_id = wanted.tenant_id and stored.recosts = wanted.event_id and stored.recosts is not null
      and stored.corrects is null
    order by stored.recosts
) as r
"""


# What is known of a booked event since it was found may have changed: it was taken back or re-costed, its user erased,
# its month given up. Nothing else of it ever does.
LOAD_CHANGED = """
select wanted.tenant_id, wanted.event_id
from unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::bigint[])
     as wanted (tenant_id, event_id, booked_at, user_id, recosted_by)
left join lateral (
    select user_id from usage_events as stored
    where stored.tenant_id = wanted.tenant_id and stored.event_id = wanted.event_id
      and stored.booked_at = wanted.booked_at
    order by stored.event_id, stored.booked_at limit 1
) as e on true
left join lateral (
    select event_id from usage_events as stored
    where stored.tenant_id = wanted.tenant_id and stored.corrects = wanted.event_id and stored.corrects is not null
    order by stored.corrects limit 1
) as c on true
left join lateral (
    select max(event_id) as event_id from usage_events as stored
    where stored.tenant_id = wanted.tenant_id and stored.recosts = wanted.event_id and stored.recosts is not null
      and stored.corrects is null
) as r on true
where e.user_id is distinct from wanted.user_id or c.event_id is not null
   or r.event_id is distinct from wanted.recosted_by
"""


async def load_corrected(connection: Connection, ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> None:
    """Load the events that commands take back or re-cost, and what was taken back or re-costed of them before."""
    wanted: list[tuple[int, int, datetime]] = [
        (tenant, *event) for tenant, command in ordered.of(Reverse) for event in command.events
    ]
    recosted = [(tenant, call) for tenant, command in ordered.of(Recost) for call in command.calls]
    if recosted:
        wanted.extend(await _load_changed(connection, recosted, loaded))
    if wanted:
        for row in await connection.fetch(LOAD_EVENTS, *zip(*wanted, strict=True)):
            loaded[row[0]].events[row[1]] = rows.EVENT.read(row)
    # Those of earlier readings are loaded already, because their keys led to them.
    named = [*((tenant, event_id) for tenant, event_id, _ in wanted), *readings_of(ordered, loaded)]
    if not named:
        return
    for tenant, corrected, correction in await connection.fetch(LOAD_CORRECTED, *zip(*named, strict=True)):
        loaded[tenant].corrected[corrected] = correction
    await load_recostings(connection, named, loaded)


async def _load_changed(
    connection: Connection, calls: Sequence[tuple[TenantId, RecostedCall]], loaded: Mapping[TenantId, Loaded]
) -> list[tuple[int, int, datetime]]:
    """Take events of calls to re-cost as they were found; return those that have changed, and those not found so."""
    found = [(tenant, call, call.found.call) for tenant, call in calls if call.found is not None]
    wanted = [
        (tenant, event.event_id, booked_at, event.facts.user, _newest(each.recostings) if event is each.last else None)
        for tenant, call, each in found
        for event, (_, booked_at) in zip(each.events, call.events, strict=True)
    ]
    rows = await connection.fetch(LOAD_CHANGED, *zip(*wanted, strict=True)) if wanted else []
    changed = {(row[0], row[1]) for row in rows}
    others: list[tuple[int, int, datetime]] = []
    for tenant, call in calls:
        if call.found is None or any((tenant, event_id) in changed for event_id, _ in call.events):
            others.extend((tenant, *event) for event in call.events)
            continue
        into, each = loaded[tenant], call.found.call
        into.events.update((event.event_id, event) for event in each.events)
        if each.recostings:
            into.recostings[each.last.event_id] = each.recostings
    return others


def _newest(recostings: Sequence[UsageEvent]) -> int | None:
    return recostings[-1].event_id if recostings else None


async def load_recostings(
    connection: Connection, wanted: Sequence[tuple[int, int]], loaded: Mapping[TenantId, Loaded]
) -> None:
    """Load what was re-costed of events, each named once, by the order of the decisions."""
    found: dict[tuple[TenantId, int], list[UsageEvent]] = {}
    for recosted, *row in await connection.fetch(LOAD_RECOSTINGS, *zip(*dict.fromkeys(wanted), strict=True)):
        found.setdefault((row[0], recosted), []).append(rows.EVENT.read(row))
    for (tenant, recosted), each in found.items():
        loaded[tenant].recostings[recosted] = tuple(sorted(each, key=lambda event: event.event_id))
