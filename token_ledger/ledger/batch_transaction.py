"""Runs one batch as one transaction: lock, load, decide, write, commit.

A usual batch of one tenant of which everything needed is known is tried by one statement before (`one_statement`).

A batch of one tenant may be decided ahead, while its predecessor is being written: on rows loaded without the lock,
with the predecessor's decisions laid over them, at an instant of the database's clock. It then waits for the lock. Its
decisions stand only if the predecessor was committed, and the sequence number and the set-up are the assumed ones;
otherwise the batch is decided again under the lock. (The number alone proves nothing: if the predecessor fails, another
batch gets its number.)

A batch that is refused because of its data is run again in parts, each behind a savepoint. What is at fault is left
out; if it reports spend, it is kept in quarantine.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.price_terms import book_with
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.ledger.errors import OutcomeUnknown, Unavailable
from token_ledger.ledger.one_statement import AtOnce, OneStatement
from token_ledger.ledger.parts import Parts, is_about_one
from token_ledger.ledger.pauses import Pauses
from token_ledger.ledger.plan import Commands, Committed, OnDecided, Plan, Predecessor
from token_ledger.ledger.remembered import Remembered
from token_ledger.storage.clocks import ClockWatch
from token_ledger.storage.database import see_tenants
from token_ledger.storage.failures import Failure, failure_of
from token_ledger.storage.load.batch import load
from token_ledger.storage.load.locks import Locked, lock_at, lock_tenants, read_clock
from token_ledger.storage.load.setup import load_configs
from token_ledger.storage.prices import load_newer_book
from token_ledger.storage.write.batch import plan_writes, send
from token_ledger.storage.write.statements import Write

BATCHES_NOT_AHEAD = 32
"""How many batches of a tenant are not decided ahead once another process was found working for the same tenant."""


class BatchTransactions:
    """Runs batches on given connections; remembers between them what they left (see `remembered`)."""

    def __init__(
        self, prices: PriceBook, clocks: ClockWatch, *, one_statement: bool = True,
        count_at_once: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.prices = prices
        """The global price book, as new as any batch has asked for."""
        self._clocks = clocks
        self._remembered = Remembered()
        self._one_statement = OneStatement(self._remembered, clocks, count_at_once)
        self._tries_one_statement = one_statement
        self._ahead = Pauses()

    async def run(
        self, connection: Any, commands: Commands, predecessor: Predecessor | None, on_decided: OnDecided,
        *, lasts: bool = True,
    ) -> Committed:  # fmt: skip
        """Run a batch to its commit. Raises OutcomeUnknown if the connection is lost then, or driver errors.

        Unless it `lasts`, it may be undone if the database crashes within a second, until a later one was committed.
        """
        committed = asyncio.get_running_loop().create_future()
        try:
            done = await self._run(connection, commands, predecessor, committed, on_decided, lasts)
            committed.set_result(True)
        finally:
            if not committed.done():
                committed.set_result(False)
        return done

    async def _run(
        self,
        connection: Any,
        commands: Commands,
        predecessor: Predecessor | None,
        committed: asyncio.Future[bool],
        on_decided: OnDecided,
        lasts: bool,
    ) -> Committed:
        if predecessor is not None and not predecessor.known:
            predecessor = None  # it was committed meanwhile, and what it left is kept
        decided = await self._one_statement.decide(commands, predecessor) if self._tries_one_statement else None
        is_announced = False
        if decided is not None:
            stands = predecessor is None or await predecessor.committed
            if stands and decided.statement is not None:
                is_announced = True
                if await self._book_at_once(connection, decided, on_decided, lasts):
                    return decided.done
            predecessor = None  # what it left was decided on, and so is no longer what it was
        tenants = sorted(commands)
        await connection.execute("begin")
        await connection.execute(see_tenants(tenants))
        if predecessor is None or not predecessor.known:  # as above: it may have been committed since
            plan = await self._decide(connection, await lock_tenants(connection, tenants, self._clocks), commands)
        else:
            plan = await self._decide_ahead(connection, commands, predecessor)
        if len(tenants) == 1:
            if not plan.books:
                raise Unavailable(f"tenant {tenants[0]} has no ledger")
            if not is_announced:
                self._announce(Predecessor(plan.books[0], plan.known, committed), on_decided)
        await send(connection, plan.writes)
        await _commit(connection, lasts=lasts)
        for books in plan.books:
            self._remembered.keep(books, plan.known)
        skipped = [tenant for tenant in tenants if tenant not in plan.outcomes]
        names = {books.config.tenant_id: books.config.name for books in plan.books}
        return Committed(plan.outcomes, plan.changes, names, skipped)

    async def _book_at_once(self, connection: Any, decided: AtOnce, on_decided: OnDecided, lasts: bool) -> bool:
        booked, is_booked = asyncio.get_running_loop().create_future(), False
        try:
            self._announce(Predecessor(decided.books, decided.plan.known, booked), on_decided)
            is_booked = await self._one_statement.book(connection, decided, lasts=lasts)
        finally:
            booked.set_result(is_booked)
        return is_booked

    async def try_out(self, connection: Any, tenant: TenantId, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Return what a batch of one tenant would come to, and change nothing."""
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(see_tenants([tenant]))
            locked = await lock_tenants(connection, [tenant], self._clocks)
            if not locked:
                raise Unavailable(f"tenant {tenant} has no ledger")
            plan = await self._decide(connection, locked, {tenant: commands})
            return plan.outcomes[tenant]
        finally:
            # What was read is committed by others, so it stays known: the tenant's next batch may be using it already.
            await transaction.rollback()

    async def run_in_parts(self, connection: Any, commands: Commands) -> Committed:
        """Run a batch that was refused, in parts with a savepoint each, to one commit.

        What fails is divided until the command at fault is alone; only that one fails. Raises as `run` does.
        """
        tenants = sorted(commands)
        try:
            await connection.execute("begin")
            await connection.execute(see_tenants(tenants))
            # The locks stay when a part is rolled back. Waiting for one tenant is safe only without other locks.
            locked = [lock.tenant_id for lock in await lock_tenants(connection, tenants, self._clocks)]
            if len(tenants) == 1 and not locked:
                raise Unavailable(f"tenant {tenants[0]} has no ledger")
            parts = Parts(connection, commands, self._run_part)
            await parts.run([(tenant, place) for tenant in locked for place in range(len(commands[tenant]))], bad=True)
            await _commit(connection)
        except BaseException:
            self._remembered.forget(tenants)
            raise
        for tenant, _, writes in parts.decided:
            self._remembered.names.keep(tenant, writes)
        answered = {
            tenant: [parts.results.get((tenant, place)) for place in range(len(commands[tenant]))] for tenant in locked
        }
        return Committed(answered, parts.decided, parts.names, [tenant for tenant in tenants if tenant not in answered])

    async def _run_part(self, connection: Any, commands: Commands) -> Plan[list[Write]] | Exception:
        """Decide and write some commands of a batch; roll them back and return the error if they are refused."""
        await connection.execute("savepoint part")
        try:
            plan = await self._decide(
                connection, await lock_tenants(connection, sorted(commands), self._clocks), commands
            )
            await send(connection, plan.writes)
            await connection.execute("release savepoint part")
            return plan
        except Exception as error:
            if not is_about_one(error):
                raise
            await connection.execute("rollback to savepoint part")
            self._remembered.forget(commands)
            return error

    async def _decide(self, connection: Any, locked: Sequence[Locked], commands: Commands) -> Plan[list[Write]]:
        configs = await self._current_configs(connection, locked)
        remembered = self._remembered
        prices = remembered.books
        known = {lock.tenant_id: remembered.kept.take(lock) for lock in locked}
        loaded = await load(connection, locked, configs, commands, prices, known, remembered.names)
        books = [
            Books(configs[tenant], prices[tenant], lock.sequence, lock.now, loaded[tenant])
            for lock in locked
            for tenant in (lock.tenant_id,)
        ]
        return Plan(books, known, commands, plan_writes)

    async def _decide_ahead(self, connection: Any, commands: Commands, predecessor: Predecessor) -> Plan[list[Write]]:
        (tenant,) = commands
        books = predecessor.books
        config = {tenant: books.config}
        known = {tenant: predecessor.known.pop(tenant)}
        left = known[tenant].left
        assert left is not None, "what a batch leaves is noted when it is decided"
        assumed = Locked.after(tenant, left, await read_clock(connection, self._clocks))
        now = assumed.now
        prices = {tenant: books.prices}
        names = self._remembered.names
        loaded = await load(connection, [assumed], config, commands, prices, known, names, books)
        plan = Plan(
            [Books(books.config, books.prices, assumed.sequence, now, loaded[tenant])], known, commands, plan_writes
        )
        lock = await lock_at(connection, tenant, now, self._clocks)
        # This does not wait long: we have the lock, so the predecessor has ended.
        if await predecessor.committed and lock == assumed:
            return plan
        self._ahead.begin(tenant, BATCHES_NOT_AHEAD)
        return await self._decide(connection, [lock], commands)

    def _announce(self, decided: Predecessor, on_decided: OnDecided) -> None:
        """Let the next batch be decided on top of this one, unless another process shares the tenant; once a batch."""
        tenant = decided.books.config.tenant_id
        if self._ahead.is_over(tenant) and not decided.books.writes.stands_alone:
            on_decided(tenant, decided)

    async def _current_configs(self, connection: Any, locked: Sequence[Locked]) -> Mapping[TenantId, TenantConfig]:
        remembered = self._remembered
        stale = [lock for lock in locked if not remembered.has_config(lock.tenant_id, lock.config_version)]
        if stale:
            self.prices = await load_newer_book(connection, self.prices)
            for tenant, config in (await load_configs(connection, stale)).items():
                remembered.set_config(tenant, config, book_with(self.prices, config.price_terms))
        return remembered.configs


async def _commit(connection: Any, *, lasts: bool = True) -> None:
    """Commit; wait until it is on disk, if it is to last by itself. Others wait for the tenant's lock meanwhile."""
    try:
        await connection.execute("commit" if lasts else "set local synchronous_commit = off; commit")
    except Exception as error:
        if failure_of(error) is Failure.AWAY:
            raise OutcomeUnknown(f"the connection was lost at commit: {error}") from error
        raise
