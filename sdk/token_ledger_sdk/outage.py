"""What happens to a request when the service is away: whether it is sent again, and after how long.

Every request that changes something carries an idempotency key, so sending it again is always safe; the question is
only whether another answer can be expected. A denial (402) is an answer and never retried. How leases bridge a longer
outage is in `leases/lease_outage.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from .wire.answers import Answer, NoAnswer


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `max_retries` further attempts, with full-jitter exponential backoff.

    The wait before retry n (from 0) is drawn from 0 to min(cap_seconds, base_seconds * 2**n). A Retry-After of the
    service is added in full, so that clients that are told the same second do not return together. A Retry-After
    above `longest_wait_seconds` ends the retries: the caller can plan better than we can.
    """

    max_retries: int = 3
    base_seconds: float = 0.1
    cap_seconds: float = 5.0
    longest_wait_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise ValueError(f"max_retries is {self.max_retries}: give 0 or more")

    def delay_seconds(self, outcome: Answer | NoAnswer, *, retries: int, draw: float) -> float | None:
        """Return how long to wait before sending again, or None to accept this outcome.

        `retries` counts those already made; `draw` is a random number from 0 to 1.
        """
        if retries >= self.max_retries or not is_retryable(outcome):
            return None
        asked = outcome.retry_after_seconds if isinstance(outcome, Answer) else None
        if asked is not None and asked > self.longest_wait_seconds:
            return None
        return (asked or 0.0) + draw * min(self.cap_seconds, self.base_seconds * 2.0**retries)


def is_retryable(outcome: Answer | NoAnswer) -> bool:
    """Whether sending again can bring another answer."""
    if isinstance(outcome, NoAnswer):
        return outcome.may_retry
    return is_unavailable(outcome.status)


def is_unavailable(status: int) -> bool:
    """Whether an answer says nothing of the request, which may be done or not: 429 and any 5xx, also a proxy's."""
    return status == 429 or status >= 500


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, in seconds or as an HTTP date; None if absent or malformed."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    # RFC 9110 dates are GMT; one written with -0000 parses without a zone.
    aware = date if date.tzinfo is not None else date.replace(tzinfo=now.tzinfo)
    return max(0.0, (aware - now).total_seconds())
