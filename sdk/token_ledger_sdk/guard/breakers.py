"""A circuit breaker for a tool: after failures in a row nobody calls it for a while, then one call tries it.

The states and their times are those of the library `circuitbreaker`. It lets every call through while a circuit is
half-open, and counts what calls of an earlier state report late: here one call at a time tries a tool again, and only
what belongs to the state under way counts. (pybreaker holds a lock while a call runs; purgatory has the same gap and
reads the wall clock; aiobreaker is no longer maintained.)
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, CircuitBreaker  # type: ignore[import-untyped]

from ..errors import BreakerOpen

_NO_PERIOD = -1

_log = logging.getLogger("token_ledger_sdk")


class _Circuit(CircuitBreaker):  # type: ignore[misc]
    """A circuit with a clock that is given."""

    def __init__(self, failures: int, open_seconds: float, clock: Callable[[], float]) -> None:
        super().__init__(failure_threshold=failures, recovery_timeout=open_seconds)
        self._open_seconds = open_seconds
        self._clock = clock
        self.failed_at = clock()

    @property
    def open_remaining(self) -> float:
        return self.failed_at + self._open_seconds - self._clock()

    def failed(self) -> None:
        """Count a failure, and keep nothing of its exception."""
        self.failed_at = self._clock()
        self.__exit__(Exception, None, None)


class Permit:
    """One call that a breaker let through, and that says afterwards how it ended; nothing where that says nothing."""

    __slots__ = ("_breaker", "period")

    def __init__(self, breaker: Breaker, period: int) -> None:
        self._breaker = breaker
        self.period = period

    def returned(self) -> None:
        """Say that the tool answered."""
        self._breaker.ended(self, failed=False)

    def failed(self) -> None:
        """Say that the tool failed."""
        self._breaker.ended(self, failed=True)

    def let_go(self) -> None:
        """Say that nothing was learned of the tool, because the call was denied, canceled or misused."""
        self._breaker.ended(self, failed=None)


class Breaker:
    """The breaker of one tool, for all threads and tasks of a process."""

    def __init__(self, tool: str, *, failures: int, open_seconds: float, clock: Callable[[], float]) -> None:
        self.tool = tool
        self._circuit = _Circuit(failures, open_seconds, clock)
        self._failures = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._period = 0
        self.renew()
        _breakers.add(self)

    def renew(self) -> None:
        """Begin anew with the calls under way, of which a forked process has none."""
        self._lock = threading.Lock()
        self._trying: Permit | None = None
        self._trying_since = 0.0

    @property
    def state(self) -> str:
        """What the breaker is now: `closed`, `open` or `half_open`."""
        with self._lock:
            return str(self._circuit.state)

    def admit(self) -> Permit:
        """Let one call through; raises BreakerOpen."""
        with self._lock:
            state = self._circuit.state
            if state == STATE_CLOSED:
                return Permit(self, self._period)
            now = self._clock()
            # One that hangs must not keep the tool away for good.
            is_tried = self._trying is not None and now < self._trying_since + self._open_seconds
            if state == STATE_HALF_OPEN and not is_tried:
                self._trying, self._trying_since = Permit(self, _NO_PERIOD), now
                return self._trying
            wait = max(0.0, self._circuit.open_remaining)
        then = f"is tried again in {wait:.0f} s" if wait else "is being tried again by another call"
        raise BreakerOpen(f"tool {self.tool} has failed {self._failures} times in a row: it is not called, and {then}")

    def ended(self, permit: Permit, *, failed: bool | None) -> None:
        """Count how a call ended, if it was let through in the state under way; None counts nothing."""
        with self._lock:
            is_trial = permit is self._trying
            if is_trial:
                self._trying = None
            elif permit.period != self._period:
                return
            if failed is None:
                return
            if not failed:
                self._circuit.reset()
            else:
                self._circuit.failed()
            has_changed = is_trial or self._circuit.state != STATE_CLOSED
            if has_changed:
                self._period += 1
        if has_changed:
            self._say(failed=failed)

    def _say(self, *, failed: bool) -> None:
        told: dict[str, Any] = {"tool": self.tool, "breaker": "open" if failed else "closed"}
        if failed:
            _log.warning("tool %s is not called for %.0f s: it failed again and again", self.tool, self._open_seconds,
                         extra=told)  # fmt: skip
        else:
            _log.info("tool %s answers again", self.tool, extra=told)


_breakers: WeakSet[Breaker] = WeakSet()


def _renew_all() -> None:
    for breaker in [*_breakers]:
        breaker.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_renew_all)
