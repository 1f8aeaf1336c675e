"""Gathers commands into batches and runs each batch as one transaction (design D9).

While a tenant's batch runs, its next commands gather; when it is done they are the next batch. A batch may take the
waiting commands of many tenants: with a thousand quiet tenants there is one commit for all of them, not one each.
A tenant whose lock another process holds is left out of such a batch and waited for alone.

A busy tenant's next batch is decided while the one before it is being written (see `batches`), so that neither this
process nor the database waits for the other.

A batch that fails on its data is halved until the one command at fault is alone; its neighbours are booked.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from token_ledger.core.commands import Command
from token_ledger.core.outcomes import Outcome
from token_ledger.core.price import PriceBook
from token_ledger.core.tenant import TenantId
from token_ledger.ledger.batches import Batches, Before, Committed, is_lost
from token_ledger.ledger.errors import LedgerError, Unavailable, Unstorable
from token_ledger.observability.traces import BATCH, OPERATIONS, TENANTS, tracer
from token_ledger.storage.bookings import Decided
from token_ledger.storage.database import AWAY, Database

AHEAD_OPERATIONS = 64
"""How many commands must wait for a tenant before its next batch is decided while the one before is written."""

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


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a committed batch did, for those who count it."""

    seconds: float
    operations: int
    decided: Sequence[Decided]
    outcomes: Sequence[tuple[Command, Outcome]]


class GroupCommit:
    """Runs batches on the writer connections of one process: one at a time for a tenant, and one decided ahead."""

    def __init__(
        self,
        database: Database,
        prices: PriceBook,
        *,
        writers: int = 4,
        batch_operations: int = 256,
        waiting_operations: int = 20_000,
        report: Callable[[BatchReport], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._batches = Batches(prices)
        self._writers = writers
        self._batch_operations = batch_operations
        self._waiting_operations = waiting_operations
        self._report = report
        self._waiting: Batch = {}
        self._waiting_count = 0
        self._busy: Counter[TenantId] = Counter()
        self._ahead: dict[TenantId, Before] = {}
        self._contended: set[TenantId] = set()
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
        if tenant not in self._busy or (tenant in self._ahead and len(self._waiting[tenant]) >= AHEAD_OPERATIONS):
            self._start_worker()
        return await ticket.outcome

    async def drain(self) -> None:
        """Return when every command that waits now has its outcome."""
        while self._running:
            await asyncio.gather(*self._running)

    def _start_worker(self) -> None:
        if len(self._running) < self._writers:
            task = asyncio.create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _take(self) -> tuple[Batch, Before | None]:
        """Take the commands of the next batch, oldest tenant first, and mark their tenants busy.

        A busy tenant is taken alone, to be decided ahead, when its batch is being written and enough is waiting.
        """
        batch: Batch = {}
        before = None
        room = self._batch_operations
        for tenant in list(self._waiting):
            alone = tenant in self._contended
            if tenant in self._busy:
                if batch or tenant not in self._ahead or len(self._waiting[tenant]) < AHEAD_OPERATIONS:
                    continue
                before, alone = self._ahead.pop(tenant), True
            elif alone and batch:
                continue
            tickets = self._waiting.pop(tenant)
            if len(tickets) > room:
                self._waiting[tenant] = tickets[room:]
                tickets = tickets[:room]
            batch[tenant] = tickets
            room -= len(tickets)
            if room <= 0 or alone:
                break
        self._contended.difference_update(batch)
        self._busy.update(batch.keys())
        self._waiting_count -= sum(map(len, batch.values()))
        return batch, before

    async def _work(self) -> None:
        while True:
            batch, before = self._take()
            if not batch:
                # At once, not when the task is seen to be done: what is submitted in between needs a new worker.
                task = asyncio.current_task()
                assert task is not None
                self._running.discard(task)
                return
            try:
                await self._run(batch, before)
            except Exception as error:  # a ticket without an outcome would hang its caller for ever
                log.exception("a batch failed in an unexpected way")
                _fail(batch, error)
            finally:
                for tenant in batch:
                    self._busy[tenant] -= 1
                    if not self._busy[tenant]:
                        del self._busy[tenant]

    async def _run(self, batch: Batch, before: Before | None = None) -> None:
        """Run a batch to its end, whatever happens: every ticket gets an outcome or an error."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._attempt(batch, before if attempt == 1 else None)
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

    async def _attempt(self, batch: Batch, before: Before | None) -> None:
        started = time.perf_counter()
        with tracer().start_as_current_span(BATCH) as span:
            span.set_attribute(TENANTS, len(batch))
            span.set_attribute(OPERATIONS, sum(map(len, batch.values())))
            committed = await self._on_connection(batch, before)
        self._answer(batch, committed, started)

    async def _on_connection(self, batch: Batch, before: Before | None) -> Committed:
        commands = {tenant: [ticket.command for ticket in tickets] for tenant, tickets in batch.items()}
        published: list[tuple[TenantId, Before]] = []

        def publish(tenant: TenantId, decided: Before) -> None:
            published.append((tenant, decided))
            self._ahead[tenant] = decided
            if len(self._waiting.get(tenant, ())) >= AHEAD_OPERATIONS:
                self._start_worker()

        pool = await self._database.writer_pool()
        connection = await pool.acquire()
        try:
            return await self._batches.run(connection, commands, before, publish)
        except BaseException as error:
            lost = is_lost(connection, error)
            # Whatever state the connection is in, it is not worth saving: a new one costs milliseconds.
            with suppress(Exception):
                connection.terminate()
            if lost and not isinstance(error, TimeoutError):
                raise ConnectionError(str(error)) from error
            raise
        finally:
            for tenant, decided in published:
                if self._ahead.get(tenant) is decided:
                    del self._ahead[tenant]
            await pool.release(connection)

    def _answer(self, batch: Batch, committed: Committed, started: float) -> None:
        answered = [
            (ticket, outcome)
            for tenant, outcomes in committed.outcomes.items()
            for ticket, outcome in zip(batch[tenant], outcomes, strict=True)
        ]
        for ticket, outcome in answered:
            if not ticket.outcome.done():
                ticket.outcome.set_result(outcome)
        for tenant in committed.skipped:
            self._requeue(tenant, batch[tenant])
        report = BatchReport(
            time.perf_counter() - started,
            len(answered),
            committed.decided,
            [(ticket.command, outcome) for ticket, outcome in answered],
        )
        try:
            self._report(report)
        except Exception:  # the batch is committed and answered: whoever counts it can't undo that
            log.exception("a committed batch could not be counted")

    def _requeue(self, tenant: TenantId, tickets: list[Ticket]) -> None:
        """Put commands back in front of those that came since; their tenant's next batch waits for its lock."""
        self._waiting[tenant] = tickets + self._waiting.get(tenant, [])
        self._waiting_count += len(tickets)
        self._contended.add(tenant)


def _fail(batch: Batch, error: Exception) -> None:
    for tickets in batch.values():
        for ticket in tickets:
            if not ticket.outcome.done():
                ticket.outcome.set_exception(error)
