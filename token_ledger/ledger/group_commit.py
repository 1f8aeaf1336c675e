"""Gathers commands into batches and runs each batch as one transaction.

While a tenant's batch runs, its next commands wait; together they become the next batch. A batch may take the waiting
commands of many tenants, so a thousand quiet tenants share one commit. A tenant whose lock another process holds is
left out of such a batch and gets one of its own.

A busy tenant's next batch is decided while the one before is being written (see `batch_transaction`), so that neither
this process nor the database waits for the other.

A batch that fails because of its data is run again in parts, in one transaction on the same connection, and only the
command at fault fails. What such a search does not reach, and what comes with the same keys, waits for batches of its
own (see `doubts`). A connection is given up only if it is lost.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from token_ledger.core.batch.commands import Command, ExpireDue, Report
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.batch_transaction import BatchTransactions
from token_ledger.ledger.doubts import DOUBTFUL, Ticket, is_refused
from token_ledger.ledger.errors import AnswerLost, LedgerError, OutcomeUnknown, Unavailable
from token_ledger.ledger.parts import is_about_one, verdict
from token_ledger.ledger.plan import Committed, Predecessor
from token_ledger.ledger.waiting_room import Batch, WaitingRoom
from token_ledger.observability.traces import batch_span
from token_ledger.storage.clocks import ClockDoubted
from token_ledger.storage.database import Database
from token_ledger.storage.failures import Failure, failure_of, in_words
from token_ledger.storage.upkeep.due import add_partitions
from token_ledger.storage.write.statements import Decided

BATCH_OPERATIONS = 256
"""The largest number of operations in a batch (TOKEN_LEDGER_BATCH_OPERATIONS changes it). Larger batches pay for fewer
commits, but every caller waits for the whole batch, and the tenant's ledger is locked as long."""

MANY_OPERATIONS = 64
"""How many commands of a tenant are worth a transaction of their own. So many are decided while the tenant's batch
before is being written, and do not share a batch with those of tenants that have fewer."""

ROUNDS_TO_GATHER = 8
"""For how many rounds of the event loop the first batch of a pause waits at most, as long as each brings more. Requests
that come together begin in a few rounds (see `turns`), and would otherwise make a batch for each."""

log = logging.getLogger(__name__)

