"""Admits calls from a lease in this process, without asking the service, and keeps those that are to be booked.

Nothing is admitted that the lease does not cover: the most that a call may take is subtracted when it is admitted, and
replaced by what it really took only once the service has booked it.
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime
from decimal import Decimal

from ..providers import Usage
from ..spool.lines import Record
from ..wire.calls import Use, settle_body
from ..wire.leases import Lease
from ..wire.requests import json_text, new_key
from ..wire.reservations import Grant, Reservation
from .sizes import Size, Take, hold_cost, used
from .terms import SKEW_SECONDS

NOT_NEEDED = "not needed"
"""Why a lease is released, in short."""
_LONGEST_REASON = 200
"""As many characters as the service keeps of a reason."""


class LeaseBook:
    """What is left of one lease, and which ended calls are to be booked; safe to use from any number of threads.

    Times are seconds of a monotonic clock. `sent` is when the request for the lease was first sent: the service can't
    have granted it earlier, so it lasts at least its lifetime from then on. `heard` is when the service last answered
    about this lease. `size` is what one of its calls was said to take, in the request, and `call` what is said of each
    to a service that does not know the lease any more (JSON text).
    """

    def __init__(
        self, lease: Lease, size: Size, cache_write: str | None, *, sent: float, heard: float, call: str = "{}"
    ) -> None:
        self.lease = lease
        self.heard = heard
        self.retired = False
        self.stopped = _is_ended(lease)
        self._size = size
        self._call = call
        self._cache_write = cache_write
        self._sent = sent
        self._expires = self._when(lease.expires_at)
        self._lock = threading.Lock()
        self._usual_cost = self._cost_of(size)
        calls, uncached = lease.held.calls or 0, size.uncached_input_tokens + size.max_output_tokens
        self._left = Take(lease.held.tokens or 0, calls * uncached, lease.held.cost or Decimal(0), calls)
        self._in_flight = 0
        self._latest_end = 0.0
        self._waiting = 0
        self._reasons: Counter[str] = Counter()

    @property
    def left(self) -> Take:
        """What calls may still take: what is held, less calls in progress and booked calls."""
        with self._lock:
            return self._left

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        return self._waiting

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress or waits to be booked, so that the lease may be released."""
        with self._lock:
            return not (self._waiting or self._in_flight)

    def is_used(self, now: float, longest_seconds: float) -> bool:
        """Whether calls are in progress, none of which is taken to hang: so long after the latest was to end."""
        return self._in_flight > 0 and not self.stopped and now <= self._latest_end + longest_seconds

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
            self._latest_end = until
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

    def settle(self, admitted: Take, use: Use) -> Record:
        """End a call that was made; returns what books it. Raises TypeError or ValueError if it can't be sent.

        Say then that it was `booked` or `dropped`.
        """
        operation = {"op": "settle", "reservation_id": self.lease.lease_id, "part": True, "idempotency_key": new_key()}
        record = Record(json_text({**operation, **settle_body(use)}), self._call)
        with self._lock:
            self._in_flight -= 1
            self._waiting += 1
        return record

    def booked(self, admitted: Take, usage: Usage, cost: Decimal) -> None:
        """Count what a call really took in place of what it was admitted for."""
        with self._lock:
            self._left += admitted - used(usage, cost)
            self._waiting -= 1

    def dropped(self) -> None:
        """Forget a call that is not booked; what it was admitted for stays subtracted."""
        with self._lock:
            self._waiting -= 1

    def stop(self) -> None:
        """Admit no more calls."""
        with self._lock:
            self.stopped = True

    @property
    def expires(self) -> float:
        """When the lease ends, at the earliest."""
        return self._expires

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
        if size is self._size:
            return self._usual_cost
        return self._cost_of(size)

    def _cost_of(self, size: Size) -> Decimal:
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
