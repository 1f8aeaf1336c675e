# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Leases: calls admitted in this process, and one by one by the service only while no lease is to be had."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from ..errors import BudgetExceeded, LeaseTooSmall, LedgerError, Unavailable, Unreachable
from ..leases.admission import LeaseBook
from ..leases.sizes import Size, Take
from ..leases.terms import Terms
from ..unavailable import OnUnavailable
from ..waiting_sync import lock_sync
from ..wire.calls import Scope, told_of_call
from ..wire.leases import Lease, lease_request
from ..wire.requests import ApiRequest, json_text
from .block import Block
from .flusher import Flusher
from .hold import Hold, reserve
from .leased_call import LeasedCall
from .sender import Sender
from .unasked import unless_away

SINGLE_SECONDS = 5.0
"""How long calls are reserved one by one after a lease was denied, before another is asked for."""


class Leases(Block):
    """One lease after the other, for calls of one agent type and model; leaving the block books and releases all.

    A call is admitted in this process if the lease covers it, a call of `longest_call_seconds` would end before the
    lease does, and the service has answered within the last `flush_seconds`. So a stop, such as `cancel`, takes effect
    after that time at the latest, if the service can be reached. While no lease is granted, every call asks the
    service.
    """

    def __init__(
        self, sender: Sender, terms: Terms, scope: Scope, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sender = sender
        self._terms = terms
        self._scope = scope
        self._clock = clock
        self._size = terms.size
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._renewing = lock_sync()
        self._current: LeaseBook | None = None
        self._asked: tuple[ApiRequest, float] | None = None
        self._single_until = self._clock()
        self._flusher = Flusher(self._sender, self._terms, clock=self._clock, run_id=self._scope.run_id)

    @property
    def left(self) -> Take | None:
        """What is left of the lease that calls are admitted from now; None while there is none."""
        book = self._current
        return None if book is None else book.left

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        return self._flusher.waiting

    def reserve(
        self,
        *,
        input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        cached_input_tokens: int | None = None,
        max_usage: Mapping[str, int] | None = None,
        service_tier: str | None = None,
        on_unavailable: OnUnavailable | None = None,
    ) -> LeasedCall | Hold:
        """Ask for permission to make one call, of the leases' size unless another is given.

        A call that announces more of other kinds than the leases do, or another service tier, is none that a lease has
        the rates of: the service is asked for it. So it is for one that is too large for what is left of the lease.
        Raises BudgetExceeded, RunNotOpen and whatever else a reserve without a lease raises.
        """
        if self._is_closed:
            raise LedgerError("the block of these leases was left: make others with lease()")
        if self._process != os.getpid():
            self._begin()  # this is a fork: the parent admits from the leases that were copied
        size = self._size.changed(
            input_tokens=input_tokens,
            max_output_tokens=max_output_tokens,
            cached_input_tokens=cached_input_tokens,
            max_usage=max_usage,
            service_tier=service_tier,
        )
        admitted = self._admit(size)
        if admitted is not None:
            return admitted

        def ask() -> LeasedCall | Hold:
            with self._renewing:
                # Another task may have renewed the lease while this one waited.
                admitted = self._admit(size) or self._admit_after_renewal(size)
            if admitted is None:
                return reserve(self._sender, self._terms.single(size), self._scope)
            return admitted

        return unless_away(self._sender, self._terms.single(size), self._scope, on_unavailable, ask)

    def _admit(self, size: Size) -> LeasedCall | None:
        book = self._current
        if book is None or self._flusher.is_stale(book):
            return None
        admitted = book.admit(size, self._latest_end())
        return None if admitted is None else LeasedCall(self._flusher, book, size, admitted)

    def _latest_end(self) -> float:
        return self._clock() + self._terms.longest_call_seconds

    def _admit_after_renewal(self, size: Size) -> LeasedCall | None:
        """Refresh the current lease and admit from it, or from another; None if the call must be reserved alone."""
        book = self._current
        if book is not None:
            self._refresh(book)
            admitted = self._admit(size)
            if admitted is not None:
                return admitted
            if book.lasts(self._latest_end()) and book.covers(self._size):
                return None  # this call is too large for what is left; usual ones are not
        if self._clock() < self._single_until:
            return None
        self._open()
        return self._admit(size)

    def _refresh(self, book: LeaseBook) -> None:
        """Get what the lease may lack: an answer from the service, more time, or what booked calls did not use."""
        if self._flusher.is_stale(book):
            self._flusher.refresh(book)
        if not (book.stopped or book.lasts(self._latest_end())):
            self._flusher.prolong(book)
        elif not (book.stopped or book.covers(self._size)):
            self._flusher.flush_if_there()

    def _open(self) -> None:
        """Ask for another lease; the previous one is released once all of its calls are booked."""
        if self._current is not None:
            self._flusher.retire(self._current)
            self._current = None
        granted = self._ask()
        if granted is None:
            self._single_until = self._clock() + SINGLE_SECONDS
            return
        lease, sent = granted
        told = told_of_call(self._terms.call, self._scope, provider=lease.provider, model=lease.model)
        book = LeaseBook(
            lease, self._size, self._terms.cache_write, sent=sent, heard=self._clock(), call=json_text(told)
        )
        self._flusher.add(book)
        if book.lasts(self._latest_end()):
            self._current = book
        else:  # its window ends too soon, and the next lease's would too
            book.retired = True
            self._single_until = self._clock() + SINGLE_SECONDS
            self._flusher.flush_if_there()

    def _ask(self) -> tuple[Lease, float] | None:
        """Ask for a lease; returns it with when it was first asked for, or None if it is denied."""
        if self._asked is None:
            self._asked = lease_request(self._terms.call, self._scope, calls=self._terms.calls), self._clock()
        request, sent = self._asked
        try:
            answer = self._sender.send(request)
        except (LeaseTooSmall, BudgetExceeded):
            self._asked = None
            return None
        except LedgerError as error:
            # Without an answer there may be a lease, which only the same request finds: keep it for the next time.
            if not isinstance(error, (Unreachable, Unavailable)):
                self._asked = None
            raise
        self._asked = None
        return answer.read(Lease), sent

    def flush(self) -> None:
        """Book what waits.

        Raises Unreachable or Unavailable if that can't be done now, NotBooked for calls that were refused since.
        """
        self._flusher.flush()

    def close(self) -> None:
        """Book what waits and release what is left; calls in progress keep their lease until they have ended."""
        self._is_closed = True
        self._current = None
        self._flusher.close()

    def _leave(self, error: BaseException | None) -> None:
        self.close()

    def _failure(self) -> str:
        return f"book {self.waiting} leased calls"
