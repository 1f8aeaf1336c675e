"""Loads the events that commands take back or re-cost, and what was taken back or re-costed of them before.

Who imports a call again may take back what an earlier reading of it booked.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from token_ledger.core.batch.administration import Recost, Reverse
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


async def load_corrected(connection: Connection, ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> None:
    """Load the events that commands take back or re-cost, and what was taken back or re-costed of them before."""
    wanted: list[tuple[int, int, datetime]] = [
        (tenant, *event) for tenant, command in ordered.of(Reverse) for event in command.events
    ]
    wanted.extend(
        (tenant, *event) for tenant, command in ordered.of(Recost) for call in command.calls for event in call.events
    )
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


async def load_recostings(
    connection: Connection, wanted: Sequence[tuple[int, int]], loaded: Mapping[TenantId, Loaded]
) -> None:
    """Load what was re-costed of events, each named once, by the order of the decisions."""
    found: dict[tuple[TenantId, int], list[UsageEvent]] = {}
    for recosted, *row in await connection.fetch(LOAD_RECOSTINGS, *zip(*dict.fromkeys(wanted), strict=True)):
        found.setdefault((row[0], recosted), []).append(rows.EVENT.read(row))
    for (tenant, recosted), each in found.items():
        loaded[tenant].recostings[recosted] = tuple(sorted(each, key=lambda event: event.event_id))
