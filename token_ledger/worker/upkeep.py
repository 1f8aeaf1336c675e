"""Owns the recurring work of a process: its gauges, and, while it leads, the duties that one process does for all."""

import asyncio
import logging
from functools import partial

from token_ledger.observability.metrics import Metrics
from token_ledger.storage.database import Database
from token_ledger.storage.leadership import Leadership
from token_ledger.worker.duties import Duties, Submit
from token_ledger.worker.erasure import Erasures
from token_ledger.worker.gauges import refresh_gauges
from token_ledger.worker.loops import repeat
from token_ledger.worker.retention import Retention

log = logging.getLogger(__name__)

CLAIM_SECONDS = 1.0
"""How often those who do not lead ask whether they may."""
LONGEST_CLAIM_PAUSE_SECONDS = 5.0
"""How long at most before they ask again, after the database was away."""
EXPIRY_SECONDS = 1.0
TENDING_SECONDS = 5.0
FOLDING_SECONDS = 5.0
GAUGE_SECONDS = 15.0
ERASURE_SECONDS = 1.0
PARTITION_SECONDS = 3600.0
RETENTION_SECONDS = 3600.0


class Upkeep:
    """The recurring work of one process; of all processes on a database one at a time leads."""

    def __init__(self, database: Database, submit: Submit, *, retention_months: int | None = None) -> None:
        self._database = database
        self._duties = Duties(database, submit)
        self._erasures = Erasures(database)
        self._retention = None if retention_months is None else Retention(database, retention_months)
        self._leadership = Leadership(database.dsn)
        self.leads = False

    async def show_gauges(self, metrics: Metrics) -> None:
        """Refresh the gauges of this process until cancelled."""
        await repeat("refresh gauges", GAUGE_SECONDS, partial(refresh_gauges, self._database, metrics))

    async def work(self) -> None:
        """Ask for the lead until cancelled, and do the leader's duties while this process has it."""
        try:
            await repeat("lead", CLAIM_SECONDS, self._lead_if_free, longest_pause_seconds=LONGEST_CLAIM_PAUSE_SECONDS)
        finally:
            self._leadership.resign()

    async def _lead_if_free(self) -> None:
        if not await self._leadership.claim():
            return
        log.info("leads now")
        self.leads = True
        duties = asyncio.create_task(self._do_duties())
        try:
            await self._leadership.hold()
            log.warning("leads no more: its connection was lost")
        finally:
            self.leads = False
            duties.cancel()
            await asyncio.gather(duties, return_exceptions=True)

    async def _do_duties(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat("expire due holds", EXPIRY_SECONDS, self._duties.expire_due_holds))
            group.create_task(repeat("tend accounts", TENDING_SECONDS, self._duties.tend_accounts))
            group.create_task(repeat("fold roll-ups", FOLDING_SECONDS, self._duties.fold_rollups))
            group.create_task(repeat("erase users", ERASURE_SECONDS, self._erasures.erase_users))
            group.create_task(repeat("make partitions", PARTITION_SECONDS, self._duties.make_partitions))
            if self._retention is not None:
                group.create_task(repeat("give up months", RETENTION_SECONDS, self._retention.give_up_months))
