"""Owns the usage event, the journal of the ledger: one immutable value per call that was made (design D11)."""

from datetime import datetime, timedelta

from token_ledger.core.reservation import CallFacts
from token_ledger.core.usage import Usage
from token_ledger.core.values import value

OLDEST = timedelta(days=35)
NEWEST = timedelta(minutes=5)
"""How far an event's own time may lie behind and ahead of the booking (the bounds of Stripe's meter events)."""


@value
class UsageEvent:
    """What one call used and cost, and the accounts it was booked to.

    `occurred_at` is the caller's time, `posted_at` the one that reports go by. `price_id` is 0 where no price was
    known (then `unpriced` and the cost is 0). `reservation_id` is None for a call without a hold. `part` says that it
    did not end its hold: a call of a lease, or a part of a call, which then counts no call (`calls` 0). `source`,
    `key` and `fingerprint` are those of the request that made it, known only to the batch that books it.
    """

    event_id: int
    reservation_id: int | None
    facts: CallFacts
    usage: Usage
    cost_nanos: int
    price_id: int
    path: list[int]
    occurred_at: datetime
    posted_at: datetime
    overrun: bool = False
    late: bool = False
    estimated: bool = False
    unpriced: bool = False
    clamped: bool = False
    failed: bool = False
    response_id: str | None = None
    original_input_tokens: int | None = None
    calls: int = 1
    part: bool = False
    source: str = ""
    key: str = ""
    fingerprint: bytes = b""


def in_time(occurred_at: datetime, now: datetime) -> bool:
    """Tell whether an event's own time is near enough to the booking to be posted there."""
    return now - OLDEST <= occurred_at <= now + NEWEST
