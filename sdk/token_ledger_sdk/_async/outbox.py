"""Sends what a spool keeps, many operations in a request; what is sent with what, and who is told, is in `loads`."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from ..errors import InvalidAnswer, LedgerError, Unavailable, Unreachable
from ..outage import is_retryable
from ..spool.deliveries import Owner, asked_again, given_back
from ..spool.lines import Record
from ..spool.loads import Load, Loads
from ..spool.spool import Spool, Ticket
from ..unsettled import Left, retry_pause_seconds
from ..waiting_async import lock_async, run_later_async, together_async
from ..wire.answers import Answer, NoAnswer
from ..wire.fields import Fields
from ..wire.operations import MAX_OPERATIONS, operations_request, read_results, tenant_request
from ..wire.requests import ApiRequest

_log = logging.getLogger("token_ledger_sdk")
ADOPT_SECONDS = 60.0
"""How often it is looked for what dead processes have left."""
FLUSH_AT = 2_048
"""So many records are not left waiting for half of `flush_seconds`."""
LISTS = 2
"""So many lists are on their way at a time, so that the service reads one while it books the other."""


class AsyncOutbox:
    """Sends the records of a spool until the service has them, the oldest first; `LISTS` at a time, if there are many.

    What was used is spent, so nothing is given up. On trio, where nothing runs in the background, records are sent by
    whoever adds one `flush_seconds` after the last request, and by `flush`.
    """

    def __init__(
        self,
        send: Callable[[ApiRequest, bool], Awaitable[Fields]],
        spool: Spool,
        *,
        flush_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._spool = spool
        self._flush_seconds = flush_seconds
        self._clock = clock
        self._begin()

    @property
    def flush_seconds(self) -> float:
        """How soon what calls used is to be booked."""
        return self._flush_seconds

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # guards what follows between threads; never held while waiting
        self._sending = lock_async()
        self.loads = Loads(self._spool)
        self._in_hand: set[Ticket] = set()
        self._call_off: Callable[[], None] | None = None
        self._is_hastened = False
        self._tried = self._clock()
        self._adopted = -ADOPT_SECONDS
        self._rounds = 0
        self._is_closed = False

    @property
    def spool(self) -> Spool:
        """Where the records are."""
        return self._spool

    @property
    def is_at_once(self) -> bool:
        """Whether what a call used is to be booked before the call returns."""
        return self._flush_seconds == 0

    @property
    def is_away(self) -> bool:
        """Whether the service did not answer when it was last tried."""
        return self._rounds > 0

    def keep(self, record: Record, owner: Owner | None) -> Ticket | None:
        """Keep a record that is about to be sent otherwise; say then that it was `answered`, or `send_later`."""
        ticket = self._append(record, owner)
        if ticket is not None:
            self._in_hand.add(ticket)
        return ticket

    def answered(self, ticket: Ticket | None) -> None:
        """Forget a record: the service has it, or has refused it to its owner."""
        if ticket is not None:
            self._in_hand.discard(ticket)
            self.loads.disown(ticket)
            self._spool.done([ticket])

    def send_later(self, ticket: Ticket | None) -> None:
        """Send a record in the background that could not be sent otherwise."""
        if ticket in self._in_hand:
            self._in_hand.discard(ticket)
            self._spool.make_ready([ticket])
            self.failed()

    def hold_back(self, ticket: Ticket | None) -> None:
        """Leave a record again to whoever sends it otherwise, now: it would go along with that, twice."""
        if ticket is not None and self._spool.withdraw(ticket):
            self._in_hand.add(ticket)

    def put(self, record: Record, owner: Owner | None = None) -> bool:
        """Keep a record that is to be sent soon, with others; see `added`. Returns False if there is no room for it."""
        ticket = self._append(record, owner)
        if ticket is None:
            return False
        self._spool.make_ready([ticket])
        return True

    def _append(self, record: Record, owner: Owner | None) -> Ticket | None:
        self._check_process()
        ticket = self._spool.append(record, ready=False)
        if ticket is not None and owner is not None:
            self.loads.own(ticket, owner)
        return ticket

    def give_back(self, request: ApiRequest, outcome: Answer | NoAnswer | None = None) -> None:
        """Release, in the background, what a reserve was granted whose caller has gone, by what came back, if known."""
        if outcome is None or is_retryable(outcome):
            record = asked_again(request, datetime.now(UTC))
            if record is not None and self.put(record):
                self.failed()
        elif isinstance(outcome, Answer) and outcome.is_good:
            with suppress(InvalidAnswer):
                record = given_back(request, outcome.read())
                if record is not None and self.put(record):
                    self._schedule(0)

    async def added(self, flush_seconds: float | None = None) -> None:
        """Let what was put be sent within that time, in the background, or now if that is much.

        Where nothing runs in the background, whoever comes when it is due sends it.
        """
        within = self._flush_seconds if flush_seconds is None else flush_seconds
        is_much = self._spool.ready >= FLUSH_AT and not self.is_away
        self._schedule(0 if is_much else within, earlier=is_much)
        is_due = self._call_off is None and (is_much or self._clock() - self._tried >= within)
        if self._is_closed or within == 0 or (is_due and not self._sending.locked()):
            await self.flush_if_there()

    async def flush(self, *, again: bool = True) -> None:
        """Send all that is ready, once unless `again`.

        Raises Unreachable, Unavailable, and what else keeps the service from taking it.
        """
        self._check_process()
        async with self._sending:
            await self._adopt(again=again)
            failures: list[LedgerError] = []
            await self._drain(failures, 1, again=again)  # which finds out whether the service is there
            drain = partial(self._drain, failures, self._spool.ready // MAX_OPERATIONS + 2, again=again)
            if self._spool.ready > MAX_OPERATIONS and not failures:
                await together_async([drain] * LISTS)
            await drain()  # also what had to wait for another list, or is sent otherwise than before
            if failures:
                raise failures[0]

    async def _drain(self, failures: list[LedgerError], most: int, *, again: bool) -> None:
        """Send one list after the other, until nothing is left or something fails."""
        for _ in range(most):
            load = None if failures else self.loads.take(MAX_OPERATIONS)
            if load is None:
                return
            try:
                unavailable = await self._deliver(load, again=again)
            except LedgerError as error:
                failures.append(error)
            else:
                failures += [] if unavailable is None else [unavailable]

    async def flush_if_there(self) -> None:
        """Send all that is ready, if the service answers."""
        try:
            await self.flush(again=False)
        except (Unreachable, Unavailable):
            self._schedule()
        except LedgerError as error:
            _log.warning("Token Ledger could not take %d bookings, which wait: %s", self._spool.waiting, error)
            self._schedule()

    async def close(self) -> Left:
        """Send everything once more, and return what is left, for the next process, and what was refused."""
        self._check_process()
        with self._lock:
            self._is_closed = True
            call_off, self._call_off = self._call_off, None
        if call_off is not None:
            call_off()
        await self.flush_if_there()
        left = Left(self.loads.waited_for, self.loads.take_refused())
        self._spool.close()
        return left

    def board(self, most: int) -> Load | None:
        """Take the oldest records along with another request; tell `loads` of the answers, or say `stranded`.

        So what the last call did not use of its hold is free before the next one asks for room. Returns None if there
        are none, or while the service does not answer.
        """
        if self.is_away or not self._spool.ready:
            return None
        self._check_process()
        return self.loads.take(most)

    def stranded(self, load: Load) -> None:
        """Let records that got no answer be sent again."""
        self.loads.put_back(load)
        self.failed()

    async def _deliver(self, load: Load, *, again: bool) -> Unavailable | None:
        """Send some records, and act on the answer; returns what kept some of them from being served."""
        self._tried = self._clock()
        try:
            answer = await self._send(operations_request(load.operations), again)
            results = read_results(answer, len(load.taken))
        except BaseException:
            self._rounds += 1
            self.loads.put_back(load)
            raise
        self._rounds = 0
        self._note_tenant(answer)
        return self.loads.arrived(load, results)

    def failed(self) -> None:
        """Note that the service did not answer another request either."""
        self._tried = self._clock()
        self._rounds += 1
        self._schedule()

    def was_heard(self) -> None:
        """Note that the service has answered another request."""
        if self._rounds:
            self._tried, self._rounds = self._clock(), 0

    @property
    def is_scheduled(self) -> bool:
        """Whether the service is tried again in the background."""
        return self._call_off is not None

    def _schedule(self, within: float | None = None, *, earlier: bool = False) -> None:
        with self._lock:
            if self._call_off is not None and earlier and not self._is_hastened:
                self._call_off()
                self._call_off = None
            if self._call_off is None and not self._is_closed and (self._spool.ready or self._rounds):
                pause = (self._flush_seconds if within is None else within) / 2
                if self._rounds:
                    pause = max(pause, retry_pause_seconds(self._rounds))
                self._is_hastened = earlier
                self._call_off = run_later_async(pause, self._send_now)

    async def _send_now(self) -> None:
        await self.flush_if_there()
        with self._lock:
            self._call_off, self._is_hastened = None, False
        self._schedule()

    def learn_tenant(self, answer: Answer) -> None:
        """Note by the answer to a list of whom the records are, so that another key of the tenant may send them."""
        if not self._spool.is_owner_known:
            with suppress(LedgerError):
                self._note_tenant(answer.read())

    def _note_tenant(self, answer: Fields) -> None:
        if not (answer.has("tenant") and answer.has("role")):
            return
        # The service keeps idempotency keys of each role apart: sent by another one, a record might be booked again.
        if self._spool.belongs_to(f"{answer.text('tenant')}-{answer.text('role')}"):
            self._adopted = -ADOPT_SECONDS  # what processes with other keys of the tenant have left can be sent now

    async def _adopt(self, *, again: bool) -> None:
        """Take over what dead processes have left, now and then."""
        if self._clock() - self._adopted >= ADOPT_SECONDS:
            if self._spool.may_be_heir:
                self._note_tenant(await self._send(tenant_request(), again))
            self._adopted = self._clock()
            adopted = self._spool.adopt()
            if adopted:
                _log.info("Token Ledger sends %d bookings that another process has left", adopted)

    def _check_process(self) -> None:
        if self._process != os.getpid():  # what a fork copied is sent by the parent process
            self._begin()
