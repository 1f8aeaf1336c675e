"""Admits calls from a lease in this process, without asking the service, and keeps those that are to be booked.

Nothing is admitted that the lease does not cover: the most that a call may take is subtracted when it is admitted, and
replaced by what it really took only once the service has booked it.
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime
from decimal import Decimal
from math import inf

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
_NOTHING = Take(0, 0, Decimal(0), 0)
_LONGEST_REASON = 200
"""As many characters as the service keeps of a reason."""


class LeaseBook:
    """What is left of one lease, and which ended calls are to be booked; safe to use from any number of threads.

    Times are seconds of a monotonic clock. `sent` is when the request for the lease was first sent: the service can't
    have granted it earlier, so it lasts at least its lifetime from then on. `heard` is when the service last answered
    about this lease. `size` is what one of its calls was said to take, in the request, and `call` what is said of each
    to a service that does not know the lease any more (JSON text). What the lease says of its calls is too old for one
    that is to end after `until`.
    """

    def __init__(
        self,
        lease: Lease,
        size: Size,
        cache_write: str | None,
        *,
        sent: float,
        heard: float,
        call: str = "{}",
        until: float = inf,
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
        self._until = until
        self._lock = threading.Lock()
        self._usual_cost = self._cost_of(size)
        self._whole = self._left = self._held(lease)
        self._gone = _NOTHING
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

    @property
    def size(self) -> Size:
        """What a call was said to take when the lease was asked for."""
        return self._size

    @property
    def in_flight(self) -> int:
        """How many calls are in progress."""
        return self._in_flight

    def covers(self, size: Size) -> bool:
        """Whether enough is left for a call of this size."""
        return (self.left - self._take(size)).fits

    def lasts(self, until: float, *, at_any_age: bool = False) -> bool:
        """Whether the lease is not stopped, and does not expire before a call that ends at `until`.

        It must not be outdated for that call either, unless `at_any_age`.
        """
        if self.stopped or until + SKEW_SECONDS >= self._expires:
            return False
        return at_any_age or not self.is_outdated(until)

    def is_outdated(self, until: float) -> bool:
        """Whether what the lease says of its calls is too old for one that ends at `until`, however long it lasts."""
        return until >= self._until

    def admit(self, size: Size, until: float, *, at_any_age: bool = False) -> Take | None:
        """Admit a call that ends at `until` at the latest; None if the lease does not cover it, or does not last."""
        taken = self._take(size)
        with self._lock:
            left = self._left - taken
            # What is retired may be given back at any moment: whoever does that looks whether it is idle afterwards.
            if not left.fits or not self.lasts(until, at_any_age=at_any_age) or self.retired:
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
        with self._lock:
            self._in_flight -= 1
            self._waiting += 1
            lease_id = self.lease.lease_id  # not traded while a call waits
        try:
            operation = {"op": "settle", "reservation_id": lease_id, "part": True, "idempotency_key": new_key()}
            return Record(json_text({**operation, **settle_body(use)}), self._call)
        except BaseException:
            with self._lock:
                self._in_flight += 1
                self._waiting -= 1
            raise

    def booked(self, admitted: Take, usage: Usage, cost: Decimal) -> None:
        """Count what a call really took in place of what it was admitted for."""
        took = used(usage, cost)
        with self._lock:
            self._left += admitted - took
            self._gone += took
            self._waiting -= 1

    def dropped(self, admitted: Take) -> None:
        """Forget a call that is not booked; what it was admitted for stays subtracted."""
        with self._lock:
            self._gone += admitted
            self._waiting -= 1

    def trade(self, lease: Lease, *, sent: float) -> str:
        """Let calls in progress be those of another lease; returns the id of the one that no call is of any more.

        That is the other one if it does not cover them, or has another model or other rates; if none is in progress any
        more; or if calls wait, which are booked on the lease that they were admitted from.
        """
        with self._lock:
            in_progress = self._whole - self._left - self._gone
            whole = self._held(lease)
            is_alike = (lease.provider, lease.model, lease.price) == (
                self.lease.provider, self.lease.model, self.lease.price,
            )  # fmt: skip
            if self._waiting or not self._in_flight or not is_alike or _is_ended(lease):
                return lease.lease_id
            if not (whole - in_progress).fits:
                return lease.lease_id
            old, self.lease = self.lease.lease_id, lease
            self._whole, self._left, self._gone = whole, whole - in_progress, _NOTHING
            self._sent, self._expires = sent, sent + (lease.expires_at - lease.created_at).total_seconds()
        return old

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

    def _held(self, lease: Lease) -> Take:
        calls, uncached = lease.held.calls or 0, self._size.uncached_input_tokens + self._size.max_output_tokens
        return Take(lease.held.tokens or 0, calls * uncached, lease.held.cost or Decimal(0), calls)

    def _when(self, expires_at: datetime) -> float:
        return self._sent + (expires_at - self.lease.created_at).total_seconds()

    def _take(self, size: Size) -> Take:
        tokens = size.input_tokens + size.max_output_tokens
        return Take(tokens, tokens - size.cached_input_tokens, self._cost(size))

    def _cost(self, size: Size) -> Decimal:
        if size == self._size:
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
