# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Books what calls on leases used, in the background where there is one, and hears of stops."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from ..answers import Answer, error_from
from ..errors import (
    ApiError,
    InvalidAnswer,
    InvalidRequest,
    LedgerError,
    NotBooked,
    ReservationNotOpen,
    Unavailable,
    Unreachable,
)
from ..fields import Fields
from ..leases import LeaseBook, Part, operations_request
from ..reservations import Reservation, extend_request, release_request
from ..waiting import later_sync, turns_sync
from .sender import Sender

MANY = 128
"""How many calls may wait to be sent before whoever ends one sends them."""
AWAY_SECONDS = 1.0
"""How long at least a service that did not answer is left alone, except by those who must have an answer."""


class Flusher:
    """Keeps the books of some leases; what has ended is sent half of `flush_seconds` later, by one at a time.

    Where the service does not answer, everything waits, and permissions stay good until their lease has expired.
    """

    def __init__(self, sender: Sender, *, flush_seconds: float, ttl_seconds: int, clock: Callable[[], float]) -> None:
        self._sender = sender
        self._flush_seconds = flush_seconds
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._turns = turns_sync()
        self._lock = threading.Lock()  # of what follows, for threads that share this; never held while waiting
        self._books: list[LeaseBook] = []
        self._refused: list[ApiError] = []
        self._call_off: Callable[[], None] | None = None
        self._is_away = False
        self._is_closed = False
        self._tried = clock()
        self._process = os.getpid()

    @property
    def is_own(self) -> bool:
        """Whether this process made this: what a fork copied is for the other process to book."""
        return self._process == os.getpid()

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        return sum(book.waiting for book in self._all())

    def add(self, book: LeaseBook) -> None:
        """Take a lease on."""
        with self._lock:
            self._books.append(book)

    def must_hear(self, book: LeaseBook) -> bool:
        """Whether a stop may have been missed, and the service be there to tell."""
        now = self._clock()
        if now - book.heard <= self._flush_seconds:
            return False
        return not self._is_away or (self._call_off is None and now - self._tried > self._flush_seconds)

    def hear(self, book: LeaseBook) -> None:
        """Book what waits, or ask for more time where nothing waits: either answer tells whether to stop."""
        with self._turns:
            if not self.must_hear(book):
                return
            try:
                self._send_all(again=False)
                if self.must_hear(book):
                    self._extend(book)
            except (Unreachable, Unavailable):
                self._note_away()

    def prolong(self, book: LeaseBook) -> None:
        """Ask for more time, if the service is there."""
        try:
            self._extend(book)
        except (Unreachable, Unavailable):
            self._note_away()

    def extend(self, book: LeaseBook, ttl_seconds: int, *, again: bool = True) -> Reservation:
        """Let a lease expire so many seconds from now, if that is later; raises ReservationNotOpen if it has ended."""
        request = extend_request(book.lease.lease_id, ttl_seconds)
        reservation = Reservation.parse(self._sender.send(request, again=again))
        book.extended(reservation)
        self._heard_of(book)
        return reservation

    def ended(self) -> None:
        """Take note that a call has ended: it is booked soon, and at once if its lease was given up before."""
        if not self.is_own:
            return
        if self._is_closed:
            self.flush()
            return
        self._book_later()
        if self._is_due():
            self.flush_if_there()

    def flush(self) -> None:
        """Book what waits and give back the leases that are done with.

        Raises Unreachable or Unavailable if that can't be done now, NotBooked for calls that were refused since.
        """
        if not self.is_own:
            return
        with self._turns:
            while self._send_all():
                pass
        with self._lock:
            refused, self._refused = tuple(self._refused), []
        if refused:
            raise NotBooked(refused)

    def flush_if_there(self) -> None:
        """Book what waits, if the service answers; whatever else is wrong is said to those who must have an answer."""
        if not self.is_own:
            return
        with self._turns:
            try:
                self._send_all(again=False)
            except (Unreachable, Unavailable):
                self._note_away()
            except LedgerError:
                self._tried = self._clock()

    def close(self) -> None:
        """Give up all leases and book what waits; calls that end later are booked at once."""
        with self._lock:
            self._is_closed = True
            call_off, self._call_off = self._call_off, None
            for book in self._books:
                book.retired = True
        if call_off is not None and self.is_own:
            call_off()
        self.flush()

    def _is_due(self) -> bool:
        if self._turns.locked():
            return False  # somebody is at it
        if not self._is_away and sum(book.unsent for book in self._all()) >= MANY:
            return True
        return self._call_off is None and self._clock() - self._tried >= self._flush_seconds

    def _book_later(self) -> None:
        with self._lock:
            if self._call_off is None and not self._is_closed:
                seconds = max(self._flush_seconds, AWAY_SECONDS) if self._is_away else self._flush_seconds / 2
                self._call_off = later_sync(seconds, self._book_now)

    def _book_now(self) -> None:
        self.flush_if_there()
        with self._lock:
            self._call_off = None
        if self._is_away or self.waiting:
            self._book_later()

    def _send_all(self, *, again: bool = True) -> int:
        """Send what waits, at most one request per lease; return how many calls were sent."""
        sent = 0
        for book in self._all():
            parts = book.take_parts()
            if parts:
                sent += len(parts)
                self._send(book, parts, again=again)
        self._give_back(again=again)
        return sent

    def _send(self, book: LeaseBook, parts: list[Part], *, again: bool) -> None:
        try:
            answer = self._sender.send(operations_request(parts), again=again)
            results = [_result(item) for item in answer.children("results")]
            if len(results) != len(parts):
                raise InvalidAnswer(f"answer.results has {len(results)} items for {len(parts)} operations")
        except BaseException:
            book.put_back(parts)
            raise
        self._heard_of(book)
        unavailable = None
        for part, result in zip(parts, results, strict=True):
            if isinstance(result, _Booked):
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
        elif stop is not None:  # what stops the run or the tenant stops every lease of it
            for each in self._all():
                each.stop()

    def _extend(self, book: LeaseBook) -> None:
        try:
            self.extend(book, self._ttl_seconds, again=False)
        except ReservationNotOpen:
            book.stop()
            self._heard_of(book)

    def _give_back(self, *, again: bool) -> None:
        for book in self._all():
            if not (book.retired and book.is_idle):
                continue
            # A lease whose time was up has been given back already.
            with suppress(ReservationNotOpen):
                self._sender.send(release_request(book.lease.lease_id, "not needed"), again=again)
            with self._lock:
                self._books.remove(book)

    def _all(self) -> list[LeaseBook]:
        with self._lock:
            return [*self._books]

    def _heard_of(self, book: LeaseBook) -> None:
        book.heard = self._tried = self._clock()
        self._is_away = False

    def _note_away(self) -> None:
        self._tried = self._clock()
        self._is_away = True
        self._book_later()


class _Booked(NamedTuple):
    """What a call cost, and why no further one should be made."""

    cost: Decimal
    stop: str | None


def _result(item: Fields) -> _Booked | ApiError:
    status, body = item.integer("status"), item.child("body")
    if status == 200:
        return _Booked(body.optional_money("cost") or Decimal(0), body.optional_text("stop"))
    return error_from(Answer(status, json.dumps(dict(body.raw)).encode()))
