# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Keeps holds and leases alive whose calls still run, so that a stream of an hour stays covered."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable

from ..errors import LedgerError
from ..waiting_sync import run_later_sync

_log = logging.getLogger("token_ledger_sdk")

LONGEST_CALL_SECONDS = 3_600.0
"""A call that takes longer is taken for one that hangs: what it holds expires then."""


class Beating(ABC):
    """What is kept alive until it has ended; nothing keeps it from being garbage, and then it expires by itself."""

    @abstractmethod
    def next_beat(self, now: float) -> float | None:
        """Return when it is to be extended, by the clock; None if it has ended, or must end."""

    @abstractmethod
    def beat(self) -> None:
        """Extend it; raises a LedgerError if that can't be done."""


class Heartbeat:
    """Extends what is alive each time that half of its life has passed; one task or thread does it for all.

    On trio, where nothing runs in the background, holds live as long as their `ttl_seconds` say.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._alive: weakref.WeakSet[Beating] = weakref.WeakSet()
        self._call_off: Callable[[], None] | None = None
        self._is_closed = False

    def add(self, beating: Beating) -> None:
        """Keep something alive from now on."""
        if self._process != os.getpid():  # what a fork copied is kept alive by the parent process
            self._begin()
        with self._lock:  # others may go through the set
            self._alive.add(beating)
        if self._call_off is None:
            self._schedule()

    def close(self) -> None:
        """Keep nothing alive any more."""
        self._is_closed = True
        if self._call_off is not None and self._process == os.getpid():
            self._call_off()

    def _schedule(self) -> None:
        now = self.clock()
        with self._lock:
            due = [at for each in [*self._alive] if (at := each.next_beat(now)) is not None]
            if due and self._call_off is None and not self._is_closed:
                self._call_off = run_later_sync(max(0.0, min(due) - now), self._beat)

    def _beat(self) -> None:
        now = self.clock()
        with self._lock:
            alive = [*self._alive]
        for each in alive:
            at = each.next_beat(now)
            if at is None:
                with self._lock:
                    self._alive.discard(each)
            elif at <= now and not self._is_closed:
                try:
                    each.beat()
                except LedgerError as error:
                    _log.info("Token Ledger could not extend what a running call holds: %s", error)
        self._call_off = None
        self._schedule()
