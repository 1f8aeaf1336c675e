# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Looks after some leases: books what their calls used, learns of stops from the answers, and gives leases back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from ..errors import ApiError, NotBooked, ReservationNotOpen, Unavailable, Unreachable
from ..guard.run_stops import RunStops
from ..leases.admission import LeaseBook
from ..leases.lease_outage import is_stale
from ..leases.sizes import Take
from ..leases.terms import Terms
from ..providers import Usage
from ..spool.lines import Record
from ..waiting_sync import lock_sync
from ..wire.calls import Use
from ..wire.fields import Fields
from ..wire.leases import Booked
from ..wire.requests import operation_of
from ..wire.reservations import Reservation, extend_request, release_request
from .heartbeat import LONGEST_CALL_SECONDS, Beating
from .sender import Sender


class LeasedUse:
    """What a call on a lease used, until the service has booked it."""

    __slots__ = ("_admitted", "_book", "_flusher", "_usage")

    def __init__(self, flusher: Flusher, book: LeaseBook, admitted: Take, usage: Usage) -> None:
        self._flusher = flusher
        self._book = book
        self._admitted = admitted
        self._usage = usage

    @property
    def reservation_id(self) -> str:
        """The id of the lease."""
        return self._book.lease.lease_id

    def booked(self, answer: Fields) -> None:
        """Give back to the lease what the call did not use, and obey a stop."""
        booked = answer.read(Booked)
        self._book.booked(self._admitted, self._usage, booked.cost)
        self._flusher.heard(self._book, booked.stop)

    def refused(self, error: ApiError) -> bool:
        """Leave the lease without what the call was admitted for; `AsyncFlusher.flush` tells of it."""
        self._book.dropped(self._admitted)
        return self._flusher.refused(error)


