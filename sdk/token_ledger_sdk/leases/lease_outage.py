"""What changes for calls on leases while the service is away.

They are still admitted from what leases hold, until these expire. Ended calls wait, and the service is tried again in
the background; no call waits for it. How a single request is repeated is in `outage`.
"""

from __future__ import annotations


def is_stale(
    now: float, *, heard: float, tried: float, flush_seconds: float, is_away: bool, in_background: bool
) -> bool:
    """Whether we may have missed a stop, last hearing of a lease at `heard`, and the service looks reachable.

    Times are of a monotonic clock. `tried` is when the service was last asked about any lease, and `in_background`
    says whether it is tried again in the background while it is away; on trio it never is.
    """
    if now - heard <= flush_seconds:
        return False
    return not is_away or (not in_background and now - tried > flush_seconds)
