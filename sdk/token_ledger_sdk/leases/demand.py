"""How often calls of one kind come, which decides whether they draw from leases, and from how large ones.

A lone call has a hold of its own: a lease would set aside much more than it needs. Calls that follow each other within
`within_seconds` come in numbers, so a lease is worth its room. It is for as many calls as came lately: these grow with
the calls, and a lease is never for many more than were just made.
"""

from __future__ import annotations

MOST_CALLS = 32
"""The most calls of one lease that nobody has said a number for."""


class Demand:
    """The calls of one kind, by the times at which they came, of a monotonic clock.

    Threads share it without a lock: a call that is miscounted makes the next lease larger or smaller, nothing else.
    """

    __slots__ = ("_before", "_began", "_count", "_last", "_within")

    def __init__(self, within_seconds: float) -> None:
        self._within = within_seconds
        self._began = self._last = float("-inf")
        self._count = self._before = 0

    def came(self, now: float) -> int:
        """Count a call; returns for how many calls a lease is to be asked for, 0 for a hold of its own."""
        passed, is_lone = now - self._began, self.is_idle(now)
        if passed >= self._within:
            self._before = self._count if passed < 2 * self._within else 0
            self._began, self._count = now, 0
        self._count += 1
        self._last = now
        return 0 if is_lone else self.wanted

    @property
    def wanted(self) -> int:
        """For how many calls the next lease is."""
        return min(MOST_CALLS, max(2, self._count + self._before))

    def is_idle(self, now: float) -> bool:
        """Whether no call has come for so long that what waits for the next one is better given back."""
        return now - self._last >= self._within
