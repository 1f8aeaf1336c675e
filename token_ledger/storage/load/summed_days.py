"""Loads which days of imported calls, and since when, the ledger has in sums only: a call may be among them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from token_ledger.core.batch.commands import Record, Settle
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.event import NEWEST, OLDEST
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.window import FIRST_INSTANT
from token_ledger.storage.load.locks import Connection, Locked
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
    connection: Connection, locked: Sequence[Locked], ordered: Ordered, configs: Mapping[TenantId, TenantConfig],
    loaded: Mapping[TenantId, Loaded],
) -> None:  # fmt: skip
    """Load the days of which calls were dropped, among those of imported calls whose keys are not known.

    Of old calls that have waited in a spool, with a lease or without, it is loaded since when keys are kept.
    """
    nows = {lock.tenant_id: lock.now for lock in locked}
    imported: list[tuple[TenantId, datetime, bool]] = [
        (tenant, record.occurred_at, record.is_spooled)
        for tenant, record in ordered.of(Record)
        if record.counts_since is not None
        and record.imported_since(nows[tenant]) is not None
        and record.occurred_at is not None
        and record.occurred_at >= FIRST_INSTANT
        and (record.source, record.key) not in loaded[tenant].keys
    ]
    imported += [
        (tenant, settle.occurred_at, True)
        for tenant, settle in ordered.of(Settle)
        if settle.part and settle.occurred_at is not None and settle.occurred_at < nows[tenant] - OLDEST
    ]
    if not imported:
        return
    tenants = [*{tenant for tenant, _, _ in imported}]
    # What was posted later than this was booked later, so its key is kept.
    kept = {tenant: booked_at + NEWEST for tenant, booked_at in await connection.fetch(LOAD_CUTS, tenants)}
    wanted: set[tuple[TenantId, datetime]] = set()
    for tenant, at, is_spooled in imported:
        if tenant in kept and at < kept[tenant]:
            loaded[tenant].kept_since = kept[tenant]
            if not is_spooled:
                wanted.add((tenant, configs[tenant].calendar.period(at)[1]))
    if not wanted:
        return
    for tenant, day in await connection.fetch(LOAD_SUMMED_DAYS, *zip(*wanted, strict=True)):
        loaded[tenant].summed_days.add(day)
