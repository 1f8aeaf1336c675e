"""Leases: calls admitted in this process, and one by one by the service only while no lease is to be had."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping

from ..errors import BudgetExceeded, LeaseTooSmall, LedgerError, Unavailable, Unreachable
from ..leases.admission import NOT_NEEDED, LeaseBook
from ..leases.sizes import Size, Take
from ..leases.terms import Terms
from ..unavailable import OnUnavailable
from ..waiting_async import lock_async
from ..wire.calls import Scope, told_of_call
from ..wire.leases import Lease, lease_request
from ..wire.requests import ApiRequest, json_text
from .block import AsyncBlock
from .flusher import AsyncFlusher
from .hold import AsyncHold, reserve
from .leased_call import AsyncLeasedCall
from .sender import AsyncSender
from .unasked import unless_away

_log = logging.getLogger("token_ledger_sdk")


class AsyncLeases(AsyncBlock):
    """One lease after the other, for calls of one agent type and model; leaving the block books and releases all.

    A call is admitted in this process if the lease covers it, a call of `longest_call_seconds` would end before the
    lease does, and the service has answered within the last `flush_seconds`. So a stop, such as `cancel`, takes effect
    after that time at the latest, if the service can be reached. While no lease is granted, every call asks the
    service.
    """

    def __init__(
        self,
        sender: AsyncSender,
        terms: Terms,
        scope: Scope,
        *,
        clock: Callable[[], float] = time.monotonic,
        tells: bool = True,
    ) -> None:
        self._tells = tells
        self._sender = sender
        self._terms = terms
        self._scope = scope
        self._clock = clock
        self._size = terms.size
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._renewing = lock_async()
        self._current: LeaseBook | None = None
        self._asked: tuple[ApiRequest, float, Terms] | None = None
        self._single_until = self._clock()
        self._flusher = AsyncFlusher(
            self._sender, self._terms, clock=self._clock, run_id=self._scope.run_id, tells=self._tells
        )

    @property
    def left(self) -> Take | None:
        """What is left of the lease that calls are admitted from now; None while there is none."""
        book = self._current
        return None if book is None else book.left

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        return self._flusher.waiting

    @property
    def is_waited_for(self) -> bool:
        """Whether a call waits for what the service says of the lease, or for another one."""
        return self._renewing.locked()

    async def reserve(
        self,
        *,
        input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        cached_input_tokens: int | None = None,
        max_usage: Mapping[str, int] | None = None,
        service_tier: str | None = None,
        on_unavailable: OnUnavailable | None = None,
    ) -> AsyncLeasedCall | AsyncHold:
        """Ask for permission to make one call, of the leases' size unless another is given.

        A call that announces more of other kinds than the leases do, or another service tier, is none that a lease has
        the rates of: the service is asked for it. So it is for one that is too large for what is left of the lease.
        Raises BudgetExceeded, RunNotOpen and whatever else a reserve without a lease raises.
        """
        if self._is_closed:
            raise LedgerError("the block of these leases was left: make others with lease()")
        size = self._size.changed(
            input_tokens=input_tokens,
            max_output_tokens=max_output_tokens,
            cached_input_tokens=cached_input_tokens,
            max_usage=max_usage,
            service_tier=service_tier,
        )
        admitted = self.admit_at_once(size)
        if admitted is not None:
            return admitted

        async def ask() -> AsyncLeasedCall | AsyncHold:
            admitted = await self.admit(size, lambda: self._terms)
            if admitted is None:
                return await reserve(self._sender, self._terms.single(size), self._scope)
            return admitted

        return await unless_away(self._sender, self._terms.single(size), self._scope, on_unavailable, ask)

    def admit_at_once(self, size: Size) -> AsyncLeasedCall | None:
        """Admit a call in this process; None if the service must be asked, for a lease or for this call.

        Raises RunCancelled once that was heard of the run.
        """
        if self._process != os.getpid():
            self._begin()  # this is a fork: the parent admits from the leases that were copied
        return self._admit(size)

    async def admit(self, size: Size, terms: Callable[[], Terms]) -> AsyncLeasedCall | None:
        """Admit a call, from another lease of these terms if need be; None if it must be reserved alone."""
        async with self._renewing:
            # Another task may have renewed the lease while this one waited.
            return self._admit(size) or await self._admit_after_renewal(size, terms)

    def _admit(self, size: Size) -> AsyncLeasedCall | None:
        self._sender.stops.check(self._scope.run_id)
        book = self._current
        if book is None or self._flusher.is_stale(book):
            return None
        # What the lease says of its calls may be old while nobody can be asked for anything newer.
        admitted = book.admit(size, self._latest_end(), at_any_age=self._flusher.is_away)
        return None if admitted is None else AsyncLeasedCall(self._flusher, book, size, admitted)

    def _latest_end(self) -> float:
        return self._clock() + self._terms.longest_call_seconds

    async def _admit_after_renewal(self, size: Size, terms: Callable[[], Terms]) -> AsyncLeasedCall | None:
        """Refresh the current lease and admit from it, or from another; None if the call must be reserved alone."""
        book = self._current
        if book is not None:
            usual = size if self._terms.follow and size.is_like(book.size) else book.size
            await self._refresh(book, usual)
            admitted = self._admit(size)
            if admitted is not None:
                return admitted
            if book.lasts(self._latest_end(), at_any_age=self._flusher.is_away) and book.covers(usual):
                return None  # this call is too large for what is left; usual ones are not
        if self._is_closed or self._clock() < self._single_until:
            return None
        await self._open(terms())
        return self._admit(size)

    async def _refresh(self, book: LeaseBook, usual: Size) -> None:
        """Get what the lease may lack: an answer from the service, more time, or what booked calls did not use."""
        if self._flusher.is_stale(book):
            await self._flusher.refresh(book)
        if book.is_outdated(self._latest_end()):
            return  # another lease is asked for, unless the service is away
        if not (book.stopped or book.lasts(self._latest_end())):
            await self._flusher.prolong(book)
        elif not (book.stopped or book.covers(usual)):
            await self._flusher.flush_if_there()

    async def _open(self, terms: Terms) -> None:
        """Ask for another lease; the previous one is released once all of its calls are booked.

        One that is only outdated is kept until there is an answer: without one, calls go on by it.
        """
        before = self._current
        if before is None or not (before.lasts(self._latest_end(), at_any_age=True) and before.covers(before.size)):
            self._retire()
        try:
            granted = await self._ask(terms)
            if granted is None and self._current is not None:
                self._retire()  # what it holds may be the room that the other lacks
                granted = await self._ask(terms)
        except (Unreachable, Unavailable):
            if self._current is None:
                raise
            self._sender.outbox.failed()
            return
        self._retire()
        if granted is None:
            self._single_until = self._clock() + terms.single_seconds
            return
        lease, sent, terms = granted
        heard = self._clock()
        self._sender.costs.note_rates(terms.call, lease.provider, lease.model, lease.price)
        told = told_of_call(terms.call, self._scope, provider=lease.provider, model=lease.model)
        book = LeaseBook(
            lease,
            self._size if terms is self._terms else terms.size,
            terms.cache_write,
            sent=sent,
            heard=heard,
            call=json_text(told),
            # One that an earlier attempt was granted is as old as that.
            until=(sent if lease.replayed else heard) + terms.fresh_seconds + terms.longest_call_seconds,
        )
        self._flusher.add(book)
        if book.lasts(self._latest_end()):
            self._current = book
        else:
            book.retired = True
            if not book.is_outdated(self._latest_end()):  # its window ends too soon, and the next lease's would too
                self._single_until = self._clock() + terms.single_seconds
            await self._flusher.flush_if_there()

    async def _ask(self, terms: Terms) -> tuple[Lease, float, Terms] | None:
        """Ask for a lease; returns it, since when it may have been granted, and its terms, or None if it is denied."""
        if self._asked is None:
            self._asked = lease_request(terms.call, self._scope, calls=terms.calls), self._clock(), terms
        request, first_sent, terms = self._asked
        sent = self._clock()
        try:
            answer = await self._sender.send(request)
        except (LeaseTooSmall, BudgetExceeded):
            self._asked = None
            return None
        except LedgerError as error:
            # Without an answer there may be a lease, which only the same request finds: keep it for the next time.
            if not isinstance(error, (Unreachable, Unavailable)):
                self._asked = None
            raise
        self._asked = None
        lease = answer.read(Lease)
        return lease, first_sent if lease.replayed else sent, terms

    def _retire(self) -> None:
        book, self._current = self._current, None
        if book is not None:
            self._flusher.retire(book)

    async def make_room(self, account_ids: Collection[str], *, single_seconds: float) -> bool:
        """Give back what no call uses of a lease that is on one of these accounts; returns whether there was one.

        If so, no lease is asked for within that time.
        """
        book = self._current
        if self._process != os.getpid() or book is None or not book.lease.may_be_on(account_ids):
            return False
        self._single_until = max(self._single_until, self._clock() + single_seconds)
        await self.give_back()
        return True

    async def give_back(self) -> None:
        """Give back what no call uses.

        Calls in progress become those of a lease that is as large as they are, if there is room for it.
        """
        book = self._current
        if self._process != os.getpid() or book is None:
            return
        self._retire()
        await self._flusher.flush_if_there()
        if book.in_flight and book.left.calls >= book.in_flight:
            await self._trade(book)

    async def _trade(self, book: LeaseBook) -> None:
        call = self._terms.single(book.size)
        request, sent = lease_request(call, self._scope, calls=book.in_flight), self._clock()
        try:
            lease = (await self._sender.send(request, again=False)).read(Lease)
        except LedgerError as error:  # what calls in progress have stays as large as it is
            _log.info("Token Ledger could not make lease %s smaller: %s", book.lease.lease_id, error)
            return
        self._flusher.release(book.trade(lease, sent=sent), NOT_NEEDED)
        await self._flusher.flush_if_there()

    async def flush(self) -> None:
        """Book what waits.

        Raises Unreachable or Unavailable if that can't be done now, NotBooked for calls that were refused since.
        """
        await self._flusher.flush()

    async def close(self) -> None:
        """Book what waits and release what is left; calls in progress keep their lease until they have ended."""
        if self._process != os.getpid():
            self._begin()  # this is a fork: the parent gives back what was copied
        self._is_closed = True
        async with self._renewing:  # a lease that was asked for is given back, too, once it was granted
            self._current = None
            await self._flusher.close()

    async def _leave(self, error: BaseException | None) -> None:
        await self.close()

    def _failure(self) -> str:
        return f"book {self.waiting} leased calls"
