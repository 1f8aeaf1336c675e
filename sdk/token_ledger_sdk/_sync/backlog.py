# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Keeps the ends of holds that the service gave no answer to, and sends them again in the background."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from ..errors import LedgerError, Unavailable, Unreachable
from ..unsettled import Left, backlog_pause_seconds
from ..waiting_sync import run_later_sync


class Backlog:
    """Sends what it keeps until there is an answer, also beyond the hold's expiry: a late settle is booked as well.

    What was used is spent, so nothing is given up. On trio, where nothing runs in the background, it waits for `close`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows between threads; never held while waiting
        self._ends: dict[str, Callable[[], object]] = {}
        self._refused: dict[str, LedgerError] = {}
        self._call_off: Callable[[], None] | None = None
        self._rounds = 0
        self._is_closed = False
        self._process = os.getpid()

    def keep(self, reservation_id: str, end: Callable[[], object]) -> None:
        """Keep what ends a hold; `end` sends it once, and raises Unreachable or Unavailable if that got no answer."""
        with self._lock:
            if self._process != os.getpid():  # what a fork copied is sent by the parent process
                self._ends, self._refused, self._call_off = {}, {}, None
                self._rounds, self._is_closed, self._process = 0, False, os.getpid()
            self._ends[reservation_id] = end
        self._send_later()

    def drop(self, reservation_id: str) -> None:
        """Keep nothing more of a hold, because there was an answer."""
        with self._lock:
            self._ends.pop(reservation_id, None)

    def close(self) -> Left:
        """Send everything once more, and return what is left and what was refused."""
        with self._lock:
            self._is_closed = True
            call_off, self._call_off = self._call_off, None
        if self._process != os.getpid():
            return Left((), {})
        if call_off is not None:
            call_off()
        self._send_all()
        with self._lock:
            left, self._refused = Left(tuple(self._ends), self._refused), {}
        return left

    def _send_later(self) -> None:
        with self._lock:
            if self._call_off is None and not self._is_closed and self._ends:
                self._call_off = run_later_sync(backlog_pause_seconds(self._rounds), self._send_now)

    def _send_now(self) -> None:
        self._send_all()
        with self._lock:
            self._call_off = None
        self._send_later()

    def _send_all(self) -> None:
        """Send what is kept until one gets no answer: then the others would get none either."""
        with self._lock:
            ends = [*self._ends.items()]
        for reservation_id, end in ends:
            try:
                end()
            except (Unreachable, Unavailable):
                self._rounds += 1
                return
            except LedgerError as error:
                with self._lock:
                    self._refused[reservation_id] = error
            self._rounds = 0
            self.drop(reservation_id)
