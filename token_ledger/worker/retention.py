"""Drops the months of usage events that are no longer kept, in slices so short that no caller notices.

Each slice is a transaction of its own and leaves books that verify. Wherever it stops, the next round starts over and
finds what is done: a month's partition is dropped last.
"""

import asyncio
import logging

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.tenant_lock import lock_tenant
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep import retention
from token_ledger.storage.upkeep.periods import load_periods
from token_ledger.worker.slices import Slices
from token_ledger.worker.tenants import TenantFailures

log = logging.getLogger(__name__)

DROP_ATTEMPTS = 10
DROP_RETRY_SECONDS = 1.0


class Retention:
    """Keeps a number of whole months of usage events besides the current one."""

    def __init__(self, database: Database, months: int, failures: TenantFailures | None = None) -> None:
        self._database = database
        self._months = months
        self._failures = failures or TenantFailures("drop old months")

    async def drop_months(self) -> None:
        """Write checkpoints for older months, delete the rows that belong to them, and drop their partitions."""
        async with self._database.reading() as connection:
            await self._database.check_clock(connection)
            months = await retention.due_months(connection, self._months)
            names = await all_tenants(connection)
        if not months:
            return
        log.info("dropping old months", extra={"months": months})
        kept = set(names)
        for tenant in self._failures.ready(names):
            with self._failures.alone(tenant, names[tenant]):
                await self.write_checkpoints(tenant)
                for table in retention.FORGOTTEN:
                    await self.delete_rows(tenant, table)
                kept.remove(tenant)
        if kept:
            log.warning(
                "old months are kept until all tenants are done",
                extra={"tenants": sorted(names[tenant] for tenant in kept)[:20]},
            )
            return
        for _ in months:
            await self.drop_month()

    async def write_checkpoints(self, tenant: TenantId) -> None:
        """Add all events of a tenant that are no longer kept to its checkpoints."""
        async with self._database.reading(tenant) as connection:
            periods = await load_periods(connection, tenant)
        slices = Slices(500, 20_000)
        added = 1
        while added:
            async with slices.next() as events, self._database.reading(tenant) as connection:
                await self._database.check_clock(connection)  # what is dropped too early is lost
                await lock_tenant(connection, tenant)
                slices.restart_clock()
                added = await retention.add_to_checkpoint(connection, tenant, periods, self._months, events)

    async def delete_rows(self, tenant: TenantId, table: str) -> None:
        """Delete the rows of a table that belong to events in a tenant's checkpoints."""
        slices = Slices(500, 20_000)
        place: retention.Place | None = None
        deleted = 0
        while True:
            async with slices.next() as rows, self._database.reading(tenant) as connection:
                await self._database.check_clock(connection)
                count, place = await retention.forget(connection, tenant, table, place, rows)
            deleted += count
            if place is None:
                break
        if deleted:
            log.info("deleted old rows", extra={"tenant": tenant, "table": table, "rows": deleted})

    async def drop_month(self) -> None:
        """Drop the oldest partition that is due, as soon as nobody reads it."""
        for attempt in range(1, DROP_ATTEMPTS + 1):
            try:
                async with self._database.reading() as connection:
                    await self._database.check_clock(connection)
                    dropped = await retention.drop_month(connection, self._months)
                log.info("dropped a month", extra={"partition": dropped})
                return
            except retention.MonthInUse:
                if attempt == DROP_ATTEMPTS:
                    raise
                await asyncio.sleep(DROP_RETRY_SECONDS)
