"""Owns the recurring work of a process. Every task is safe to run in several processes at once."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

from token_ledger.analytics.spend import fullest_accounts, open_holds
from token_ledger.core.commands import Command, ExpireDue
from token_ledger.core.outcomes import Outcome
from token_ledger.core.tenant import TenantId
from token_ledger.observability.metrics import BudgetUse, Metrics
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import add_partitions, all_tenants, tenants_with_due_holds

log = logging.getLogger(__name__)

EXPIRY_SECONDS = 1.0
GAUGE_SECONDS = 15.0
PARTITION_SECONDS = 3600.0
MONTHS_AHEAD = 3

Submit = Callable[[TenantId, Command], Awaitable[Outcome]]


class Upkeep:
    """The tasks of one process."""

    def __init__(self, database: Database, submit: Submit, metrics: Metrics) -> None:
        self._database = database
        self._submit = submit
        self._metrics = metrics

    async def run(self) -> None:
        """Run every task at its interval until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(EXPIRY_SECONDS, self.expire_due_holds))
            group.create_task(self._every(GAUGE_SECONDS, self.refresh_gauges))
            group.create_task(self._every(PARTITION_SECONDS, self.make_partitions))

    async def expire_due_holds(self) -> None:
        """Give every tenant with due holds a batch: every batch expires what is due, however quiet the tenant is."""
        async with self._database.reading() as connection:
            tenants = list(await all_tenants(connection))
        async with self._database.reading(*tenants) as connection:
            due = await tenants_with_due_holds(connection)
        await asyncio.gather(*(self._submit(tenant, ExpireDue()) for tenant in due))

    async def refresh_gauges(self) -> None:
        """Show how full the fullest accounts are and how many holds are open."""
        async with self._database.reading() as connection:
            names = await all_tenants(connection)
        async with self._database.reading(*names) as connection:
            accounts = await fullest_accounts(connection, list(names))
            holds = await open_holds(connection, list(names))
        self._metrics.replace_budget_ratios(
            BudgetUse(names[row["tenant_id"]], row["budget"], _subject(row["subject"]), row[unit], row[f"limit_{unit}"])
            for row in accounts
            for unit in ("tokens", "nanos", "calls")
            if row[f"limit_{unit}"] is not None
        )
        self._metrics.replace_open_holds({names[TenantId(tenant)]: count for tenant, count in holds.items()})

    async def make_partitions(self) -> None:
        """Make the partitions of the months ahead, so that no booking ever waits for one."""
        async with self._database.reading() as connection:
            await add_partitions(connection, MONTHS_AHEAD)

    async def _every(self, seconds: float, task: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await task()
            except Exception as error:  # whatever it is (no schema yet, say), the next round may go well
                reason = f"{type(error).__name__}: {error}"[:300]
                log.warning("upkeep failed, tried again soon", extra={"task": task.__name__, "reason": reason})
            await asyncio.sleep(seconds)


def _subject(text: str) -> str:
    return ",".join(f"{name}={value}" for name, value in json.loads(text).items())
