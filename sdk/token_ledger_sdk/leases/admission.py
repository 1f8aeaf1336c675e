"""Admits calls from a lease in this process, without asking the service, and keeps those that are to be booked.

Nothing is admitted that the lease does not cover: the most that a call may take is subtracted when it is admitted, and
replaced by what it really took only once the service has booked it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ..providers import Usage
from ..wire.calls import Use, settle_body
from ..wire.leases import MAX_OPERATIONS, Lease
from ..wire.requests import json_text, new_key
from ..wire.reservations import Grant, Reservation
from .sizes import Size, Take, hold_cost, used
from .terms import SKEW_SECONDS

NOT_NEEDED = "not needed"
"""Why a lease is released, in short."""
_LONGEST_REASON = 200
"""As many characters as the service keeps of a reason."""
_NEEDED_TO_BOOK = ("usage", "occurred_at", "estimated", "outcome")


@dataclass(frozen=True, slots=True)
class Part:
    """One ended call on a lease: the operation that books it, as JSON that is the same in every try.

    `bare` is the operation without what only describes the call, to be sent if the service refuses the full one, so
    that an invalid description does not keep the call from being booked; None if this is that one.
    """

    operation: str
    usage: Usage
    admitted: Take
    bare: str | None


class LeaseBook:
    """What is left of one lease, and which ended calls are to be booked; safe to use from any number of threads.

    Times are seconds of a monotonic clock. `sent` is when the request for the lease was first sent: the service can't
    have granted it earlier, so it lasts at least its lifetime from then on. `heard` is when the service last answered
    about this lease. `size` is what one of its calls was said to take, in the request.
    """

    def __init__(self, lease: Lease, size: Size, cache_write: str | None, *, sent: float, heard: float) -> None:
        self.lease = lease
        self.heard = heard
        self.retired = False
        self.stopped = _is_ended(lease)
        self._size = size
        self._cache_write = cache_write
        self._sent = sent
        self._expires = self._when(lease.expires_at)
        self._lock = threading.Lock()
        calls, uncached = lease.held.calls or 0, size.uncached_input_tokens + size.max_output_tokens
        self._left = Take(lease.held.tokens or 0, calls * uncached, lease.held.cost or Decimal(0), calls)
        self._parts: list[Part] = []
        self._in_flight = 0
        self._sending = 0
        self._reasons: Counter[str] = Counter()

    @property
    def left(self) -> Take:
        """What calls may still take: what is held, less calls in progress and booked calls."""
        with self._lock:
            return self._left

    @property
    def unsent(self) -> int:
        """How many calls have ended and are not sent yet."""
        with self._lock:
            return len(self._parts)

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        with self._lock:
            return len(self._parts) + self._sending

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress or waits to be booked, so that the lease may be released."""
        with self._lock:
            return not (self._parts or self._sending or self._in_flight)

    def covers(self, size: Size) -> bool:
        """Whether enough is left for a call of this size."""
        return (self.left - self._take(size)).fits

    def lasts(self, until: float) -> bool:
        """Whether the lease is not stopped, and does not expire before a call that ends at `until`."""
        return not self.stopped and until + SKEW_SECONDS < self._expires

    def admit(self, size: Size, until: float) -> Take | None:
        """Admit a call that ends at `until` at the latest; None if the lease does not cover it."""
        taken = self._take(size)
        with self._lock:
            left = self._left - taken
            if not left.fits or not self.lasts(until):
                return None
            self._left = left
            self._in_flight += 1
        return taken

    def give_back(self, admitted: Take, reason: str | None = None) -> None:
        """End a call that cost nothing, for this reason, and return what it was admitted for."""
        with self._lock:
            self._left += admitted
            self._in_flight -= 1
            if reason is not None:
                self._reasons[reason] += 1

    @property
    def release_reason(self) -> str:
        """Why the lease is released, and why so many of its calls cost nothing, the most frequent reason first."""
        with self._lock:
            free = [f"{reason} ({calls})" for reason, calls in self._reasons.most_common()]
        return "; ".join([NOT_NEEDED, *free])[:_LONGEST_REASON]

    def settle(self, admitted: Take, use: Use) -> None:
        """End a call that was made, and keep it to be booked; raises TypeError or ValueError if it can't be sent."""
        body = settle_body(use)
        operation = {"op": "settle", "reservation_id": self.lease.lease_id, "part": True, "idempotency_key": new_key()}
        needed = {name: body[name] for name in _NEEDED_TO_BOOK if name in body}
        part = Part(json_text({**body, **operation}), use.usage, admitted, json_text({**needed, **operation}))
        with self._lock:
            self._parts.append(part)
            self._in_flight -= 1

    def take_parts(self) -> list[Part]:
        """Take the parts to send in one request; each must be put back, booked or dropped afterwards."""
        with self._lock:
            parts = self._parts[:MAX_OPERATIONS]
            del self._parts[:MAX_OPERATIONS]
            self._sending += len(parts)
            return parts

    def put_back(self, parts: Sequence[Part]) -> None:
        """Return parts that were not answered, to be sent again first."""
        with self._lock:
            self._parts[:0] = parts
            self._sending -= len(parts)

    def booked(self, part: Part, cost: Decimal) -> None:
        """Count what a call really took in place of what it was admitted for."""
        with self._lock:
            self._left += part.admitted - used(part.usage, cost)
            self._sending -= 1

    def dropped(self) -> None:
        """Forget a part that the service refused; what it was admitted for stays subtracted."""
        with self._lock:
            self._sending -= 1

    def stop(self) -> None:
        """Admit no more calls."""
        with self._lock:
            self.stopped = True

    def extended(self, reservation: Reservation) -> None:
        """Note a later expiry, or that no further call is to be made."""
        with self._lock:
            self._expires = self._when(reservation.expires_at)
            self.stopped = self.stopped or _is_ended(reservation)

    def _when(self, expires_at: datetime) -> float:
        return self._sent + (expires_at - self.lease.created_at).total_seconds()

    def _take(self, size: Size) -> Take:
        tokens = size.input_tokens + size.max_output_tokens
        return Take(tokens, tokens - size.cached_input_tokens, self._cost(size))

    def _cost(self, size: Size) -> Decimal:
        lease = self.lease
        if not size.announces_no_more(self._size):
            return Decimal("Infinity")  # the rates, and the fee in them, are those of what the lease announced
        if lease.price is not None:
            return hold_cost(lease.price, size, self._cache_write)
        # Without rates we know only what a call of the requested size costs at most: its share of what is held.
        if not size.is_within(self._size):
            return Decimal("Infinity")
        return (lease.held.cost or Decimal(0)) / max(lease.held.calls or 1, 1)


def _is_ended(grant: Grant) -> bool:
    return grant.state != "held" or grant.directive.stop
