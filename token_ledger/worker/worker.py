"""Owns the worker of a process: it asks for the lead, and does the leader's duties while the process has it.

Every transaction and every command of a duty first looks whether the process still leads: it may have been frozen.
"""

import asyncio
import logging

from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.upkeep.leadership import Leadership
from token_ledger.worker.repeating import repeat
from token_ledger.worker.schedule import leader_duties
from token_ledger.worker.submission import Submit
from token_ledger.worker.tenants import Count

log = logging.getLogger(__name__)

CLAIM_SECONDS = 1.0
"""How often a process that does not lead asks for the lead."""
LONGEST_CLAIM_PAUSE_SECONDS = 5.0
"""How long it waits at most before it asks again after the database could not be reached."""


class Worker:
    """The worker of one process; of all workers on a database, one at a time leads."""

    def __init__(
        self, database: Database, submit: Submit, count: Count, *, retention_months: int | None = None
    ) -> None:  # fmt: skip
        self._database = database
        self._submit = submit
        self._count = count
        self._retention_months = retention_months
        self._leadership = Leadership(database.dsn, database.clocks)
        self.leads = False

    async def work(self) -> None:
        """Ask for the lead until cancelled, and do the leader's duties while this process has it."""
        try:
            await repeat(
                "ask for the lead", CLAIM_SECONDS, self._lead_if_free, longest_pause_seconds=LONGEST_CLAIM_PAUSE_SECONDS
            )
        finally:
            self._leadership.resign()

    async def _lead_if_free(self) -> None:
        if not await self._leadership.claim():
            return
        log.info("this process leads now")
        self.leads = True
        duties = asyncio.create_task(self._do_duties())
        try:
            await self._leadership.hold()
            log.warning("this process no longer leads: its connection was lost, or a clock is wrong")
        finally:
            self.leads = False
            duties.cancel()
            await asyncio.gather(duties, return_exceptions=True)

    async def _do_duties(self) -> None:
        database = self._database.checked(self._leadership.check)
        async with asyncio.TaskGroup() as group:
            for duty in leader_duties(database, self._submit_as_leader, self._retention_months, self._count):
                group.create_task(repeat(duty.name, duty.seconds, duty.do))

    async def _submit_as_leader(self, tenant: TenantId, command: Command) -> Outcome:
        self._leadership.check()
        return await self._submit(tenant, command)
