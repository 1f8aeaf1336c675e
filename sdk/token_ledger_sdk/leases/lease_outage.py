"""What changes for calls on leases while the service is away.

They are still admitted from what leases hold, until these expire. Ended calls wait, and the service is tried again in
the background; no call waits for it. How a single request is repeated is in `outage`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contact:
    """What a process knows at an instant about whether the service answers; times are of a monotonic clock.

    `in_background` says whether it is tried again in the background; on trio it never is.
    """

    now: float
    tried: float
    is_away: bool
    in_background: bool

    def is_stale(self, heard: float, flush_seconds: float) -> bool:
        """Whether we may have missed a stop, last hearing of a lease at `heard`, and the service looks reachable."""
        if self.now - heard <= flush_seconds:
            return False
        return not self.is_away or (not self.in_background and self.now - self.tried > flush_seconds)
