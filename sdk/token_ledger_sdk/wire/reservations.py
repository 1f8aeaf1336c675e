"""Reservations (holds) on the wire: making, settling, extending and releasing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ..directives import NO_DIRECTIVE, Directive, Refusal
from ..providers import Usage
from .amounts import NO_AMOUNTS, Amounts
from .calls import Call, Scope, Use, call_body, settle_body
from .requests import ApiRequest, Operation, new_key, path_to, post

RESERVE = Operation("reserve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What the service granted, for one call or for many; `warnings` are soft or shadow limits that had no room.

    `without_price` names what the call announced and has no price: other kinds, which are held at the tenant's stand-in
    rates, if it has any, or "service_tier", which is held at the standard rates.
    """

    state: str
    created_at: datetime
    expires_at: datetime
    run_id: str | None
    held: Amounts = NO_AMOUNTS
    provider: str
    model: str
    directive: Directive = NO_DIRECTIVE
    warnings: tuple[Refusal, ...]
    replayed: bool
    without_price: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(Grant):
    """A hold for one call, as the service answered; `end_reason` is why it was released, if that was said.

    `price_id` is the entry of the price book by which it is held. After an extension, `stop` says why no further call
    should be made.
    """

    reservation_id: str
    end_reason: str | None = None
    price_id: str | None = None
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model by its provider's name and its own."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherUse:
    """How many of a kind a call used that few calls have, and their cost in US dollars, None if no rate is known.

    `assumed_price_id` is the price that the rate was assumed by, where the model has none for this kind: that of the
    hold, or the tenant's stand-in.
    """

    kind: str
    count: int
    cost: Decimal | None
    assumed_price_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherModel:
    """What was booked of another model within a call: its `cost` in US dollars is not in that of the settlement.

    `provider` and `model` are what it is called in the books.
    """

    event_id: str
    provider: str
    model: str
    cost: Decimal
    tokens: int
    unpriced: bool
    booked: bool
    price_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What was booked: `cost` in US dollars, whether it exceeded the hold (`overrun`) or followed its expiry (`late`).

    After a part, `remaining` is what the hold still sets aside; `stop` says why no further call should be made.
    `repetition` is what the service found under the response id: with "duplicate" the call was reported before, by
    another hold or process, as `earlier_event_id`; nothing was booked again (`booked` is False) and the cost is 0.
    `booked_model` is the model in the books, `requested` and `served` are what the reserve and the settle named.
    `others` are the kinds that few calls have, such as searches; `cost` has them. `other_models` are models that the
    provider called within this call, each with an event and a cost of its own. `price_id` is the entry of the price
    book, None where no price was known; `list_cost` is what the call costs everybody, None where that is `cost`.
    """

    reservation_id: str
    event_id: str
    state: str
    cost: Decimal
    tokens: int
    overrun: bool
    late: bool
    unpriced: bool
    clamped: bool
    replayed: bool
    part: bool = False
    remaining: Amounts | None = None
    stop: str | None = None
    booked: bool = True
    repetition: str | None = None
    earlier_event_id: str | None = None
    booked_model: ModelName | None = None
    requested: ModelName | None = None
    served: ModelName | None = None
    others: tuple[OtherUse, ...] = ()
    other_models: tuple[OtherModel, ...] = ()
    price_id: str | None = None
    list_cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part of a call's usage with the request that books it, kept so that a repetition sends the same bytes."""

    request: ApiRequest
    usage: Usage


def reserve_request(call: Call, scope: Scope) -> ApiRequest:
    """Build the request for a hold."""
    return post(path_to("reservations"), {"idempotency_key": new_key(), **call_body(call, scope)}, RESERVE)


def settle_request(reservation_id: str, use: Use) -> ApiRequest:
    """Build the request that books what a call used and ends its hold.

    The key is the one that the service itself would choose, so a settle that another process repeats with the same
    figures is answered, not booked twice.
    """
    body = {"idempotency_key": f"settle:{reservation_id}", **settle_body(use)}
    return _post_of(reservation_id, "settle", body)


def settle_part(reservation_id: str, use: Use) -> SentPart:
    """Build the request that books a part of what a call used; the hold stays."""
    body = {"idempotency_key": new_key(), "part": True, **settle_body(use)}
    return SentPart(_post_of(reservation_id, "settle", body), use.usage)


def extend_request(reservation_id: str, ttl_seconds: int) -> ApiRequest:
    """Build the request that lets a hold expire `ttl_seconds` from now, if that is later than before."""
    body = {"idempotency_key": new_key(), "ttl_seconds": ttl_seconds}
    return _post_of(reservation_id, "extend", body)


def release_request(reservation_id: str, reason: str | None = None) -> ApiRequest:
    """Build the request that ends a hold without booking anything."""
    body = {"idempotency_key": f"release:{reservation_id}", "reason": reason}
    return _post_of(reservation_id, "release", body)


def _post_of(reservation_id: str, verb: str, body: Mapping[str, object]) -> ApiRequest:
    operation = Operation(verb, ("reservation_id", reservation_id))
    return post(path_to("reservations", reservation_id, verb), body, operation)