_TRY_AGAIN = frozenset({Failure.AWAY, Failure.BUSY, Failure.NO_PARTITION})
_MAYBE_OF_ONE_TENANT = frozenset({Failure.BROKEN, Failure.LOGIN, Failure.SCHEMA})
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a committed batch did, for metrics and tests; `names` are those of its tenants."""

    seconds: float
    operations: int
    decided: Sequence[Decided]
    names: Mapping[TenantId, str]
    outcomes: Sequence[tuple[Command, Outcome]]


class GroupCommit:
    """Runs batches on the writer connections of a process: one at a time for a tenant, and the next decided ahead."""

    def __init__(
        self, database: Database, prices: PriceBook, *, writers: int = 4, batch_operations: int = BATCH_OPERATIONS,
        room: WaitingRoom | None = None, report: Callable[[BatchReport], None] = lambda _: None,
        count_at_once: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._database = database
        self._transactions = BatchTransactions(prices, database.clocks, count_at_once=count_at_once)
        self._writers = writers
        self._batch_operations = batch_operations
        self._report = report
        self._room = room or WaitingRoom()
        self._busy: dict[TenantId, int] = {}
        """How many batches of a tenant are under way."""
        self._being_written: dict[TenantId, Predecessor] = {}
        self._contended: set[TenantId] = set()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def prices(self) -> PriceBook:
        """The global price book that batches are decided by; there may be a newer one."""
        return self._transactions.prices

    async def submit(
        self, tenant: TenantId, command: Command, key_id: str | None = None, request: object = None,
        *, lasts: bool = True,
    ) -> Outcome:  # fmt: skip
        """Return the outcome of a command once it is committed.

        `key_id` is the API key that it came with, if any, `request` what the commands of one list have in common.
        Without `lasts` that is sooner: tell nobody before `sync`. Raises Unavailable, OutcomeUnknown, Unstorable.
        """
        return await self.begin(tenant, command, key_id, request, lasts=lasts)

    async def sync(self, tenant: TenantId) -> None:
        """Return when what has an outcome is on disk, also if it was begun without `lasts`."""
        await self.submit(tenant, ExpireDue())  # every batch changes the tenant's ledger, and so is written

    def begin(
        self, tenant: TenantId, command: Command, key_id: str | None = None, request: object = None,
        *, lasts: bool = True,
    ) -> "asyncio.Future[Outcome]":  # fmt: skip
        """Let a command wait for its batch, and return its outcome to come. Raises NoRoom if it may not wait."""
        ticket = Ticket(command, asyncio.get_running_loop().create_future(), key_id, request, lasts=lasts)
        self._room.add(tenant, ticket)
        self._start_worker_for(tenant)
        return ticket.outcome

    def begin_reports(
        self, tenant: TenantId, reports: Sequence[Report], key_id: str | None = None, request: object = None,
        *, lasts: bool = True,
    ) -> "list[asyncio.Future[Outcome]]":  # fmt: skip
        """Let reports of one list wait for their batch, as `begin` does."""
        future = asyncio.get_running_loop().create_future
        tickets = [Ticket(report, future(), key_id, request, lasts=lasts) for report in reports]
        self._room.add_reports(tenant, key_id, tickets)
        self._start_worker_for(tenant)
        return [ticket.outcome for ticket in tickets]

    async def try_out(self, tenant: TenantId, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Return what commands would come to if they were a batch, and change nothing."""
        pool = await self._database.writer_pool()
        async with pool.acquire() as connection:
            return await self._transactions.try_out(connection, tenant, commands)

    async def drain(self) -> None:
        """Return when every waiting command has its outcome."""
        while self._running:
            await asyncio.gather(*self._running)

    def _start_worker_for(self, tenant: TenantId) -> None:
        """Start a worker for a tenant's waiting commands, unless one that works for it will take them."""
        if tenant not in self._busy:
            self._start_worker(gathers=True)
        elif self._can_decide_ahead(tenant):
            self._start_worker()

    def _start_worker(self, *, gathers: bool = False) -> None:
        if len(self._running) < self._writers:
            task = asyncio.create_task(self._work(gathers))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _can_decide_ahead(self, tenant: TenantId) -> bool:
        """Tell whether enough commands wait for a tenant whose batch is decided and being written."""
        decided = self._being_written.get(tenant)
        # One that could not be booked as it was decided is being decided again.
        return decided is not None and not decided.committed.done() and self._has_many(tenant)

    def _has_many(self, tenant: TenantId) -> bool:
        """Tell whether so many commands wait for a tenant that they are worth a transaction of their own."""
        return self._room.count_of(tenant) >= MANY_OPERATIONS

    def _take(self) -> tuple[Batch, Predecessor | None]:
        """Take the commands of the next batch, from the tenants that have waited longest, and mark them busy.

        A tenant that shares its ledger with another process is taken alone. So is a busy one, if enough waits, to be
        decided ahead of its batch that is being written. Tenants with few commands do not wait for those with many.
        """
        together: list[TenantId] = []
        have_many = False
        predecessor = None
        for tenant in self._room.tenants():
            busy = tenant in self._busy
            if busy and not self._can_decide_ahead(tenant):
                continue
            if busy or tenant in self._contended or self._room.is_doubted_next(tenant):
                if together:
                    continue
                if not busy and self._room.is_doubted_next(tenant):
                    return self._taken(self._room.take_doubted(tenant)), None
                predecessor = self._being_written.pop(tenant) if busy else None
                together = [tenant]
                break
            if not together:
                have_many = self._has_many(tenant)
            elif self._has_many(tenant) != have_many:
                continue
            together.append(tenant)
        batch = self._room.take(together, self._batch_operations) if together else {}
        return self._taken(batch), predecessor

    def _taken(self, batch: Batch) -> Batch:
        self._contended.difference_update(batch)
        for tenant in batch:
            self._busy[tenant] = self._busy.get(tenant, 0) + 1
        return batch

    async def _gather(self) -> None:
        waited = 0
        for _ in range(ROUNDS_TO_GATHER):
            await asyncio.sleep(0)
            before, waited = waited, self._room.count
            if waited == before:
                return

    async def _work(self, gathers: bool) -> None:
        if gathers:
            await self._gather()
        while True:
            batch, predecessor = self._take()
            if not batch:
                # Not left to the done callback: a command submitted before that runs would start no worker.
                task = asyncio.current_task()
                assert task is not None
                self._running.discard(task)
                return
            try:
                await self._run(batch, predecessor)
            except Exception as error:  # otherwise the callers would wait forever
                log.exception("a batch failed unexpectedly")
                _fail(batch, error)
            finally:
                for tenant in batch:
                    under_way = self._busy.pop(tenant) - 1
                    if under_way:
                        self._busy[tenant] = under_way

    async def _run(self, batch: Batch, predecessor: Predecessor | None = None, *, in_parts: bool = False) -> None:
        """Run a batch until every ticket has an outcome or an error."""
        lost: AnswerLost | None = None
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._attempt(batch, predecessor if attempt == 1 else None, in_parts)
                return
            except ClockDoubted as error:
                _fail(batch, lost or Unavailable(str(error)))
                return
            except LedgerError as error:
                if isinstance(error, AnswerLost) and not isinstance(error.__cause__, TimeoutError):
                    lost = error
                    continue  # its keys tell what became of it
                if isinstance(error.__cause__, TimeoutError):
                    self._fail_waiting(Unavailable("the database does not answer"))
                _fail(batch, lost or error)
                return
            except Exception as error:
                if is_about_one(error):
                    await self._run_in_parts(batch, error, in_parts)
                    return
                failure = failure_of(error)
                unavailable = Unavailable(f"{failure}: {in_words(error)}")
                # Try once more at once, as the connection may have been stale; but not if the server did not answer.
                if failure is Failure.AWAY and (attempt > 1 or isinstance(error, TimeoutError)):
                    self._fail_waiting(unavailable)
                    break
                if failure in _MAYBE_OF_ONE_TENANT:
                    await self._run_alone(batch, lost or unavailable)
                    return
                if failure not in _TRY_AGAIN or (failure is Failure.NO_PARTITION and not await self._add_partition()):
                    break
        _fail(batch, lost or unavailable)

    async def _run_in_parts(self, batch: Batch, error: Exception, in_parts: bool) -> None:
        """Run a batch in parts, because of an error that is about one of its commands; fail it if that was tried."""
        (tenant, (first, *others)), *rest = batch.items()
        if in_parts:
            await self._run_alone(batch, verdict(error))
        elif others or rest or isinstance(first.command, Report):
            await self._run(_side_by_side(batch), in_parts=True)
        else:
            self._room.doubt(tenant, [first], ())
            _fail(batch, verdict(error))

    async def _add_partition(self) -> bool:
        """Make the partition of this month, unless somebody has by now; return whether that was possible."""
        log.warning("events have no partition this month, making it: a worker should have made it before")
        try:
            async with self._database.changing() as connection:
                await add_partitions(connection, 0)
            return True
        except Exception as error:  # whatever it is, the batch is refused, and the next one tries again
            log.warning("the partition of this month could not be made", extra={"reason": in_words(error)})
            return False

    async def _run_alone(self, batch: Batch, error: Exception) -> None:
        """Run the commands of each tenant as a batch of their own: the error may be about one tenant's rows only."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        for tenant, tickets in batch.items():
            await self._run({tenant: tickets})

    def _fail_waiting(self, error: LedgerError) -> None:
        """Fail the waiting commands too: the next batch would only wait for the same server."""
        self._contended.clear()
        _fail(self._room.take_all(), error)

    async def _attempt(self, batch: Batch, predecessor: Predecessor | None, in_parts: bool) -> None:
        started = time.perf_counter()
        with batch_span(batch):
            pool = await self._database.writer_pool()
            connection = await pool.acquire()
            try:
                committed = await self._on_connection(connection, batch, predecessor, in_parts)
                self._answer(batch, committed, started)
            finally:
                await pool.release(connection)  # which takes rounds of the event loop, and nobody waits for it

    async def _on_connection(
        self, connection: Any, batch: Batch, predecessor: Predecessor | None, in_parts: bool
    ) -> Committed:
        commands = {tenant: [ticket.command for ticket in tickets] for tenant, tickets in batch.items()}
        announced: list[tuple[TenantId, Predecessor]] = []

        def on_decided(tenant: TenantId, decided: Predecessor) -> None:
            announced.append((tenant, decided))
            self._being_written[tenant] = decided
            if self._can_decide_ahead(tenant):
                self._start_worker()

        try:
            if in_parts:
                return await self._transactions.run_in_parts(connection, commands)
            lasts = any(ticket.lasts for tickets in batch.values() for ticket in tickets)
            return await self._transactions.run(connection, commands, predecessor, on_decided, lasts=lasts)
        except BaseException as error:
            if failure_of(error) is Failure.AWAY or not await _rolled_back(connection, error):
                # It may be in any state, and a new one costs only milliseconds.
                with suppress(Exception):
                    connection.terminate()
            raise
        finally:
            for tenant, decided in announced:
                if self._being_written.get(tenant) is decided:
                    del self._being_written[tenant]

    def _answer(self, batch: Batch, committed: Committed, started: float) -> None:
        answered = []
        for tenant, outcomes in committed.outcomes.items():
            decided = list(zip(batch[tenant], outcomes, strict=True))
            self._learn(tenant, decided)
            answered += [(ticket, outcome) for ticket, outcome in decided if outcome is not None]
        for ticket, outcome in answered:
            if ticket.outcome.done():
                continue
            if isinstance(outcome, Exception):
                ticket.outcome.set_exception(outcome)
            else:
                ticket.outcome.set_result(outcome)
        for tenant in committed.skipped:
            # Their tenant's next batch waits for its lock alone.
            self._room.put_back(tenant, batch[tenant])
            self._contended.add(tenant)
        stored = [(ticket.command, outcome) for ticket, outcome in answered if not isinstance(outcome, Exception)]
        seconds = time.perf_counter() - started
        report = BatchReport(seconds, len(stored), committed.decided, committed.names, stored)
        try:
            self._report(report)
        except Exception:  # the batch is committed and answered; failing to count it must not change that
            log.exception("a committed batch could not be counted")

    def _learn(self, tenant: TenantId, decided: Sequence[tuple[Ticket, Outcome | Exception | None]]) -> None:
        """Doubt the keys of refused commands and wait with what was left, or doubt less where all was stored."""
        refused, left = [], []
        if any(issubclass(kind, DOUBTFUL) for kind in {type(outcome) for _, outcome in decided}):
            refused = [ticket for ticket, outcome in decided if is_refused(outcome)]
            left = [ticket for ticket, outcome in decided if outcome is None]
        if refused or left:
            self._room.doubt(tenant, refused, left)
        elif decided[0][0].doubted:
            self._room.trust(tenant, decided[0][0].key_id, self._batch_operations)


def _side_by_side(batch: Batch) -> Batch:
    """Return a batch with the commands of each key together, so that those of a good one are found good as a whole."""
    return {tenant: sorted(tickets, key=lambda ticket: ticket.key_id or "") for tenant, tickets in batch.items()}


async def _rolled_back(connection: Any, error: BaseException) -> bool:
    """Roll a failed batch back, so that its connection can be used again; return whether that was possible."""
    if not isinstance(error, Exception) or isinstance(error, OutcomeUnknown):
        return False
    try:
        await connection.execute("rollback")
    except Exception:
        return False
    return True


def _fail(batch: Batch, error: Exception) -> None:
    for tickets in batch.values():
        for ticket in tickets:
            if not ticket.outcome.done():
                ticket.outcome.set_exception(error)
