"""Owns the wire format of requests: strict bodies, no unknown fields, money as decimal strings.

Ids travel as strings of digits, because they outgrow the integers of JavaScript.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
)  # fmt: skip

from token_ledger.core.money import parse_money

# Anything printable; control characters (and NUL, which PostgreSQL can't store) are refused by name.
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
LARGEST_TOKENS = 100_000_000
LARGEST_LIMIT = 10**15

Name = Annotated[StrictStr, Field(min_length=1, max_length=200, pattern=_PRINTABLE)]
Key = Annotated[StrictStr, Field(min_length=1, max_length=200, pattern=_PRINTABLE)]


def _fits_an_id(text: str) -> str:
    if int(text) >= 2**63:
        raise ValueError(f"{text} is larger than any id")
    return text


Id = Annotated[StrictStr, Field(pattern=r"^[0-9]{1,19}$", examples=["4503599627370496"]), AfterValidator(_fits_an_id)]
Tokens = Annotated[StrictInt, Field(ge=0, le=LARGEST_TOKENS)]


def _is_written_out(value: object) -> object:
    # Left alone, a number would be taken for seconds or for milliseconds, whichever looks likelier.
    if not (isinstance(value, str) and _RFC_3339.match(value)):
        raise ValueError("write an instant as RFC 3339 does, such as 2026-11-21T09:30:00Z")
    return value


ClaimedInstant = Annotated[AwareDatetime, BeforeValidator(_is_written_out)]
"""What a caller's clock says; however wrong it is, the call is booked, or quarantined, and not lost."""
Instant = Annotated[ClaimedInstant, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))]
"""An instant that every zone and every database can show."""


def _is_money(text: str) -> str:
    if parse_money(text) < 0:
        raise ValueError(f"{text!r} is negative")
    return text


Money = Annotated[
    StrictStr, Field(max_length=30, pattern=r"^[0-9]+(\.[0-9]+)?$", examples=["12.50"]), AfterValidator(_is_money)
]


class Body(BaseModel):
    """A request body: fields that it does not name are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitsBody(Body):
    """The most that may be held and settled; what is left out has no limit."""

    tokens: Annotated[StrictInt, Field(ge=0, le=LARGEST_LIMIT)] | None = None
    cost: Money | None = None
    calls: Annotated[StrictInt, Field(ge=0, le=LARGEST_LIMIT)] | None = None


class ShareBody(Body):
    """One agent type's claim on a run's tokens."""

    agent_type: Name
    weight: Annotated[StrictInt, Field(ge=1, le=1_000_000)]
    minimum_tokens: Tokens = 0


class RunBody(Body):
    """Open a run, or a part of one: a sub-run takes user and cost center from its parent."""

    idempotency_key: Key
    user: Name | None = None
    cost_center: Name | None = None
    external_id: Name | None = None
    limits: LimitsBody = LimitsBody()
    iterations: Annotated[StrictInt, Field(ge=0, le=LARGEST_LIMIT)] | None = None
    preset: Literal["job", "open_end"] | None = None
    allocation: Annotated[tuple[ShareBody, ...], Field(max_length=64)] = ()
    strict: StrictBool = False
    parent_run_id: Id | None = None
    attach: StrictBool = False


class StepBody(Body):
    """Begin another iteration of a run."""

    idempotency_key: Key
    label: Name | None = None


class RebalanceBody(Body):
    """Split anew what a run has available."""

    idempotency_key: Key
    allocation: Annotated[tuple[ShareBody, ...], Field(min_length=1, max_length=64)]


class RunChangeBody(Body):
    """Set a run's limits anew; what is left out stays."""

    idempotency_key: Key
    reason: Name
    limits: LimitsBody = LimitsBody()
    iterations: Annotated[StrictInt, Field(ge=0, le=LARGEST_LIMIT)] | None = None


class RunEndBody(Body):
    """Close or cancel a run."""

    idempotency_key: Key | None = None


Tags = Annotated[dict[Name, Name], Field(max_length=8)]


class CallBody(Body):
    """A call that is to be made."""

    agent_type: Name
    provider: Name
    model: Name
    input_tokens: Tokens
    max_output_tokens: Tokens
    run_id: Id | None = None
    user: Name | None = None
    cost_center: Name | None = None
    request_type: Name = "chat"
    cached_input_tokens: Tokens = 0
    cache_write: Literal["5m", "1h"] | None = None
    tool: Name | None = None
    requires: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    tags: Tags = {}
    apply: tuple[Literal["model_downgrade", "aggressive_compression"], ...] = ()


Seconds = Annotated[StrictInt, Field(ge=1, le=86_400)]


class ReservationBody(CallBody):
    """Ask for a hold."""

    idempotency_key: Key
    ttl_seconds: Seconds = 300


class LeaseBody(ReservationBody):
    """Ask for a lease: a hold for up to so many calls of this size."""

    calls: Annotated[StrictInt, Field(ge=1, le=100_000)]


class PlannedCallBody(CallBody):
    """So many calls of this size that may come."""

    count: Annotated[StrictInt, Field(ge=1, le=1_000)] = 1


class PreflightBody(Body):
    """Ask whether calls would fit, one after the other; nothing is held."""

    calls: Annotated[tuple[PlannedCallBody, ...], Field(min_length=1, max_length=64)]


class ExtensionBody(Body):
    """Let a hold expire so many seconds from now, if that is later."""

    idempotency_key: Key
    ttl_seconds: Seconds


class ForceReleaseBody(Body):
    """End a hold whose client is believed dead."""

    idempotency_key: Key
    reason: Name


class UsageBody(Body):
    """What a call used; `input_tokens` is the whole prompt, `output_tokens` includes reasoning."""

    input_tokens: Tokens
    output_tokens: Tokens
    cache_read_tokens: Tokens = 0
    cache_write_5m_tokens: Tokens = 0
    cache_write_1h_tokens: Tokens = 0
    reasoning_tokens: Tokens = 0


class SettlementBody(Body):
    """End a hold with the actual use."""

    usage: UsageBody
    idempotency_key: Key | None = None
    provider: Name | None = None
    model: Name | None = None
    occurred_at: ClaimedInstant | None = None
    outcome: Literal["ok", "error"] = "ok"
    estimated: StrictBool = False
    response_id: Name | None = None
    original_input_tokens: Tokens | None = None
    part: StrictBool = False
    tool: Name | None = None


class ReleaseBody(Body):
    """End a hold with nothing."""

    idempotency_key: Key | None = None
    reason: Name | None = None


class EventBody(Body):
    """A call that had no hold."""

    source: Name
    idempotency_key: Key
    agent_type: Name
    provider: Name
    model: Name
    usage: UsageBody
    run_id: Id | None = None
    user: Name | None = None
    cost_center: Name | None = None
    request_type: Name = "chat"
    occurred_at: ClaimedInstant | None = None
    outcome: Literal["ok", "error"] = "ok"
    estimated: StrictBool = False
    response_id: Name | None = None
    tool: Name | None = None
    tags: Tags = {}


class EventsBody(Body):
    """Calls that had no hold, each an EventBody; one that is not fails alone, so they are read one by one."""

    events: Annotated[
        tuple[Any, ...],
        Field(min_length=1, max_length=256, json_schema_extra={"items": {"$ref": "#/components/schemas/EventBody"}}),
    ]


class OperationsBody(Body):
    """Operations of callers, each a body with its `op`; one that is malformed fails alone."""

    operations: Annotated[tuple[Any, ...], Field(min_length=1, max_length=256)]


Group = Literal["user", "agent_type", "model", "cost_center", "request_type"]
