"""Runs one batch as one transaction: lock, load, decide, write, commit (design D9).

A batch of one tenant may be decided ahead, while the batch before it is being written: on the rows that are loaded
without the lock, with what that batch decided laid over them, at an instant of the database's clock. It then waits
for the lock; only if that batch was committed, and the sequence number and the set-up are the ones it assumed, has
nothing happened in between, and its decisions stand. Otherwise they are thrown away and taken again under the lock.
(The number alone does not tell: if that batch fails, another one gets its number.)
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from token_ledger.core.books import Books
from token_ledger.core.commands import Command
from token_ledger.core.decide import decide
from token_ledger.core.outcomes import Outcome
from token_ledger.core.price import PriceBook
from token_ledger.core.tenant import TenantConfig, TenantId
from token_ledger.ledger.errors import OutcomeUnknown
from token_ledger.storage.bookings import Decided
from token_ledger.storage.configs import load_configs
from token_ledger.storage.database import AWAY, tenant_list
from token_ledger.storage.loading import Locked, load, lock_at, lock_tenants
from token_ledger.storage.recent import RecentHolds
from token_ledger.storage.writing import plan_writes, send

SHARED_BATCHES = 32
"""For how many batches nothing is decided ahead after another process was found to work for the same tenant."""

Commands = Mapping[TenantId, Sequence[Command]]


@dataclass(frozen=True, slots=True)
class Before:
    """A batch of one tenant that is decided and being written; `committed` is false if that went wrong in any way."""

    books: Books
    committed: asyncio.Future[bool]


Ahead = Callable[[TenantId, Before], None]
"""Told when a tenant's batch is decided and its writes are planned: the next one may be decided on top of it."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a batch did: outcomes in the order of the commands, and the tenants whose lock was not free."""

    outcomes: dict[TenantId, list[Outcome]]
    decided: list[Decided]
    skipped: list[TenantId]


class _Plan:
    """What the commands of a batch lead to, decided and ready to be sent."""

    def __init__(self, books: Sequence[Books], commands: Commands) -> None:
        self.books = books
        self.outcomes = {each.config.tenant_id: decide(each, commands[each.config.tenant_id]) for each in books}
        self.changes: list[Decided] = [(each.config.tenant_id, each.now, each.writes) for each in books]
        self.writes = plan_writes(self.changes)


class Batches:
    """Runs batches on connections that it is given; keeps what stays true between them."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self._configs: dict[TenantId, TenantConfig] = {}
        self._recent = RecentHolds()
        self._shared: dict[TenantId, int] = {}

    async def run(self, connection: Any, commands: Commands, before: Before | None, ahead: Ahead) -> Committed:
        """Run a batch to its commit. Raises OutcomeUnknown when the connection is lost at commit, else the driver's."""
        committed = asyncio.get_running_loop().create_future()
        try:
            done = await self._run(connection, commands, before, committed, ahead)
            committed.set_result(True)
        finally:
            if not committed.done():
                committed.set_result(False)
        return done

    async def _run(
        self, connection: Any, commands: Commands, before: Before | None, committed: asyncio.Future[bool], ahead: Ahead
    ) -> Committed:
        tenants = sorted(commands)
        # The ids are integers, so they can stand in the text; that saves a round trip per batch.
        await connection.execute(f"begin; set local app.tenants = '{tenant_list(tenants)}'")
        if before is None:
            plan = await self._decide(connection, await lock_tenants(connection, tenants), commands)
        else:
            plan = await self._decide_ahead(connection, commands, before)
        if len(tenants) == 1:
            if not plan.books:
                raise LookupError(f"tenant {tenants[0]} has no ledger")
            if self._may_go_ahead(plan.books[0]):
                ahead(tenants[0], Before(plan.books[0], committed))
        await send(connection, plan.writes)
        await _commit(connection)
        for books in plan.books:
            self._recent.keep(books.config.tenant_id, books.writes)
        skipped = [tenant for tenant in tenants if tenant not in plan.outcomes]
        return Committed(plan.outcomes, plan.changes, skipped)

    async def _decide(self, connection: Any, locked: Sequence[Locked], commands: Commands) -> "_Plan":
        configs = await self._current_configs(connection, locked)
        loaded = await load(connection, locked, configs, commands, self._recent)
        return _Plan(
            [
                Books(configs[lock.tenant_id], self._prices, lock.sequence, lock.now, loaded[lock.tenant_id])
                for lock in locked
            ],
            commands,
        )

    async def _decide_ahead(self, connection: Any, commands: Commands, before: Before) -> "_Plan":
        (tenant,) = commands
        books = before.books
        now = max(books.now, await connection.fetchval("select clock_timestamp()"))
        assumed = Locked(tenant, books.sequence + 1, books.config.version, now)
        loaded = await load(connection, [assumed], {tenant: books.config}, commands, self._recent, books)
        plan = _Plan([Books(books.config, self._prices, assumed.sequence, now, loaded[tenant])], commands)
        lock = await lock_at(connection, tenant, now)
        # Nobody waits for long: whoever has this lock knows that the batch before has ended.
        if await before.committed and lock == assumed:
            return plan
        self._shared[tenant] = SHARED_BATCHES
        return await self._decide(connection, [lock], commands)

    def _may_go_ahead(self, books: Books) -> bool:
        """Tell whether the next batch may be decided on top of this one: not while another process works beside us."""
        tenant = books.config.tenant_id
        left = self._shared.pop(tenant, 0)
        if left > 1:
            self._shared[tenant] = left - 1
        return not left and not books.writes.stands_alone

    async def _current_configs(self, connection: Any, locked: Sequence[Locked]) -> Mapping[TenantId, TenantConfig]:
        stale = [
            lock
            for lock in locked
            if (config := self._configs.get(lock.tenant_id)) is None or config.version != lock.config_version
        ]
        if stale:
            self._configs.update(await load_configs(connection, stale))
            for lock in stale:
                self._recent.forget(lock.tenant_id)
        return self._configs


def is_lost(connection: Any, error: BaseException) -> bool:
    """Tell whether an error means that the server is away; using a connection that has closed is an InterfaceError."""
    return isinstance(error, AWAY) or (isinstance(error, asyncpg.InterfaceError) and connection.is_closed())


async def _commit(connection: Any) -> None:
    try:
        await connection.execute("commit")
    except Exception as error:
        if is_lost(connection, error):
            raise OutcomeUnknown(f"the connection was lost at commit: {error}") from error
        raise
