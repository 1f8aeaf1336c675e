"""Loads the calls that are known by the response ids of commands."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from token_ledger.core.batch.commands import Record, Settle
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.event import OLDEST
from token_ledger.core.model.repetition import MOST_CALLS
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.window import FIRST_INSTANT
from token_ledger.storage import rows
from token_ledger.storage.load.corrections import load_recostings
from token_ledger.storage.load.locks import Connection, Locked
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.schema.ledger_tables import KNOWN_BY_ID

# One more than an id may have is enough to know that it tells nothing. By the instant, older months are left out, once
# for all ids and not for each, because it is a parameter.
# A plan made for a small table takes any index of the tenant's, unless only one has the order. An order by what is
# equal is none, so the id is asked for as a range.
LOAD_RESPONSES = f"""
select {rows.EVENT.select("e")}, (
    select c.event_id from usage_events as c
    where c.tenant_id = e.tenant_id and c.corrects = e.event_id and c.corrects is not null limit 1
) as corrected_by
from unnest($1::bigint[], $2::text[]) as wanted (tenant_id, response_id)
cross join lateral (
    select * from usage_events as stored
    where stored.tenant_id = wanted.tenant_id and stored.response_id >= wanted.response_id
      and stored.response_id <= wanted.response_id
      and stored.repetition in ({KNOWN_BY_ID}) and stored.booked_at >= $3
    order by stored.response_id limit {MOST_CALLS + 1}
) as e
"""


async def load_responses(
    connection: Connection,
    locked: Sequence[Locked],
    ordered: Ordered,
    configs: Mapping[TenantId, TenantConfig],
    loaded: Mapping[TenantId, Loaded],
) -> None:
    """Load the calls that are known by the response ids of settles and records, and which of them were taken back."""
    reports: list[tuple[TenantId, Settle | Record]] = [*ordered.of(Settle), *ordered.of(Record)]
    wanted = {
        (tenant, command.response_id)
        for tenant, command in reports
        if command.response_id and configs[tenant].finds_duplicates
    }
    if not wanted:
        return
    # An import may have been made before, whenever that was, and so may what an old spool has.
    nows = {lock.tenant_id: lock.now for lock in locked}
    imported = {tenant for tenant, record in ordered.of(Record) if record.imported_since(nows[tenant]) is not None}
    recent = min(nows.values()) - OLDEST
    found = await _find(connection, [name for name in wanted if name[0] not in imported], recent)
    found += await _find(connection, [name for name in wanted if name[0] in imported], FIRST_INSTANT)
    for *columns, corrected_by in found:
        event, into = rows.EVENT.read(columns), loaded[columns[0]]
        into.note_response(event)
        if corrected_by is not None:
            into.corrected[event.event_id] = corrected_by
    # Such a call may give way to the settle of a hold, and what was re-costed of it with it.
    calls = [
        (tenant, event_id)
        for tenant, into in loaded.items()
        for events in into.responses.values()
        for event_id, event in events.items()
        if event.reservation_id is None
    ]
    if calls:
        await load_recostings(connection, calls, loaded)


async def _find(connection: Connection, wanted: Sequence[tuple[TenantId, str]], since: datetime) -> list[Any]:
    if not wanted:
        return []
    found: list[Any] = await connection.fetch(LOAD_RESPONSES, *zip(*wanted, strict=True), since)
    return found
