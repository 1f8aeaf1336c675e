"""Leased calls: admitted in this process from a lease, booked together, one by one only where no lease is given."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Self, Unpack

from ..answers import Answer, error_from
from ..directives import Directive
from ..errors import (
    ApiError,
    BudgetExceeded,
    InvalidAnswer,
    LeaseTooSmall,
    LedgerError,
    ReservationNotOpen,
    Unavailable,
    Unreachable,
)
from ..fields import Fields
from ..leases import Lease, LeaseBook, Part, Size, Take, lease_request, operations_request
from ..reservations import Actual, Call, Reservation, extend_request, release_request, reserve_request, settle_body
from ..unsettled import Ending, choose_ending, outcome_of
from ..usage import Usage, response_id_of, usage_from
from ..waiting import turns_async, uncanceled_async
from .hold import AsyncHold, reserve
from .sender import AsyncSender

SINGLE_SECONDS = 5.0
"""For how long calls are reserved one by one, after a lease was denied, before another is asked for."""


class AsyncLeasedCall:
    """Permission for one LLM call, from a lease; as a context manager it never stays open, as a hold's does not."""

    def __init__(self, leases: AsyncLeases, book: LeaseBook, size: Size, admitted: Take) -> None:
        self._leases = leases
        self._book = book
        self._size = size
        self._admitted = admitted
        self._ended = False
        self._not_sent = False

    @property
    def reservation_id(self) -> str:
        """The lease, which is a reservation for many calls."""
        return self._book.lease.lease_id

    @property
    def provider(self) -> str:
        """The provider to call."""
        return self._book.lease.provider

    @property
    def model(self) -> str:
        """The model to call; another one than asked for only if a downgrade was switched on."""
        return self._book.lease.model

    @property
    def directive(self) -> Directive:
        return self._book.lease.directive

    @property
    def max_output_tokens(self) -> int:
        """How many output tokens to ask the provider for at most."""
        return self._size.max_output_tokens

    def not_sent(self) -> None:
        """Declare that the provider was not called, so that leaving the block gives back what was admitted."""
        self._not_sent = True

    async def settle(self, response: object, **actual: Unpack[Actual]) -> None:
        """Book what the call used with the next flush, which may be now; raises UsageMissing, ReservationNotOpen."""
        usage = usage_from(response)
        identifier = response_id_of(response)
        if identifier is not None:
            actual.setdefault("response_id", identifier)
        actual.setdefault("occurred_at", datetime.now(UTC))
        self._end()
        self._book.settle(self._admitted, usage, settle_body(usage, **actual))
        await self._leases.flush_if_due()

    async def settle_estimate(self, usage: Usage | None = None, **actual: Unpack[Actual]) -> None:
        """Book an estimate, marked as one; without a usage, what was admitted."""
        size = self._size
        actual["estimated"] = True
        most = Usage(size.input_tokens, size.max_output_tokens, cache_read_tokens=size.cached_input_tokens)
        await self.settle(most if usage is None else usage, **actual)

    async def release(self, reason: str | None = None) -> None:
        """End the call with nothing; only when the provider surely did not run."""
        self._end()
        self._book.give_back(self._admitted)
        await self._leases.flush_if_due()

    def _end(self) -> None:
        if self._ended:
            raise LedgerError(f"a call on lease {self.reservation_id} was ended twice")
        self._ended = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ending = choose_ending(ended=self._ended, tried=False, not_sent=self._not_sent, error=error)

        async def finish() -> None:
            if ending is Ending.RELEASE:
                await self.release()
            elif ending is Ending.ESTIMATE:
                await self.settle_estimate(outcome=outcome_of(error))

        try:
            await uncanceled_async(finish)
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"Token Ledger could not book a call on lease {self.reservation_id}: {failure}")


