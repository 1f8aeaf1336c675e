"""Reservations on the wire: making, settling, releasing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NotRequired, Required, TypedDict, Unpack

from .amounts import Amounts
from .directives import Directive, Refusal
from .fields import Fields
from .usage import Usage
from .wire import ApiRequest, new_key, path_to, post, time_text


class Call(TypedDict):
    """What `reserve` is asked for: the LLM call that is about to be made.

    `input_tokens` is the whole prompt, `cached_input_tokens` the part of it expected from the provider's cache;
    `cache_write` says that the rest may be written to it, which costs more than plain input. `requires` names what a
    cheaper model must be able to do, `apply` the techniques this call switches on. `ttl_seconds` (300 unless given)
    is how long the hold lives without a settle.
    """

    agent_type: Required[str]
    provider: Required[str]
    model: Required[str]
    input_tokens: Required[int]
    max_output_tokens: Required[int]
    request_type: NotRequired[str]
    cached_input_tokens: NotRequired[int]
    cache_write: NotRequired[Literal["5m", "1h"] | None]
    ttl_seconds: NotRequired[int]
    tool: NotRequired[str]
    requires: NotRequired[Sequence[str]]
    tags: NotRequired[Mapping[str, str]]
    apply: NotRequired[Sequence[str]]
    idempotency_key: NotRequired[str]


class Actual(TypedDict, total=False):
    """What a settle may say besides the usage; the service knows provider and model from the hold."""

    provider: str
    model: str
    occurred_at: datetime
    outcome: str
    estimated: bool
    response_id: str
    original_input_tokens: int
    tool: str


@dataclass(frozen=True, slots=True)
class Use:
    """What a call used in all, and what else its settle says."""

    usage: Usage
    actual: Actual


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part of what a call uses, in the request that books it: whatever is lost, this and no other is repeated."""

    request: ApiRequest
    usage: Usage


@dataclass(frozen=True, slots=True)
class Reservation:
    """A hold as the service granted it; `warnings` are soft or shadow accounts that would have refused."""

    reservation_id: str
    state: str
    created_at: datetime
    expires_at: datetime
    run_id: str | None
    held: Amounts
    provider: str
    model: str
    directive: Directive
    warnings: tuple[Refusal, ...]
    replayed: bool

    @classmethod
    def parse(cls, fields: Fields) -> Reservation:
        return cls(
            reservation_id=fields.text("reservation_id"),
            state=fields.text("state"),
            created_at=fields.time("created_at"),
            expires_at=fields.time("expires_at"),
            run_id=fields.optional_text("run_id"),
            held=Amounts.parse(fields.optional_child("held")),
            provider=fields.text("provider"),
            model=fields.text("model"),
            directive=Directive.parse(fields.optional_child("directive")),
            warnings=tuple(Refusal.parse(item) for item in fields.children("warnings")),
            replayed=fields.flag("replayed"),
        )


@dataclass(frozen=True, slots=True)
class Settlement:
    """What was booked: `cost` in US dollars, and whether it exceeded the hold or came after its expiry.

    After a part, `remaining` is what the hold still sets aside; `stop` says why no further call should be made.
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

    @classmethod
    def parse(cls, fields: Fields) -> Settlement:
        return cls(
            reservation_id=fields.text("reservation_id"),
            event_id=fields.text("event_id"),
            state=fields.text("state"),
            cost=fields.money("cost"),
            tokens=fields.integer("tokens"),
            overrun=fields.flag("overrun"),
            late=fields.flag("late"),
            unpriced=fields.flag("unpriced"),
            clamped=fields.flag("clamped"),
            replayed=fields.flag("replayed"),
            part=fields.flag("part"),
            remaining=Amounts.parse(fields.child("remaining")) if fields.has("remaining") else None,
            stop=fields.optional_text("stop"),
        )


def call_body(
    *,
    agent_type: str,
    provider: str,
    model: str,
    input_tokens: int,
    max_output_tokens: int,
    run_id: str | None = None,
    user: str | None = None,
    cost_center: str | None = None,
    request_type: str | None = None,
    cached_input_tokens: int | None = None,
    cache_write: Literal["5m", "1h"] | None = None,
    ttl_seconds: int | None = None,
    tool: str | None = None,
    requires: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    apply: Sequence[str] | None = None,
    idempotency_key: str | None = None,
) -> dict[str, object]:
    """Return what is said of a call that is to be made, either within a run or for a user."""
    body: dict[str, object | None] = {
        "idempotency_key": idempotency_key,
        "run_id": run_id,
        "user": user,
        "cost_center": cost_center,
        "agent_type": agent_type,
        "request_type": request_type,
        "provider": provider,
        "model": model,
        "input_tokens": input_tokens,
        "max_output_tokens": max_output_tokens,
        "cached_input_tokens": cached_input_tokens,
        "cache_write": cache_write,
        "ttl_seconds": ttl_seconds,
        "tool": tool,
        "requires": None if requires is None else list(requires),
        "tags": None if tags is None else dict(tags),
        "apply": None if apply is None else list(apply),
    }
    return {name: value for name, value in body.items() if value is not None}


def reserve_request(
    call: Call, *, run_id: str | None = None, user: str | None = None, cost_center: str | None = None
) -> ApiRequest:
    """Build the request for a hold."""
    body = call_body(run_id=run_id, user=user, cost_center=cost_center, **call)
    return post(path_to("reservations"), {"idempotency_key": new_key(), **body})


def settle_body(
    usage: Usage,
    *,
    provider: str | None = None,
    model: str | None = None,
    occurred_at: datetime | None = None,
    outcome: str | None = None,
    estimated: bool = False,
    response_id: str | None = None,
    original_input_tokens: int | None = None,
    tool: str | None = None,
) -> dict[str, object]:
    """Return what is said of a call that was made."""
    body: dict[str, object | None] = {
        "usage": usage.to_json(),
        "provider": provider,
        "model": model,
        "occurred_at": None if occurred_at is None else time_text(occurred_at),
        "outcome": outcome,
        "estimated": True if estimated else None,
        "response_id": response_id,
        "original_input_tokens": original_input_tokens,
        "tool": tool,
    }
    return {name: value for name, value in body.items() if value is not None}


def settle_request(reservation_id: str, usage: Usage, **actual: Unpack[Actual]) -> ApiRequest:
    """Build the request that books what a call used.

    The key is the one the service would choose itself: a settle repeated by another process with the
    same figures is answered, not booked twice.
    """
    key = f"settle:{reservation_id}"
    return post(
        path_to("reservations", reservation_id, "settle"), {"idempotency_key": key, **settle_body(usage, **actual)}
    )


def new_part(reservation_id: str, usage: Usage, **actual: Unpack[Actual]) -> SentPart:
    """Make a part of what a call uses, with the request that books it; its hold stays."""
    body = {"idempotency_key": new_key(), "part": True, **settle_body(usage, **actual)}
    return SentPart(post(path_to("reservations", reservation_id, "settle"), body), usage)


def extend_request(reservation_id: str, ttl_seconds: int) -> ApiRequest:
    """Build the request that lets a hold expire so many seconds from now, if that is later."""
    body = {"idempotency_key": new_key(), "ttl_seconds": ttl_seconds}
    return post(path_to("reservations", reservation_id, "extend"), body)


def release_request(reservation_id: str, reason: str | None = None) -> ApiRequest:
    """Build the request that ends a hold with nothing."""
    key = f"release:{reservation_id}"
    return post(path_to("reservations", reservation_id, "release"), {"idempotency_key": key, "reason": reason})
