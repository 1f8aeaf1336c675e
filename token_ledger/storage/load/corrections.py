"""Loads the events that commands take back, and which of them were taken back before."""

from collections.abc import Mapping
from datetime import datetime

from token_ledger.core.batch.administration import Reverse
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
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


async def load_corrected(connection: Connection, ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> None:
    """Load the events that commands take back, and which of them were taken back before."""
    wanted: list[tuple[int, int, datetime]] = [
        (tenant, *event) for tenant, command in ordered.of(Reverse) for event in command.events
    ]
    if not wanted:
        return
    tenants, events, instants = zip(*wanted, strict=True)
    for row in await connection.fetch(LOAD_EVENTS, tenants, events, instants):
        loaded[row[0]].events[row[1]] = rows.EVENT.read(row)
    for tenant, corrected, correction in await connection.fetch(LOAD_CORRECTED, tenants, events):
        loaded[tenant].corrected[corrected] = correction
