"""Gathers commands into batches and runs each batch as one transaction (design D9).

While a tenant's batch runs, its next commands gather; when it is done they are the next batch. A batch may take the
waiting commands of many tenants: with a thousand quiet tenants there is one commit for all of them, not one each.
A tenant whose lock another process holds is left out of such a batch and waited for alone.

A batch that fails on its data is halved until the one command at fault is alone; its neighbours are booked.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from token_ledger.core.books import Books
from token_ledger.core.commands import Command
from token_ledger.core.decide import decide
from token_ledger.core.outcomes import Outcome
from token_ledger.core.price import PriceBook
from token_ledger.core.tenant import TenantConfig, TenantId
from token_ledger.ledger.errors import LedgerError, OutcomeUnknown, Unavailable, Unstorable
from token_ledger.observability.traces import BATCH, OPERATIONS, TENANTS, tracer
from token_ledger.storage.bookings import Decided
from token_ledger.storage.configs import load_configs
from token_ledger.storage.database import AWAY, Database, tenant_list
from token_ledger.storage.loading import Locked, RecentHolds, load, lock_tenants
from token_ledger.storage.writing import write

log = logging.getLogger(__name__)

_TRY_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_TOO_SLOW = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
_ATTEMPTS = 3


@dataclass(slots=True)
class Ticket:
    """A command that waits for its outcome."""

    command: Command
    outcome: "asyncio.Future[Outcome]"


Batch = dict[TenantId, list[Ticket]]
Done = dict[TenantId, tuple[list[Outcome], Decided]]
"""The outcomes of each tenant whose lock was taken, in order, and what they changed."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a committed batch did, for those who count it."""

    seconds: float
    operations: int
    decided: Sequence[Decided]
    outcomes: Sequence[tuple[Command, Outcome]]