class AsyncLeases:
    """One lease after the other, for calls of one agent type and model; leaving the block books and gives back all.

    A call is admitted in this process as long as the lease covers it, a call of `longest_call_seconds` would end before
    the lease does, and the service was heard of in the last `flush_seconds`: so a stop, as from `cancel`, is obeyed
    after that time at the latest. Where no lease is given, every call asks the service.
    """

    def __init__(
        self,
        sender: AsyncSender,
        call: Call,
        *,
        calls: int,
        longest_call_seconds: float,
        flush_seconds: float,
        run_id: str | None = None,
        user: str | None = None,
        cost_center: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sender = sender
        self._call = call
        self._calls = calls
        self._longest_call_seconds = longest_call_seconds
        self._flush_seconds = flush_seconds
        self._run_id, self._user, self._cost_center = run_id, user, cost_center
        self._clock = clock
        self._turns = turns_async()
        self._current: LeaseBook | None = None
        self._retired: list[LeaseBook] = []
        self._lock = (
            threading.Lock()
        )  # of which leases there are, for threads that share this; never held while waiting
        self._heard = clock()
        self._single_until = clock()
        self._shape = Size(call["input_tokens"], call["max_output_tokens"], call.get("cached_input_tokens", 0))

    @property
    def left(self) -> Take | None:
        """What the lease that calls are now admitted from has left; None while there is none."""
        return None if self._current is None else self._current.left

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        return sum(book.waiting for book in self._books())

    async def reserve(
        self,
        *,
        input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        cached_input_tokens: int | None = None,
    ) -> AsyncLeasedCall | AsyncHold:
        """Ask for permission to make one call, of the lease's size unless told otherwise.

        Raises BudgetExceeded, RunNotOpen and what else a reserve without a lease raises.
        """
        size = Size(
            self._shape.input_tokens if input_tokens is None else input_tokens,
            self._shape.max_output_tokens if max_output_tokens is None else max_output_tokens,
            self._shape.cached_input_tokens if cached_input_tokens is None else cached_input_tokens,
        )
        admitted = self._admit(size)
        if admitted is None:
            async with self._turns:
                # Whoever had the turn before may have got what this one came for.
                admitted = self._admit(size) or await self._renewed(size)
        return await self._single(size) if admitted is None else admitted

    def _admit(self, size: Size) -> AsyncLeasedCall | None:
        now, book = self._clock(), self._current
        if book is None or now - self._heard > self._flush_seconds:
            return None
        admitted = book.admit(size, now + self._longest_call_seconds)
        return None if admitted is None else AsyncLeasedCall(self, book, size, admitted)

    async def _renewed(self, size: Size) -> AsyncLeasedCall | None:
        """Hear from the service, then admit from what there is, or from another lease."""
        if self._current is not None:
            await self._hear()
            admitted = self._admit(size)
            if admitted is not None:
                return admitted
            if not self._covers_nothing(self._current):
                return None  # this call is too large for the lease; others are not
        if self._clock() < self._single_until:
            return None
        await self._open()
        return self._admit(size)

    def _covers_nothing(self, book: LeaseBook) -> bool:
        """Tell whether a lease has no room, or no time, for a call of the size that it was asked for."""
        admitted = book.admit(self._shape, self._clock() + self._longest_call_seconds)
        if admitted is not None:
            book.give_back(admitted)
        return admitted is None

    async def _hear(self) -> None:
        """Book what waits, or ask for more time where nothing waits: either answer tells whether to stop."""
        try:
            if not await self._flush() and self._current is not None:
                await self._extend(self._current)
        except (Unreachable, Unavailable):
            # No news: what was granted stays granted until its time is up.
            self._heard = self._clock()

    async def _extend(self, book: LeaseBook) -> None:
        request = extend_request(book.lease.lease_id, self._call.get("ttl_seconds", 300))
        try:
            book.extended(Reservation.parse(await self._sender.send(request)))
        except ReservationNotOpen:
            book.stopped = True
        self._heard = self._clock()

    async def _open(self) -> None:
        """Ask for another lease; the one before is given back once all of its calls are booked."""
        self._retire()
        request = lease_request(
            self._call, calls=self._calls, run_id=self._run_id, user=self._user, cost_center=self._cost_center
        )
        sent = self._clock()
        try:
            lease = Lease.parse(await self._sender.send(request))
        except (LeaseTooSmall, BudgetExceeded):
            self._single_until = self._clock() + SINGLE_SECONDS
            return
        self._heard = self._clock()
        self._current = LeaseBook(lease, self._shape, self._call.get("cache_write"), sent=sent)

    async def _single(self, size: Size) -> AsyncHold:
        call = self._call.copy()
        call["input_tokens"], call["max_output_tokens"] = size.input_tokens, size.max_output_tokens
        call["cached_input_tokens"] = size.cached_input_tokens
        call.pop("idempotency_key", None)
        request = reserve_request(call, run_id=self._run_id, user=self._user, cost_center=self._cost_center)
        return await reserve(self._sender, request, call)

    async def flush_if_due(self) -> None:
        """Book what waits, if that was not done for `flush_seconds`; a service that can't be reached is tried again."""
        many = self.waiting >= 128
        if many or self._clock() - self._heard >= self._flush_seconds:
            try:
                await self._flush()
            except (Unreachable, Unavailable):
                self._heard = self._clock()

    async def flush(self) -> None:
        """Book what waits; raises Unreachable or Unavailable if it could not, an ApiError for what is refused."""
        while await self._flush():
            pass

    async def _flush(self) -> int:
        """Send what waits, at most one request per lease; return how many calls were sent."""
        sent = 0
        for book in self._books():
            parts = book.take_parts()
            if parts:
                sent += len(parts)
                await self._send(book, parts)
        await self._give_back_retired()
        return sent

    async def _send(self, book: LeaseBook, parts: list[Part]) -> None:
        try:
            answer = await self._sender.send(operations_request(parts))
            results = [(item.integer("status"), item.child("body")) for item in answer.children("results")]
            if len(results) != len(parts):
                raise InvalidAnswer(f"answer.results has {len(results)} items for {len(parts)} operations")
        except BaseException:
            book.put_back(parts)
            raise
        self._heard = self._clock()
        failures = [
            failure
            for part, (status, body) in zip(parts, results, strict=True)
            if (failure := self._take_note(book, part, status, body)) is not None
        ]
        if failures:
            raise failures[0]

    def _take_note(self, book: LeaseBook, part: Part, status: int, body: Fields) -> ApiError | None:
        if status == 200:
            book.booked(part, body.optional_money("cost") or Decimal(0))
            book.stopped = book.stopped or body.has("stop")
            return None
        failure = error_from(Answer(status, json.dumps(dict(body.raw)).encode()))
        if isinstance(failure, Unavailable):
            book.put_back([part])
        else:
            book.dropped()
        return failure

    def _books(self) -> list[LeaseBook]:
        with self._lock:
            return [*self._retired, *([] if self._current is None else [self._current])]

    def _retire(self) -> None:
        with self._lock:
            if self._current is not None:
                self._retired.append(self._current)
                self._current = None

    def _idle(self) -> list[LeaseBook]:
        """Return the retired leases that nothing is made on any more, each once."""
        with self._lock:
            idle = [book for book in self._retired if book.is_idle]
            self._retired = [book for book in self._retired if book not in idle]
            return idle

    async def _give_back_retired(self) -> None:
        for book in self._idle():
            try:
                await self._sender.send(release_request(book.lease.lease_id, "not needed"))
            except ReservationNotOpen:
                continue  # its time was up, and what was left has been given back

    async def close(self) -> None:
        """Book what waits and give back what is left; calls under way keep their lease until they have ended."""
        self._retire()
        self._flush_seconds = 0.0  # what ends later is booked at once
        await self.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await uncanceled_async(self.close)
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"Token Ledger could not book {self.waiting} leased calls: {failure}")
