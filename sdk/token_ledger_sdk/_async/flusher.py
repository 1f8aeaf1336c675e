"""Books what calls on leases used, in the background where there is one, and learns of stops from the answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ..errors import (
    ApiError,
    InvalidRequest,
    LedgerError,
    NotBooked,
    ReservationNotOpen,
    Unavailable,
    Unreachable,
)
from ..leases.admission import NOT_NEEDED, LeaseBook, Part
from ..leases.lease_outage import Contact
from ..leases.terms import Terms
from ..waiting_async import lock_async, run_later_async
from ..wire.leases import Booked, operations_request, read_results
from ..wire.reservations import Reservation, extend_request, release_request
from .sender import AsyncSender


class AsyncFlusher:
    """Books the ended calls of some leases, half of `flush_seconds` after they have ended; one request at a time.

    While the service does not answer, ended calls wait, and calls are admitted until their lease expires.
    """

    def __init__(self, sender: AsyncSender, terms: Terms, *, clock: Callable[[], float]) -> None:
        self._sender = sender
        self._ttl_seconds = terms.ttl_seconds
        self._clock = clock
        self._contact = Contact(terms.flush_seconds, clock)
        self._sending = lock_async()
        self._lock = threading.Lock()  # guards what follows between threads; never held while waiting
        self._books: list[LeaseBook] = []
        self._refused: list[ApiError] = []
        self._call_off: Callable[[], None] | None = None
        self._is_closed = False
        self._process = os.getpid()

    @property
    def is_own(self) -> bool:
        """Whether this process made this flusher: what a fork copied is booked by the parent process."""
        return self._process == os.getpid()

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        return sum(book.waiting for book in self._all())

    def add(self, book: LeaseBook) -> None:
        """Take charge of a lease."""
        with self._lock:
            self._books.append(book)

    def is_stale(self, book: LeaseBook) -> bool:
        """Whether we may have missed a stop of this lease, and the service looks reachable."""
        return self._contact.is_stale(book.heard, in_background=self._call_off is not None)

    async def refresh(self, book: LeaseBook) -> None:
        """Book what waits, or extend the lease if nothing waits: either answer says whether to stop."""
        async with self._sending:
            if not self.is_stale(book):
                return
            try:
                await self._send_all(again=False)
                if self.is_stale(book):
                    await self._extend_or_stop(book)
            except (Unreachable, Unavailable):
                self._failed()

    async def prolong(self, book: LeaseBook) -> None:
        """Extend a lease, if the service answers."""
        try:
            await self._extend_or_stop(book)
        except (Unreachable, Unavailable):
            self._failed()

    async def extend(self, book: LeaseBook, ttl_seconds: int, *, again: bool = True) -> Reservation:
        """Let a lease expire `ttl_seconds` from now, if that is later; raises ReservationNotOpen if it has ended."""
        answer = await self._sender.send(extend_request(book.lease.lease_id, ttl_seconds), again=again)
        reservation = answer.read(Reservation)
        book.extended(reservation)
        book.heard = self._contact.answered()
        return reservation

    async def ended(self) -> None:
        """Note that a call has ended: it is booked soon, or at once if the leases are closed already."""
        if not self.is_own:
            return
        if self._is_closed:
            await self.flush()
            return
        self._book_later()
        if self._is_due():
            await self.flush_if_there()

    async def flush(self) -> None:
        """Book what waits, and release the leases that are no longer needed.

        Raises Unreachable or Unavailable if that can't be done now, NotBooked for calls that were refused since.
        """
        if not self.is_own:
            return
        async with self._sending:
            while await self._send_all():
                pass
        with self._lock:
            refused, self._refused = tuple(self._refused), []
        if refused:
            raise NotBooked(refused)

    async def flush_if_there(self) -> None:
        """Book what waits, if the service answers; any other error is left to whoever calls `flush`."""
        if not self.is_own:
            return
        async with self._sending:
            try:
                await self._send_all(again=False)
            except (Unreachable, Unavailable):
                self._failed()
            except LedgerError:
                self._contact.tried()

    async def close(self) -> None:
        """Retire all leases and book what waits; calls that end later are booked at once."""
        with self._lock:
            self._is_closed = True
            call_off, self._call_off = self._call_off, None
            for book in self._books:
                book.retired = True
        if call_off is not None and self.is_own:
            call_off()
        await self.flush()

    def _is_due(self) -> bool:
        if self._sending.locked():
            return False  # somebody else is sending
        unsent = sum(book.unsent for book in self._all())
        return self._contact.is_due(unsent, in_background=self._call_off is not None)

    def _book_later(self) -> None:
        with self._lock:
            if self._call_off is None and not self._is_closed:
                self._call_off = run_later_async(self._contact.pause_seconds, self._book_now)

    async def _book_now(self) -> None:
        await self.flush_if_there()
        with self._lock:
            self._call_off = None
        if self._contact.is_away or self.waiting:
            self._book_later()

    async def _send_all(self, *, again: bool = True) -> int:
        """Send what waits, at most one request per lease; returns how many calls were sent."""
        sent = 0
        for book in self._all():
            parts = book.take_parts()
            if parts:
                sent += len(parts)
                await self._send(book, parts, again=again)
        await self._release_retired(again=again)
        return sent

    async def _send(self, book: LeaseBook, parts: list[Part], *, again: bool) -> None:
        try:
            answer = await self._sender.send(operations_request([part.operation for part in parts]), again=again)
            results = read_results(answer, len(parts))
        except BaseException:
            book.put_back(parts)
            raise
        book.heard = self._contact.answered()
        unavailable = None
        for part, result in zip(parts, results, strict=True):
            if isinstance(result, Booked):
                book.booked(part, result.cost)
                self._obey(book, result.stop)
            elif isinstance(result, Unavailable):
                book.put_back([part])
                unavailable = result
            elif isinstance(result, InvalidRequest) and part.bare is not None:
                book.put_back([replace(part, operation=part.bare, bare=None)])
            else:
                book.dropped()
                self._refused.append(result)
        if unavailable is not None:
            raise unavailable

    def _obey(self, book: LeaseBook, stop: str | None) -> None:
        if stop == "lease_expired":
            book.stop()
        elif stop is not None:  # a stop of the run or the tenant applies to all of its leases
            for each in self._all():
                each.stop()

    async def _extend_or_stop(self, book: LeaseBook) -> None:
        try:
            await self.extend(book, self._ttl_seconds, again=False)
        except ReservationNotOpen:
            book.stop()
            book.heard = self._contact.answered()

    async def _release_retired(self, *, again: bool) -> None:
        for book in self._all():
            if not (book.retired and book.is_idle):
                continue
            # A lease that has expired needs no release.
            with suppress(ReservationNotOpen):
                await self._release(book, again=again)
            with self._lock:
                self._books.remove(book)

    async def _release(self, book: LeaseBook, *, again: bool) -> None:
        try:
            await self._sender.send(release_request(book.lease.lease_id, book.release_reason), again=again)
        except InvalidRequest:
            # What a caller has given as the reason of one call must not keep the lease from being released.
            await self._sender.send(release_request(book.lease.lease_id, NOT_NEEDED), again=again)

    def _all(self) -> list[LeaseBook]:
        with self._lock:
            return [*self._books]

    def _failed(self) -> None:
        self._contact.failed()
        self._book_later()
