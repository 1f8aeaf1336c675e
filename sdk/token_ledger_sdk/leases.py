"""Leases: a hold for many calls, from which calls are admitted in this process, without asking the service.

Pure: what is left of a lease is counted here, requests are sent elsewhere. Nothing is ever admitted that the lease
does not cover: what a call may take is counted from its admission until the service has booked it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal

from .amounts import Amounts
from .directives import Directive, Refusal
from .fields import Fields
from .reservations import Call, Reservation, call_body
from .usage import Usage
from .wire import ApiRequest, new_key, path_to, post

MAX_OPERATIONS = 256
SKEW_SECONDS = 1.0
"""How much earlier than the service a client takes a lease for expired: clocks run at slightly different rates."""

_MILLION = Decimal(1_000_000)
_NANO_DOLLAR = Decimal("0.000000001")
_EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Size:
    """What one call may take: its whole input, the part of it expected from a cache, the most it may answer.

    Raises ValueError for less than nothing, or for more from the cache than there is: such a call would give a lease
    more than it has.
    """

    input_tokens: int
    max_output_tokens: int
    cached_input_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "max_output_tokens", "cached_input_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give 0 or more")
        if self.cached_input_tokens > self.input_tokens:
            raise ValueError(
                f"cached_input_tokens is {self.cached_input_tokens}, but the whole input is {self.input_tokens}"
            )


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per million tokens of each kind."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    reasoning: Decimal


@dataclass(frozen=True, slots=True)
class LeasePrice:
    """The rates that calls on a lease are counted by; a tier begins above a number of input tokens."""

    tiers: tuple[tuple[int, Rates], ...]

    @classmethod
    def parse(cls, price: Fields) -> LeasePrice:
        tiers = (
            (tier.integer("above_input_tokens"), Rates(*(tier.money(field.name) for field in fields(Rates))))
            for tier in price.children("tiers")
        )
        return cls(tuple(sorted(tiers, key=lambda tier: tier[0])))

    def hold_cost(self, size: Size, cache_write: str | None = None) -> Decimal:
        """Return the most that a call can cost if the cache is hit as expected, in dollars, as the service counts."""
        rates = self.tiers[0][1]
        for above, higher in self.tiers[1:]:
            if size.input_tokens > above:
                rates = higher
        write = {None: rates.input, "5m": rates.cache_write_5m, "1h": rates.cache_write_1h}[cache_write]
        return (
            _cost(size.input_tokens - size.cached_input_tokens, max(rates.input, write))
            + _cost(size.cached_input_tokens, rates.cache_read)
            + _cost(size.max_output_tokens, max(rates.output, rates.reasoning))
        )


def _cost(tokens: int, rate: Decimal) -> Decimal:
    dollars = _EXACT.divide(_EXACT.multiply(tokens, rate), _MILLION)
    return dollars.quantize(_NANO_DOLLAR, ROUND_HALF_EVEN, _EXACT)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as the service granted it: `held` is for `calls` calls of the size that was asked for."""

    lease_id: str
    state: str
    created_at: datetime
    expires_at: datetime
    run_id: str | None
    calls: int
    held: Amounts
    provider: str
    model: str
    price: LeasePrice | None
    directive: Directive
    warnings: tuple[Refusal, ...]
    replayed: bool

    @classmethod
    def parse(cls, answer: Fields) -> Lease:
        price = answer.optional_child("price")
        return cls(
            lease_id=answer.text("lease_id"),
            state=answer.text("state"),
            created_at=answer.time("created_at"),
            expires_at=answer.time("expires_at"),
            run_id=answer.optional_text("run_id"),
            calls=answer.integer("calls"),
            held=Amounts.parse(answer.child("held")),
            provider=answer.text("provider"),
            model=answer.text("model"),
            price=None if price is None else LeasePrice.parse(price),
            directive=Directive.parse(answer.optional_child("directive")),
            warnings=tuple(Refusal.parse(item) for item in answer.children("warnings")),
            replayed=answer.flag("replayed"),
        )


@dataclass(frozen=True, slots=True)
class Take:
    """What a call takes of a lease, at most or really; `uncached` is tokens less those read from a cache."""

    tokens: int
    uncached: int
    cost: Decimal
    calls: int = 1

    def __add__(self, other: Take) -> Take:
        return Take(
            self.tokens + other.tokens, self.uncached + other.uncached, self.cost + other.cost, self.calls + other.calls
        )

    def __sub__(self, other: Take) -> Take:
        return Take(
            self.tokens - other.tokens, self.uncached - other.uncached, self.cost - other.cost, self.calls - other.calls
        )

    @property
    def fits(self) -> bool:
        """Whether what is left is not less than nothing."""
        return min(self.tokens, self.uncached, self.calls) >= 0 and self.cost >= 0


@dataclass(frozen=True, slots=True)
class Part:
    """One call on a lease that is to be booked: the operation as it is sent (JSON), every time the same.

    `bare` is the same with nothing but what was used and when, None if this is that one: what only describes the call
    must not keep it out of the books.
    """

    operation: str
    usage: Usage
    admitted: Take
    bare: str | None


