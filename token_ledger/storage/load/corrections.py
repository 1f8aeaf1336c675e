"""Loads the events that commands take back or re-cost, and what was taken back or re-costed of them before.

Who imports a call again may take back what an earlier reading of it booked.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from token_ledger.core.batch.administration import Recost, RecostedCall, Reverse
from token_ledger.core.batch.books import last_id
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.keys import readings_of
from token_ledger.storage.load.locks import Connection
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.load.repeated_keys import LOAD_EVENTS
from token_ledger.storage.schema.batch_rows import Places, array_text, array_text_with_nulls

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
# its month given up. Nothing else of it ever does. What takes back and re-costs has ids of the batches since then.
LOAD_CHANGED = """
select known.tenant_id, c.corrects, c.recosts
from unnest($1::text::bigint[], $2::text::bigint[]) as known (tenant_id, last_id)
cross join lateral (
    select * from usage_events as stored
    where stored.tenant_id = known.tenant_id and stored.event_id > known.last_id
      and (stored.corrects is not null or stored.recosts is not null)
    order by stored.event_id
) as c
union all
select wanted.tenant_id, wanted.event_id, null
from (
    select tenant_id, event_id, ($6::timestamptz[])[booked] as booked_at, ($8::text[])[named] as user_id
    from unnest($3::text::bigint[], $4::text::bigint[], $5::text::integer[], $7::text::integer[])
         as sent (tenant_id, event_id, booked, named)
) as wanted
left join lateral (
    select user_id from usage_events as stored
    where stored.tenant_id = wanted.tenant_id and stored.event_id = wanted.event_id
      and stored.booked_at = wanted.booked_at
    order by stored.event_id, stored.booked_at limit 1
) as e on true
where e.user_id is distinct from wanted.user_id
"""

_NO_SEQUENCE = 2**63


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
    changed = await _changed(connection, [(tenant, call) for tenant, call in calls if call.found is not None])
    others: list[tuple[int, int, datetime]] = []
    for tenant, call in calls:
        if call.found is None or (changed and any((tenant, event_id) in changed for event_id, _ in call.events)):
            others.extend((tenant, *event) for event in call.events)
            continue
        into, each = loaded[tenant], call.found.call
        for event in each.events:
            into.events[event.event_id] = event
        if each.recostings:
            into.recostings[each.last.event_id] = each.recostings
    return others


async def _changed(
    connection: Connection, calls: Sequence[tuple[TenantId, RecostedCall]]
) -> set[tuple[TenantId, int]]:  # fmt: skip
    """Return the events of calls that have changed since they were found; `LOAD_CHANGED` says how."""
    if not calls:
        return set()
    known: dict[TenantId, int] = {}
    tenants: list[TenantId] = []
    ids: list[int] = []
    instants, booked = Places[datetime](), list[int | None]()
    users, named = Places[str](), list[int | None]()
    for tenant, call in calls:
        assert call.found is not None
        if call.found.sequence < known.get(tenant, _NO_SEQUENCE):
            known[tenant] = call.found.sequence
        for event, (event_id, booked_at) in zip(call.found.call.events, call.events, strict=True):
            tenants.append(tenant)
            ids.append(event_id)
            booked.append(instants[booked_at])
            named.append(users[event.facts.user])
    since = array_text([*known]), array_text([*map(last_id, known.values())])
    events = array_text(tenants), array_text(ids), array_text_with_nulls(booked), instants.sent
    found = await connection.fetch(LOAD_CHANGED, *since, *events, array_text_with_nulls(named), users.sent)
    changed = {(row[0], event_id) for row in found for event_id in row[1:]}
    return changed.intersection(zip(tenants, ids, strict=True))


async def load_recostings(
    connection: Connection, wanted: Sequence[tuple[int, int]], loaded: Mapping[TenantId, Loaded]
) -> None:
    """Load what was re-costed of events, each named once, by the order of the decisions."""
    found: dict[tuple[TenantId, int], list[UsageEvent]] = {}
    for recosted, *row in await connection.fetch(LOAD_RECOSTINGS, *zip(*dict.fromkeys(wanted), strict=True)):
        found.setdefault((row[0], recosted), []).append(rows.EVENT.read(row))
    for (tenant, recosted), each in found.items():
        loaded[tenant].recostings[recosted] = tuple(sorted(each, key=lambda event: event.event_id))
