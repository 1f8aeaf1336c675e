"""Loads the events that commands take back or re-cost, and what was taken back or re-costed of them before.

Who imports a call again may take back what an earlier reading of it booked.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from token_ledger.core.batch.administration import Recost, RecostedCall, Reverse
from token_ledger.core.batch.books import ORDINAL_BITS, last_id
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.tenant import TenantConfig, TenantId
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
select unknown.tenant_id, c.corrects, c.recosts
from unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[]) as unknown (tenant_id, first_id, last_id)
cross join lateral (
    select * from usage_events as stored
    where stored.tenant_id = unknown.tenant_id and stored.event_id between unknown.first_id and unknown.last_id
      and (stored.corrects is not null or stored.recosts is not null)
    order by stored.event_id
) as c
union all
select wanted.tenant_id, wanted.event_id, null
from (
    select tenant_id, event_id, ($7::timestamptz[])[booked] as booked_at, ($9::text[])[named] as user_id
    from unnest($4::text::bigint[], $5::text::bigint[], $6::text::integer[], $8::text::integer[])
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


async def load_corrected(
    connection: Connection,
    configs: Mapping[TenantId, TenantConfig],
    ordered: Ordered,
    loaded: Mapping[TenantId, Loaded],
) -> None:
    """Load the events that commands take back or re-cost, and what was taken back or re-costed of them before."""
    wanted: list[tuple[int, int, datetime]] = [
        (tenant, *event) for tenant, command in ordered.of(Reverse) for event in command.events
    ]
    recosted = [(tenant, command.calls) for tenant, command in ordered.of(Recost)]
    if recosted:
        wanted.extend(await _load_changed(connection, configs, recosted, loaded))
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


Calls = Sequence[tuple[TenantId, Sequence[RecostedCall]]]
"""The calls to re-cost, by command."""


async def _load_changed(
    connection: Connection, configs: Mapping[TenantId, TenantConfig], calls: Calls, loaded: Mapping[TenantId, Loaded]
) -> list[tuple[int, int, datetime]]:
    """Take events of calls to re-cost as they were found; return those that have changed, and those not found so.

    Where there are none of these, the calls of the tenant are as they were found.
    """
    changed = await _changed(connection, configs, calls)
    others: list[tuple[int, int, datetime]] = []
    for tenant, _ in calls:
        loaded[tenant].are_as_found = True
    for tenant, of_tenant in calls:
        events, recostings = loaded[tenant].events, loaded[tenant].recostings
        for call in of_tenant:
            if call.found is None or (changed and any((tenant, event_id) in changed for event_id, _ in call.events)):
                others.extend((tenant, *event) for event in call.events)
                loaded[tenant].are_as_found = False
                continue
            found = call.found.call
            for event in found.events:
                events[event.event_id] = event
            if found.recostings:
                recostings[found.last.event_id] = found.recostings
    return others


async def _changed(
    connection: Connection, configs: Mapping[TenantId, TenantConfig], commands: Calls
) -> set[tuple[TenantId, int]]:  # fmt: skip
    """Return events that have changed since they were found; `LOAD_CHANGED` says how."""
    calls = [(tenant, each) for tenant, of_tenant in commands for each in of_tenant if each.found is not None]
    if not calls:
        return set()
    bases = {(tenant, each.found.basis) for tenant, each in calls if each.found is not None}
    unknown = [(tenant, *span) for tenant, basis in bases for span in basis.unknown_batches]
    tenants, first, last = zip(*unknown, strict=True)
    since = array_text(tenants), array_text([each << ORDINAL_BITS for each in first]), array_text([*map(last_id, last)])
    if all(basis.config_version == configs[tenant].version for tenant, basis in bases):
        # Nobody was erased: that changes the set-up when it begins, and when it ends. And months go the oldest first,
        # so while the oldest event is kept, all are.
        oldest = min(calls, key=_booked_at)
        changed = await _fetch_changed(connection, since, [oldest])
        if not any((oldest[0], event_id) in changed for event_id, _ in oldest[1].events):
            return changed
    return await _fetch_changed(connection, since, calls)


def _booked_at(call: tuple[TenantId, RecostedCall]) -> datetime:
    return call[1].events[0][1]


async def _fetch_changed(
    connection: Connection, since: Sequence[str | None], calls: Sequence[tuple[TenantId, RecostedCall]]
) -> set[tuple[TenantId, int]]:  # fmt: skip
    """Return what was taken back or re-costed in batches since, and the events of calls that are not as found."""
    tenants, ids = list[TenantId](), list[int]()
    instants, booked = Places[datetime](), list[int | None]()
    users, named = Places[str](), list[int | None]()
    for tenant, each in calls:
        assert each.found is not None
        for event, (event_id, booked_at) in zip(each.found.call.events, each.events, strict=True):
            tenants.append(tenant)
            ids.append(event_id)
            booked.append(instants[booked_at])
            named.append(users[event.facts.user])
    as_found = array_text(tenants), array_text(ids), array_text_with_nulls(booked), instants.sent
    found = await connection.fetch(LOAD_CHANGED, *since, *as_found, array_text_with_nulls(named), users.sent)
    return {(row[0], event_id) for row in found for event_id in row[1:]}


async def load_recostings(
    connection: Connection, wanted: Sequence[tuple[int, int]], loaded: Mapping[TenantId, Loaded]
) -> None:
    """Load what was re-costed of events, each named once, by the order of the decisions."""
    found: dict[tuple[TenantId, int], list[UsageEvent]] = {}
    for recosted, *row in await connection.fetch(LOAD_RECOSTINGS, *zip(*dict.fromkeys(wanted), strict=True)):
        found.setdefault((row[0], recosted), []).append(rows.EVENT.read(row))
    for (tenant, recosted), each in found.items():
        loaded[tenant].recostings[recosted] = tuple(sorted(each, key=lambda event: event.event_id))
