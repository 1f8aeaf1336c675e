"""Loads which days of imported calls the ledger has in sums only: such a call may be among them."""

from collections.abc import Mapping
from datetime import datetime

from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.event import NEWEST
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.window import FIRST_INSTANT
from token_ledger.storage.load.locks import Connection
from token_ledger.storage.load.ordered import Ordered

LOAD_CUTS = "select tenant_id, booked_at from checkpoints where tenant_id = any($1::bigint[])"

LOAD_SUMMED_DAYS = """
select wanted.tenant_id, wanted.day
from unnest($1::bigint[], $2::timestamptz[]) as wanted (tenant_id, day)
cross join lateral (
    select 1 from daily_checkpoints as stored
    where stored.tenant_id = wanted.tenant_id and stored.day = wanted.day order by stored.day limit 1
) as d
"""


async def load_summed_days(
    connection: Connection, ordered: Ordered, configs: Mapping[TenantId, TenantConfig],
    loaded: Mapping[TenantId, Loaded],
) -> None:  # fmt: skip
    """Load the days of which calls were dropped, among those of imported calls whose keys are not known."""
    imported = [
        (tenant, record.occurred_at)
        for tenant, record in ordered.of(Record)
        if record.counts_since is not None
        and record.occurred_at is not None
        and record.occurred_at >= FIRST_INSTANT
        and (record.source, record.key) not in loaded[tenant].keys
    ]
    if not imported:
        return
    tenants = [*{tenant for tenant, _ in imported}]
    # What was posted later than this was booked later, so its key is kept.
    kept = {tenant: booked_at + NEWEST for tenant, booked_at in await connection.fetch(LOAD_CUTS, tenants)}
    wanted: set[tuple[TenantId, datetime]] = {
        (tenant, configs[tenant].calendar.period(at)[1])
        for tenant, at in imported
        if tenant in kept and at < kept[tenant]
    }
    if not wanted:
        return
    for tenant, day in await connection.fetch(LOAD_SUMMED_DAYS, *zip(*wanted, strict=True)):
        loaded[tenant].kept_since = kept[tenant]
        loaded[tenant].summed_days.add(day)
