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

from token_ledger.core.budget import check_selector
from token_ledger.core.money import parse_money

# Anything printable; control characters (and NUL, which PostgreSQL can't store) are refused by name.
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
_LARGEST_TOKENS = 100_000_000
_LARGEST_LIMIT = 10**15

Name = Annotated[StrictStr, Field(min_length=1, max_length=200, pattern=_PRINTABLE)]
Key = Annotated[StrictStr, Field(min_length=1, max_length=200, pattern=_PRINTABLE)]


def _fits_an_id(text: str) -> str:
    if int(text) >= 2**63:
        raise ValueError(f"{text} is larger than any id")
    return text


Id = Annotated[StrictStr, Field(pattern=r"^[0-9]{1,19}$", examples=["4503599627370496"]), AfterValidator(_fits_an_id)]
Tokens = Annotated[StrictInt, Field(ge=0, le=_LARGEST_TOKENS)]


def _is_written_out(value: object) -> object:
    # Left alone, a number would be taken for seconds or for milliseconds, whichever looks likelier.
    if not (isinstance(value, str) and _RFC_3339.match(value)):
        raise ValueError("write an instant as RFC 3339 does, such as 2026-11-21T09:30:00Z")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_is_written_out)]


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

    tokens: Annotated[StrictInt, Field(ge=0, le=_LARGEST_LIMIT)] | None = None
    cost: Money | None = None
    calls: Annotated[StrictInt, Field(ge=0, le=_LARGEST_LIMIT)] | None = None


class ShareBody(Body):
    """One agent type's claim on a run's tokens."""

    agent_type: Name
    weight: Annotated[StrictInt, Field(ge=1, le=1_000_000)]
    minimum_tokens: Tokens = 0


class RunBody(Body):
    """Open a run."""

    idempotency_key: Key
    user: Name
    cost_center: Name = "unassigned"
    external_id: Name | None = None
    limits: LimitsBody = LimitsBody()
    allocation: Annotated[tuple[ShareBody, ...], Field(max_length=64)] = ()
    strict: StrictBool = False


class RunEndBody(Body):
    """Close or cancel a run."""

    idempotency_key: Key | None = None


Tags = Annotated[dict[Name, Name], Field(max_length=8)]


class ReservationBody(Body):
    """Ask for a hold."""

    idempotency_key: Key
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
    ttl_seconds: Annotated[StrictInt, Field(ge=1, le=86_400)] = 300
    tool: Name | None = None
    requires: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    tags: Tags = {}
    apply: tuple[Literal["model_downgrade", "aggressive_compression"], ...] = ()


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
    occurred_at: Instant | None = None
    outcome: Literal["ok", "error"] = "ok"
    estimated: StrictBool = False
    response_id: Name | None = None
    original_input_tokens: Tokens | None = None


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
    occurred_at: Instant | None = None
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


class BudgetBody(Body):
    """Set a limit for a selector per window."""

    idempotency_key: Key
    name: Name
    selector: Annotated[dict[Name, Name], Field(max_length=12), AfterValidator(lambda s: (check_selector(s), s)[1])]
    limits: LimitsBody
    window: Literal["day", "month", "run", "total"]
    enforcement: Literal["hard", "soft", "shadow"] = "hard"
    counts: Literal["all", "uncached"] = "all"


class DowngradeBody(Body):
    """One step down: which model may stand in for which, and what it can do."""

    provider: Name
    model: Name
    to_provider: Name
    to_model: Name
    capabilities: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    context_tokens: Annotated[StrictInt, Field(ge=1, le=_LARGEST_TOKENS)]


class TriggerBody(Body):
    """Set the trigger of a kind."""

    idempotency_key: Key
    kind: Literal["high_token_usage", "high_cost"]
    at_percent: Annotated[StrictInt, Field(ge=1, le=100)]
    mode: Literal["off", "observe", "apply"]
    per_call_tokens: Annotated[StrictInt, Field(ge=1, le=_LARGEST_LIMIT)] | None = None
    per_call_cost: Money | None = None
    downgrades: Annotated[tuple[DowngradeBody, ...], Field(max_length=64)] = ()


class ApiKeyBody(Body):
    """Make an API key."""

    role: Literal["agent", "finance", "admin"]
    name: Name


class TenantBody(Body):
    """Make a tenant."""

    name: Name
    time_zone: Name = "UTC"


Group = Literal["user", "agent_type", "model", "cost_center", "request_type"]
ReportInstant = Annotated[Instant, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))]
"""An instant that every zone and every database can show."""