class GroupCommit:
    """Runs batches on the writer connections of one process, never two at once for a tenant."""

    def __init__(
        self,
        database: Database,
        prices: PriceBook,
        *,
        writers: int = 2,
        batch_operations: int = 256,
        waiting_operations: int = 20_000,
        report: Callable[[BatchReport], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._prices = prices
        self._writers = writers
        self._batch_operations = batch_operations
        self._waiting_operations = waiting_operations
        self._report = report
        self._waiting: Batch = {}
        self._waiting_count = 0
        self._recent = RecentHolds()
        self._busy: set[TenantId] = set()
        self._contended: set[TenantId] = set()
        self._configs: dict[TenantId, TenantConfig] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, tenant: TenantId, command: Command) -> Outcome:
        """Return the outcome of a command once it is committed.

        Raises Unavailable, OutcomeUnknown or Unstorable (see `errors`).
        """
        if self._waiting_count >= self._waiting_operations:
            raise Unavailable(f"{self._waiting_count} operations are waiting already")
        ticket = Ticket(command, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, []).append(ticket)
        self._waiting_count += 1
        if tenant not in self._busy and len(self._running) < self._writers:
            task = asyncio.create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await ticket.outcome

    async def drain(self) -> None:
        """Return when every command that waits now has its outcome."""
        while self._running:
            await asyncio.gather(*self._running)

    def _take(self) -> Batch:
        """Take the commands of the next batch, oldest tenant first, and mark their tenants busy."""
        batch: Batch = {}
        room = self._batch_operations
        for tenant in list(self._waiting):
            if tenant in self._busy or (tenant in self._contended and batch):
                continue
            tickets = self._waiting.pop(tenant)
            if len(tickets) > room:
                self._waiting[tenant] = tickets[room:]
                tickets = tickets[:room]
            batch[tenant] = tickets
            room -= len(tickets)
            if room <= 0 or tenant in self._contended:
                break
        self._contended.difference_update(batch)
        self._busy.update(batch)
        self._waiting_count -= sum(map(len, batch.values()))
        return batch

    async def _work(self) -> None:
        while batch := self._take():
            try:
                await self._run(batch)
            except Exception as error:  # a ticket without an outcome would hang its caller for ever
                _fail(batch, error)
            finally:
                self._busy.difference_update(batch)

    async def _run(self, batch: Batch) -> None:
        """Run a batch to its end, whatever happens: every ticket gets an outcome or an error."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._attempt(batch)
                return
            except _TRY_AGAIN as error:
                failure: LedgerError = Unavailable(f"the database asked to try again: {error}")
            except _TOO_SLOW as error:
                _fail(batch, Unavailable(f"the database is too slow: {error}"))
                return
            except AWAY as error:
                failure = Unavailable(f"the database can't be reached: {str(error) or type(error).__name__}")
                # Once more at once, for a connection that went stale; a server that is silent is not asked twice.
                if attempt > 1 or isinstance(error, TimeoutError):
                    self._fail_waiting(failure)
                    break
            except LedgerError as error:
                if isinstance(error.__cause__, TimeoutError):
                    self._fail_waiting(Unavailable("the database does not answer"))
                _fail(batch, error)
                return
            except Exception as error:
                await self._halve(batch, error)
                return
        _fail(batch, failure)

    def _fail_waiting(self, error: LedgerError) -> None:
        """Tell those who still wait as well: the next batch would only wait for the same server."""
        waiting, self._waiting, self._waiting_count = self._waiting, {}, 0
        self._contended.clear()
        _fail(waiting, error)

    async def _halve(self, batch: Batch, error: Exception) -> None:
        tickets = [(tenant, ticket) for tenant, waiting in batch.items() for ticket in waiting]
        if len(tickets) == 1:
            refused = isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError | ValueError)
            _fail(batch, Unstorable(str(error)) if refused else error)
            return
        middle = len(tickets) // 2
        for part in tickets[:middle], tickets[middle:]:
            half: Batch = {}
            for tenant, ticket in part:
                half.setdefault(tenant, []).append(ticket)
            await self._run(half)

    async def _attempt(self, batch: Batch) -> None:
        started = time.perf_counter()
        with tracer().start_as_current_span(BATCH) as span:
            span.set_attribute(TENANTS, len(batch))
            span.set_attribute(OPERATIONS, sum(map(len, batch.values())))
            done, skipped = await self._on_connection(batch)
        self._answer(batch, done, skipped, started)

    async def _on_connection(self, batch: Batch) -> tuple[Done, list[TenantId]]:
        pool = await self._database.writer_pool()
        connection = await pool.acquire()
        try:
            return await self._transact(connection, batch)
        except BaseException as error:
            lost = _is_lost(connection, error)
            # Whatever state the connection is in, it is not worth saving: a new one costs milliseconds.
            with suppress(Exception):
                connection.terminate()
            if lost and not isinstance(error, TimeoutError):
                raise ConnectionError(str(error)) from error
            raise
        finally:
            await pool.release(connection)

    def _answer(self, batch: Batch, done: Done, skipped: Sequence[TenantId], started: float) -> None:
        answered = [
            (ticket, outcome)
            for tenant, (outcomes, _) in done.items()
            for ticket, outcome in zip(batch[tenant], outcomes, strict=True)
        ]
        for ticket, outcome in answered:
            if not ticket.outcome.done():
                ticket.outcome.set_result(outcome)
        for tenant in skipped:
            self._requeue(tenant, batch[tenant])
        report = BatchReport(
            time.perf_counter() - started,
            len(answered),
            [decided for _, decided in done.values()],
            [(ticket.command, outcome) for ticket, outcome in answered],
        )
        try:
            self._report(report)
        except Exception:  # the batch is committed and answered: whoever counts it can't undo that
            log.exception("a committed batch could not be counted")

    async def _transact(self, connection: Any, batch: Batch) -> tuple[Done, list[TenantId]]:
        tenants = sorted(batch)
        # The ids are integers, so they can stand in the text; that saves a round trip per batch.
        await connection.execute(f"begin; set local app.tenants = '{tenant_list(tenants)}'")
        locked = await lock_tenants(connection, tenants)
        commands = {tenant: [ticket.command for ticket in tickets] for tenant, tickets in batch.items()}
        configs = await self._current_configs(connection, locked)
        loaded = await load(connection, locked, configs, commands, self._recent)
        done: Done = {}
        for lock in locked:
            tenant = lock.tenant_id
            books = Books(configs[tenant], self._prices, lock.sequence, lock.now, loaded[tenant])
            outcomes = decide(books, commands[tenant])
            done[tenant] = outcomes, (tenant, lock.now, books.writes)
        await write(connection, [decided for _, decided in done.values()])
        try:
            await connection.execute("commit")
        except Exception as error:
            if _is_lost(connection, error):
                raise OutcomeUnknown(f"the connection was lost at commit: {error}") from error
            raise
        for tenant, (_, (_, _, writes)) in done.items():
            self._recent.keep(tenant, writes)
        taken = {lock.tenant_id for lock in locked}
        if len(tenants) == 1 and not taken:
            raise LookupError(f"tenant {tenants[0]} has no ledger")
        return done, [tenant for tenant in tenants if tenant not in taken]

    async def _current_configs(self, connection: Any, locked: Sequence[Locked]) -> Mapping[TenantId, TenantConfig]:
        stale = [
            lock
            for lock in locked
            if (config := self._configs.get(lock.tenant_id)) is None or config.version != lock.config_version
        ]
        if stale:
            self._configs.update(await load_configs(connection, stale))
        return self._configs

    def _requeue(self, tenant: TenantId, tickets: list[Ticket]) -> None:
        """Put commands back in front of those that came since; their tenant's next batch waits for its lock."""
        self._waiting[tenant] = tickets + self._waiting.get(tenant, [])
        self._waiting_count += len(tickets)
        self._contended.add(tenant)


def _is_lost(connection: Any, error: BaseException) -> bool:
    """Tell whether an error means that the server is away; using a connection that has closed is an InterfaceError."""
    return isinstance(error, AWAY) or (isinstance(error, asyncpg.InterfaceError) and connection.is_closed())


def _fail(batch: Batch, error: Exception) -> None:
    for tickets in batch.values():
        for ticket in tickets:
            if not ticket.outcome.done():
                ticket.outcome.set_exception(error)
