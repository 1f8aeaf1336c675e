"""Gives up the months that are no longer kept, in slices so short that nobody notices (design D11).

Every slice is a transaction of its own, and each leaves books that verify. Wherever it stops, the next round begins
from the start and finds what is done already: the month's partition is there until everything else is done.
"""

import asyncio
import logging

from token_ledger.core.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.periods import load_periods
from token_ledger.storage.retention import (
    FORGOTTEN,
    MonthInUse,
    add_to_checkpoint,
    drop_month,
    due_months,
    forget,
)  # fmt: skip
from token_ledger.storage.tenants import all_tenants, lock_ledger
from token_ledger.worker.pace import Pace

log = logging.getLogger(__name__)

DROP_ATTEMPTS = 10
DROP_AGAIN_SECONDS = 1.0


class Retention:
    """Keeps so many whole months of usage events besides the current one, and gives up what is older."""

    def __init__(self, database: Database, months: int) -> None:
        self._database = database
        self._months = months

    async def give_up_months(self) -> None:
        """Write checkpoints for what is older than the months that are kept, forget its rows, drop its partitions."""
        async with self._database.reading() as connection:
            months = await due_months(connection, self._months)
            tenants = await all_tenants(connection)
        if not months:
            return
        log.info("gives up months", extra={"months": months})
        for tenant in tenants:
            await self.write_checkpoints(tenant)
        for table in FORGOTTEN:
            await self.forget_rows(table)
        for _ in months:
            await self.drop_month()

    async def write_checkpoints(self, tenant: TenantId) -> None:
        """Add all events of a tenant that are no longer kept to its checkpoints."""
        async with self._database.reading(tenant) as connection:
            periods = await load_periods(connection, tenant)
        pace = Pace(500, 20_000)
        added = 1
        while added:
            async with pace.slice() as events, self._database.reading(tenant) as connection:
                await lock_ledger(connection, tenant)
                pace.begin()
                added = await add_to_checkpoint(connection, tenant, periods, self._months, events)

    async def forget_rows(self, table: str) -> None:
        """Delete the rows of a table that belong to what is in checkpoints."""
        pace = Pace(32, 4_096)
        block: int | None = 0
        forgotten = 0
        while block is not None:
            async with pace.slice() as blocks, self._database.reading() as connection:
                rows, block = await forget(connection, table, block, blocks)
                forgotten += rows
        log.info("forgot old rows", extra={"table": table, "rows": forgotten})

    async def drop_month(self) -> None:
        """Drop the oldest partition that is due, as soon as nobody reads it."""
        for attempt in range(1, DROP_ATTEMPTS + 1):
            try:
                async with self._database.reading() as connection:
                    dropped = await drop_month(connection, self._months)
                log.info("dropped a month", extra={"partition": dropped})
                return
            except MonthInUse:
                if attempt == DROP_ATTEMPTS:
                    raise
                await asyncio.sleep(DROP_AGAIN_SECONDS)
