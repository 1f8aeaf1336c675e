"""When calls on leases are booked, and what changes while the service is away.

During an outage calls are still admitted from what leases hold, until these expire. Ended calls wait, and the
service is tried again in the background, at most once a `RETRY_SECONDS`; no call waits for it. How a single request is
repeated is in `outage`.
"""

from __future__ import annotations

from collections.abc import Callable

FLUSH_AT_CALLS = 128
"""So many ended calls are sent at once, by whoever ends the last of them, instead of later in the background."""
RETRY_SECONDS = 1.0
"""The shortest pause between two tries while the service is away."""


class Contact:
    """What a process knows about whether the service answers, and when to send to it next.

    `in_background` says whether a background flush is scheduled; on trio there never is one.
    """

    def __init__(self, flush_seconds: float, clock: Callable[[], float]) -> None:
        self._flush_seconds = flush_seconds
        self._clock = clock
        self._tried = clock()
        self._is_away = False

    @property
    def is_away(self) -> bool:
        """Whether the service did not answer when it was last tried."""
        return self._is_away

    @property
    def pause_seconds(self) -> float:
        """How long after a call has ended the background flush sends it."""
        return max(self._flush_seconds, RETRY_SECONDS) if self._is_away else self._flush_seconds / 2

    def answered(self) -> float:
        """Note an answer; returns its time."""
        self._tried, self._is_away = self._clock(), False
        return self._tried

    def tried(self) -> None:
        """Note a try whose error does not tell whether the service is away."""
        self._tried = self._clock()

    def failed(self) -> None:
        """Note that the service did not answer, or could not serve the request."""
        self._tried, self._is_away = self._clock(), True

    def is_stale(self, heard: float, *, in_background: bool) -> bool:
        """Whether we may have missed a stop, last hearing of a lease at `heard`, and the service looks reachable."""
        now = self._clock()
        if now - heard <= self._flush_seconds:
            return False
        return not self._is_away or (not in_background and now - self._tried > self._flush_seconds)

    def is_due(self, unsent: int, *, in_background: bool) -> bool:
        """Whether whoever ends a call should send the `unsent` ended calls now."""
        if unsent >= FLUSH_AT_CALLS and not self._is_away:
            return True
        return not in_background and self._clock() - self._tried >= self._flush_seconds
