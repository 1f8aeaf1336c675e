"""Leased calls: admitted in this process from a lease, booked together, one by one only where no lease is given."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, Unpack

from ..amounts import Amounts
from ..directives import Directive, Refusal
from ..errors import BudgetExceeded, LeaseTooSmall, LedgerError, Unavailable, Unreachable
from ..leases import SKEW_SECONDS, Lease, LeaseBook, Size, Take, lease_request
from ..reservations import Actual, Call, Reservation, reserve_request, settle_body
from ..unsettled import Ending, choose_ending, outcome_of
from ..usage import Usage, response_id_of, usage_from
from ..waiting import turns_async, uncanceled_async
from ..wire import ApiRequest
from .flusher import AsyncFlusher
from .hold import AsyncHold, reserve
from .sender import AsyncSender

SINGLE_SECONDS = 5.0
"""For how long calls are reserved one by one, after a lease was denied, before another is asked for."""


class AsyncLeasedCall:
    """Permission for one LLM call, from a lease; as a context manager it never stays open, as a hold's does not."""

    def __init__(self, flusher: AsyncFlusher, book: LeaseBook, size: Size, admitted: Take) -> None:
        self._flusher = flusher
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
    def held(self) -> Amounts:
        """What of the lease was set aside for this call."""
        return Amounts(tokens=self._admitted.tokens, cost=self._admitted.cost, calls=self._admitted.calls)

    @property
    def warnings(self) -> tuple[Refusal, ...]:
        """Soft and shadow accounts that would have refused the lease."""
        return self._book.lease.warnings

    @property
    def max_output_tokens(self) -> int:
        """How many output tokens to ask the provider for at most."""
        return self._size.max_output_tokens

    def not_sent(self) -> None:
        """Declare that the provider was not called, so that leaving the block gives back what was admitted."""
        self._not_sent = True

    async def settle(self, response: object, **actual: Unpack[Actual]) -> None:
        """Book what the call used with the next flush; raises UsageMissing.

        Once the leases' block was left it is booked at once, with the errors of `flush`.
        """
        usage = usage_from(response)
        identifier = response_id_of(response)
        if identifier is not None:
            actual.setdefault("response_id", identifier)
        actual.setdefault("occurred_at", datetime.now(UTC))
        self._check_open()
        self._book.settle(self._admitted, usage, settle_body(usage, **actual))
        self._ended = True
        await self._flusher.ended()

    async def settle_estimate(self, usage: Usage | None = None, **actual: Unpack[Actual]) -> None:
        """Book an estimate, marked as one; without a usage, what was admitted."""
        size = self._size
        actual["estimated"] = True
        most = Usage(size.input_tokens, size.max_output_tokens, cache_read_tokens=size.cached_input_tokens)
        await self.settle(most if usage is None else usage, **actual)

    async def release(self, reason: str | None = None) -> None:
        """End the call with nothing; only when the provider surely did not run."""
        self._check_open()
        self._book.give_back(self._admitted)
        self._ended = True
        await self._flusher.ended()

    async def extend(self, ttl_seconds: int) -> Reservation:
        """Let the lease of this call, and so of others, expire so many seconds from now, if that is later."""
        return await self._flusher.extend(self._book, ttl_seconds)

    def _check_open(self) -> None:
        if self._ended:
            raise LedgerError(f"a call on lease {self.reservation_id} was ended twice")

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
    after that time at the latest, if the service can be reached. Where no lease is given, every call asks the service.
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
        self._ttl_seconds = call.get("ttl_seconds", 300)
        if longest_call_seconds + SKEW_SECONDS >= self._ttl_seconds:
            raise ValueError(
                f"a lease of ttl_seconds={self._ttl_seconds} bears no call of longest_call_seconds="
                f"{longest_call_seconds}: let it live longer than one call"
            )
        if flush_seconds <= 0:
            raise ValueError(f"flush_seconds is {flush_seconds}: give more than 0")
        self._sender = sender
        self._call = call
        self._calls = calls
        self._longest_call_seconds = longest_call_seconds
        self._flush_seconds = flush_seconds
        self._run_id, self._user, self._cost_center = run_id, user, cost_center
        self._clock = clock
        self._shape = Size(call["input_tokens"], call["max_output_tokens"], call.get("cached_input_tokens", 0))
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._turns = turns_async()
        self._current: LeaseBook | None = None
        self._asked: tuple[ApiRequest, float] | None = None
        self._single_until = self._clock()
        self._flusher = AsyncFlusher(
            self._sender, flush_seconds=self._flush_seconds, ttl_seconds=self._ttl_seconds, clock=self._clock
        )

    @property
    def left(self) -> Take | None:
        """What the lease that calls are now admitted from has left; None while there is none."""
        book = self._current
        return None if book is None else book.left

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        return self._flusher.waiting

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
        if self._is_closed:
            raise LedgerError("these leases were given up when their block was left: make others")
        if self._process != os.getpid():
            self._begin()  # what a fork copied is the other process's: both would admit from the same lease
        size = self._size(input_tokens, max_output_tokens, cached_input_tokens)
        admitted = self._admit(size)
        if admitted is None:
            async with self._turns:
                # Whoever had the turn before may have got what this one came for.
                admitted = self._admit(size) or await self._renewed(size)
        return await self._single(size) if admitted is None else admitted

    def _size(self, input_tokens: int | None, max_output_tokens: int | None, cached_input_tokens: int | None) -> Size:
        shape = self._shape
        whole = shape.input_tokens if input_tokens is None else input_tokens
        return Size(
            whole,
            shape.max_output_tokens if max_output_tokens is None else max_output_tokens,
            min(shape.cached_input_tokens, max(whole, 0)) if cached_input_tokens is None else cached_input_tokens,
        )

    def _admit(self, size: Size) -> AsyncLeasedCall | None:
        book = self._current
        if book is None or self._flusher.must_hear(book):
            return None
        admitted = book.admit(size, self._latest_end())
        return None if admitted is None else AsyncLeasedCall(self._flusher, book, size, admitted)

    def _latest_end(self) -> float:
        return self._clock() + self._longest_call_seconds

    async def _renewed(self, size: Size) -> AsyncLeasedCall | None:
        """Hear from the service, then admit from what there is, or from another lease."""
        book = self._current
        if book is not None:
            await self._refresh(book)
            admitted = self._admit(size)
            if admitted is not None:
                return admitted
            if book.lasts(self._latest_end()) and book.bears(self._shape):
                return None  # this call is too large for what is left; others are not
        if self._clock() < self._single_until:
            return None
        await self._open()
        return self._admit(size)

    async def _refresh(self, book: LeaseBook) -> None:
        """Get what can be had of a lease that admits no more: news, time, or room that calls did not take."""
        if self._flusher.must_hear(book):
            await self._flusher.hear(book)
        if not (book.stopped or book.lasts(self._latest_end())):
            await self._flusher.prolong(book)
        elif not (book.stopped or book.bears(self._shape)):
            await self._flusher.flush_if_there()

    async def _open(self) -> None:
        """Ask for another lease; the one before is given back once all of its calls are booked."""
        if self._current is not None:
            self._current.retired, self._current = True, None
        if self._asked is None:
            request = lease_request(
                self._call, calls=self._calls, run_id=self._run_id, user=self._user, cost_center=self._cost_center
            )
            self._asked = request, self._clock()
        request, sent = self._asked
        try:
            answer = await self._sender.send(request)
        except (LeaseTooSmall, BudgetExceeded):
            self._asked = None
            self._single_until = self._clock() + SINGLE_SECONDS
            return
        except LedgerError as error:
            # Without an answer there may be a lease: only the same request again finds it.
            if not isinstance(error, (Unreachable, Unavailable)):
                self._asked = None
            raise
        self._asked = None
        book = LeaseBook(
            Lease.parse(answer), self._shape, self._call.get("cache_write"), sent=sent, heard=self._clock()
        )
        self._flusher.add(book)
        if book.lasts(self._latest_end()):
            self._current = book
        else:  # its window ends too soon, as the next lease's would
            book.retired = True
            self._single_until = self._clock() + SINGLE_SECONDS
            await self._flusher.flush_if_there()

    async def _single(self, size: Size) -> AsyncHold:
        call = self._call.copy()
        call["input_tokens"], call["max_output_tokens"] = size.input_tokens, size.max_output_tokens
        call["cached_input_tokens"] = size.cached_input_tokens
        call.pop("idempotency_key", None)
        request = reserve_request(call, run_id=self._run_id, user=self._user, cost_center=self._cost_center)
        return await reserve(self._sender, request, call)

    async def flush(self) -> None:
        """Book what waits.

        Raises Unreachable or Unavailable if that can't be done now, NotBooked for calls that were refused since.
        """
        await self._flusher.flush()

    async def close(self) -> None:
        """Book what waits and give back what is left; calls under way keep their lease until they have ended."""
        self._is_closed = True
        self._current = None
        await self._flusher.close()

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