class LeaseBook:
    """What is left of one lease, and what of it is to be booked; any number of threads may use it.

    `sent` is when the request for the lease was first sent, on a monotonic clock (seconds): the lease can't have been
    granted earlier, so it can't have expired so many seconds later as it was granted for. `heard` is when the service
    last answered about this lease.
    """

    def __init__(self, lease: Lease, shape: Size, cache_write: str | None, *, sent: float, heard: float) -> None:
        self.lease = lease
        self.heard = heard
        self.retired = False
        self._shape = shape
        self._cache_write = cache_write
        self._sent = sent
        self._expires = self._when(lease.expires_at)
        self._lock = threading.Lock()
        held, uncached = lease.held, shape.input_tokens - shape.cached_input_tokens + shape.max_output_tokens
        calls = held.calls or 0
        self._left = Take(held.tokens or 0, calls * uncached, held.cost or Decimal(0), calls)
        self._parts: list[Part] = []
        self._in_flight = 0
        self._sending = 0
        self.stopped = lease.state != "held" or lease.directive.stop

    @property
    def left(self) -> Take:
        """What calls may still take: what is held, less what is under way and what is booked."""
        with self._lock:
            return self._left

    @property
    def unsent(self) -> int:
        """How many calls have ended and wait to be sent."""
        with self._lock:
            return len(self._parts)

    @property
    def waiting(self) -> int:
        """How many calls have ended and are not booked yet."""
        with self._lock:
            return len(self._parts) + self._sending

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way or waits to be booked, so that the lease may be given back."""
        with self._lock:
            return not (self._parts or self._sending or self._in_flight)

    def bears(self, size: Size) -> bool:
        """Whether a call of a size has room."""
        return (self.left - self._take(size)).fits

    def lasts(self, until: float) -> bool:
        """Whether a call may be made that ends by an instant of the monotonic clock, as far as time and stops go."""
        return not self.stopped and until + SKEW_SECONDS < self._expires

    def admit(self, size: Size, until: float) -> Take | None:
        """Admit a call that may last until an instant of the monotonic clock; None where the lease can't bear it."""
        taken = self._take(size)
        with self._lock:
            left = self._left - taken
            if not left.fits or not self.lasts(until):
                return None
            self._left = left
            self._in_flight += 1
        return taken

    def give_back(self, admitted: Take) -> None:
        """End a call with nothing, because the provider surely did not run."""
        with self._lock:
            self._left += admitted
            self._in_flight -= 1

    def settle(self, admitted: Take, usage: Usage, body: Mapping[str, object]) -> None:
        """Let a call that was made wait to be booked; raises what encoding its figures as JSON raises."""
        operation = {"op": "settle", "reservation_id": self.lease.lease_id, "part": True, "idempotency_key": new_key()}
        kept = {name: body[name] for name in ("usage", "occurred_at", "estimated", "outcome") if name in body}
        part = Part(_json({**body, **operation}), usage, admitted, _json({**kept, **operation}))
        with self._lock:
            self._parts.append(part)
            self._in_flight -= 1

    def take_parts(self) -> list[Part]:
        """Return what waits, to be sent; every part is to be booked, put back or dropped afterwards."""
        with self._lock:
            parts = self._parts[:MAX_OPERATIONS]
            del self._parts[:MAX_OPERATIONS]
            self._sending += len(parts)
            return parts

    def put_back(self, parts: Sequence[Part]) -> None:
        """Let parts wait again that were not answered."""
        with self._lock:
            self._parts[:0] = parts
            self._sending -= len(parts)

    def booked(self, part: Part, cost: Decimal) -> None:
        """Count what a call really took, in place of what it might have."""
        usage = part.usage
        tokens = usage.input_tokens + usage.output_tokens
        real = Take(tokens, tokens - min(usage.cache_read_tokens, usage.input_tokens), cost)
        with self._lock:
            self._left += part.admitted - real
            self._sending -= 1

    def dropped(self) -> None:
        """Forget a part that the service refused; what it might have taken stays counted."""
        with self._lock:
            self._sending -= 1

    def stop(self) -> None:
        """Admit nothing more."""
        with self._lock:
            self.stopped = True

    def extended(self, reservation: Reservation) -> None:
        """Take note of a later expiry, or that no further call is to be made."""
        with self._lock:
            self._expires = self._when(reservation.expires_at)
            self.stopped = self.stopped or reservation.state != "held" or reservation.directive.stop

    def _when(self, expires_at: datetime) -> float:
        return self._sent + (expires_at - self.lease.created_at).total_seconds()

    def _take(self, size: Size) -> Take:
        tokens = size.input_tokens + size.max_output_tokens
        if self.lease.price is None:
            # Without rates only calls no larger than the lease was asked for can be counted: each as one of its size.
            if not _within(size, self._shape):
                return Take(tokens, tokens, Decimal("Infinity"))
            cost = (self.lease.held.cost or Decimal(0)) / max(self.lease.held.calls or 1, 1)
        else:
            cost = self.lease.price.hold_cost(size, self._cache_write)
        return Take(tokens, tokens - size.cached_input_tokens, cost)


def _within(size: Size, shape: Size) -> bool:
    return (
        size.input_tokens <= shape.input_tokens
        and size.max_output_tokens <= shape.max_output_tokens
        and size.input_tokens - size.cached_input_tokens <= shape.input_tokens - shape.cached_input_tokens
    )


def lease_request(
    call: Call, *, calls: int, user: str | None, cost_center: str | None, run_id: str | None
) -> ApiRequest:
    """Build the request for a lease for up to so many calls of a size; every lease has a key of its own."""
    if calls < 1:
        raise ValueError(f"a lease is for one call or more, not for {calls}")
    body = call_body(user=user, cost_center=cost_center, run_id=run_id, **call)
    return post(path_to("leases"), {**body, "idempotency_key": new_key(), "calls": calls})


def operations_request(parts: Sequence[Part]) -> ApiRequest:
    """Build the request that books calls on leases, at most 256."""
    operations = ", ".join(part.operation for part in parts)
    return ApiRequest("POST", path_to("operations"), f'{{"operations": [{operations}]}}'.encode())


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, allow_nan=False)
