"""What the leader does for all tenants: expires holds, tends accounts, folds roll-ups, makes partitions ahead."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from token_ledger.core.commands import Command, ExpireDue, TendAccounts
from token_ledger.core.outcomes import Outcome
from token_ledger.core.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.folding import Unfolded, find_unfolded, fold, tenants_to_fold
from token_ledger.storage.tenants import (
    accounts_to_tend,
    add_partitions,
    all_tenants,
    lock_ledger,
    tenants_with_due_holds,
)
from token_ledger.worker.pace import Pace

MONTHS_AHEAD = 3
ACCOUNTS_AT_ONCE = 200
"""How many accounts one command tends: a batch stays short."""
ACCOUNTS_PER_LOOK = 2_000
ROUNDS = 50
"""How often in a row more is looked for, before other work of the process gets its turn."""

Submit = Callable[[TenantId, Command], Awaitable[Outcome]]


class Duties:
    """What is due by the clock, given to the ledger as commands like any other."""

    def __init__(self, database: Database, submit: Submit) -> None:
        self._database = database
        self._submit = submit
        self._folding = Pace(100, 10_000)

    async def expire_due_holds(self) -> None:
        """Give every tenant with due holds a batch: every batch expires what is due, however quiet the tenant is."""
        for _ in range(ROUNDS):
            tenants = await self._tenants()
            async with self._database.reading(*tenants) as connection:
                due = await tenants_with_due_holds(connection)
            if not due:
                return
            await self._submit_all((tenant, ExpireDue()) for tenant in due)

    async def tend_accounts(self) -> None:
        """Let grants lapse that are due, and close accounts whose window has ended."""
        for _ in range(ROUNDS):
            tenants = await self._tenants()
            async with self._database.reading(*tenants) as connection:
                accounts = await accounts_to_tend(connection, tenants, ACCOUNTS_PER_LOOK)
            await self._submit_all(
                (tenant, TendAccounts(tuple(ids[first : first + ACCOUNTS_AT_ONCE])))
                for tenant, ids in accounts.items()
                for first in range(0, len(ids), ACCOUNTS_AT_ONCE)
            )
            if sum(map(len, accounts.values())) < ACCOUNTS_PER_LOOK:
                return

    async def fold_rollups(self) -> None:
        """Fold the roll-ups of batches that are over, tenant by tenant."""
        tenants = await self._tenants()
        async with self._database.reading(*tenants) as connection:
            unfolded = await tenants_to_fold(connection, tenants)
        for tenant in unfolded:
            for _ in range(ROUNDS):
                async with self._database.reading(tenant) as connection:
                    found = await find_unfolded(connection, tenant)
                for each in found:
                    await self._fold(tenant, each)
                if not found:
                    break

    async def _fold(self, tenant: TenantId, unfolded: Unfolded) -> None:
        """Fold what was found in slices: the tenant's batches wait meanwhile."""
        done = 0
        while done < len(unfolded.keys):
            async with self._folding.slice() as keys, self._database.reading(tenant) as connection:
                await lock_ledger(connection, tenant)
                self._folding.begin()
                await fold(connection, tenant, unfolded, unfolded.keys[done : done + keys])
                done += keys

    async def make_partitions(self) -> None:
        """Make the partitions of the months ahead, so that no booking ever waits for one."""
        async with self._database.reading() as connection:
            await add_partitions(connection, MONTHS_AHEAD)

    async def _tenants(self) -> list[TenantId]:
        async with self._database.reading() as connection:
            return list(await all_tenants(connection))

    async def _submit_all(self, commands: Iterable[tuple[TenantId, Command]]) -> None:
        """Submit commands at once; one that fails keeps none of the others from being done."""
        outcomes = await asyncio.gather(
            *(self._submit(tenant, command) for tenant, command in commands), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