class Flusher(Beating):
    """Books the ended calls of some leases, half of `flush_seconds` after they have ended.

    While the service does not answer, ended calls wait, and calls are admitted until their lease expires. Unless it
    `tells` of calls that the service refuses to book, by `flush`, the client does so when it is closed.
    """

    def __init__(
        self,
        sender: Sender,
        terms: Terms,
        *,
        clock: Callable[[], float],
        run_id: str | None = None,
        tells: bool = True,
    ) -> None:
        self._tells = tells
        self._sender = sender
        self._run_id = run_id
        self._outbox = sender.outbox
        self._ttl_seconds = terms.ttl_seconds
        self._flush_seconds = terms.flush_seconds
        self._clock = clock
        self._tried = clock()
        self._renewing = lock_sync()
        self._lock = threading.Lock()  # guards what follows between threads; never held while waiting
        self._books: list[LeaseBook] = []
        self._refused: list[ApiError] = []
        self._is_closed = False
        self._process = os.getpid()

    @property
    def stops(self) -> RunStops:
        """What was heard of runs."""
        return self._sender.stops

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
        self._sender.heartbeat.add(self)
        if self._run_id is not None:
            self.stops.follow(self._run_id, self)

    def retire(self, book: LeaseBook) -> None:
        """Give back a lease once all of its calls are booked: before the next one is asked for, if that is so now."""
        book.retired = True
        self.release_retired()

    def halt(self) -> None:
        """Admit nothing more from these leases."""
        for book in self._all():
            book.stop()

    def next_beat(self, now: float) -> float | None:
        """Return when half of the life of a lease has passed that calls in progress are of; None without leases."""
        if not self._all():
            return None
        half = self._ttl_seconds / 2
        return now + min([half, *(book.expires - half - self._clock() for book in self._used())])

    def beat(self) -> None:
        """Extend the leases that calls in progress are of, once half of their life has passed."""
        for book in self._used():
            if book.expires - self._ttl_seconds / 2 <= self._clock():
                self.prolong(book)

    def _used(self) -> list[LeaseBook]:
        now = self._clock()
        return [book for book in self._all() if book.is_used(now, LONGEST_CALL_SECONDS)]

    def heard(self, book: LeaseBook, stop: str | None) -> None:
        """Note that the service has answered about a lease, and why no further call should be made, if so."""
        book.heard = self._clock()
        self.release_retired()
        if stop is not None and stop.startswith("lease_"):
            book.stop()
        elif stop is not None and self._run_id is None:  # a stop of the tenant
            self.halt()
        else:  # a stop of the run or the tenant applies to all of the run's leases
            self.stops.told(self._run_id, stop)

    def refused(self, error: ApiError) -> bool:
        """Note that a call was refused; returns whether `flush` tells of it."""
        if self._tells:
            self._refused.append(error)
        self.release_retired()
        return self._tells

    @property
    def is_away(self) -> bool:
        """Whether the service can't be reached now."""
        return self._outbox.is_away

    def is_stale(self, book: LeaseBook) -> bool:
        """Whether we may have missed a stop of this lease, and the service looks reachable."""
        outbox = self._outbox
        return is_stale(
            self._clock(),
            heard=book.heard,
            tried=self._tried,
            flush_seconds=self._flush_seconds,
            is_away=outbox.is_away,
            in_background=outbox.is_scheduled,
        )

    def refresh(self, book: LeaseBook) -> None:
        """Book what waits, or extend the lease if nothing waits: either answer says whether to stop."""
        with self._renewing:
            if not self.is_stale(book):
                return
            self._tried = self._clock()
            try:
                self._outbox.flush(again=False)
                if self.is_stale(book):
                    self._extend_or_stop(book)
            except (Unreachable, Unavailable):
                self._outbox.failed()

    def prolong(self, book: LeaseBook) -> None:
        """Extend a lease, if the service answers."""
        try:
            self._extend_or_stop(book)
        except (Unreachable, Unavailable):
            self._outbox.failed()

    def extend(self, book: LeaseBook, ttl_seconds: int, *, again: bool = True) -> Reservation:
        """Let a lease expire `ttl_seconds` from now, if that is later; raises ReservationNotOpen if it has ended."""
        answer = self._sender.send(extend_request(book.lease.lease_id, ttl_seconds), again=again)
        reservation = answer.read(Reservation)
        book.extended(reservation)
        self.heard(book, reservation.stop)
        return reservation

    def put(self, book: LeaseBook, admitted: Take, use: Use) -> None:
        """Keep what a call used, to be booked; raises TypeError or ValueError for what can't be sent."""
        record = book.settle(admitted, use)
        if not self._outbox.put(record, LeasedUse(self, book, admitted, use.usage)):
            book.dropped(admitted)

    def ended(self) -> None:
        """Note that a call has ended: it is booked soon, or at once if the leases are closed already."""
        if not self.is_own:
            return
        self.release_retired()
        if self._is_closed:
            self.flush()
        else:
            self._outbox.added(self._flush_seconds)

    def flush(self) -> None:
        """Book what waits, and release the leases that are no longer needed.

        Raises Unreachable or Unavailable if that can't be done now, NotBooked for calls that were refused since.
        """
        if not self.is_own:
            return
        self.release_retired()
        self._outbox.flush()
        with self._lock:
            refused, self._refused = tuple(self._refused), []
        if refused:
            raise NotBooked(refused)

    def flush_if_there(self) -> None:
        """Book what waits, if the service answers; any other error is left to whoever calls `flush`."""
        if not self.is_own:
            return
        self.release_retired()
        self._outbox.flush_if_there()

    def close(self) -> None:
        """Retire all leases and book what waits; calls that end later are booked at once."""
        with self._lock:
            self._is_closed = True
            for book in self._books:
                book.retired = True
        self.flush()

    def _extend_or_stop(self, book: LeaseBook) -> None:
        self._tried = self._clock()
        try:
            self.extend(book, self._ttl_seconds, again=False)
        except ReservationNotOpen:
            book.stop()
            book.heard = self._clock()

    def release_retired(self) -> None:
        """Give back the leases that are no longer needed, with what is sent next."""
        for book in self._all():
            if book.retired and book.is_idle:
                with self._lock:
                    if book not in self._books:
                        continue
                    self._books.remove(book)
                self.release(book.lease.lease_id, book.release_reason)

    def release(self, lease_id: str, reason: str) -> None:
        """Give back a lease that no call is of, with what is sent next."""
        self._outbox.put(Record(operation_of(release_request(lease_id, reason))))

    def _all(self) -> list[LeaseBook]:
        with self._lock:
            return [*self._books]
