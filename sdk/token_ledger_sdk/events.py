"""Usage events on the wire: calls that were made without a hold, reported afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from .fields import Fields
from .usage import Usage
from .wire import ApiRequest, new_key, path_to, post, time_text

MAX_EVENTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One call that was made; within a run (`run_id`) or for a `user`.

    `source` and `idempotency_key` identify the event for ever: reporting it again books nothing.
    """

    source: str
    agent_type: str
    provider: str
    model: str
    usage: Usage
    idempotency_key: str = field(default_factory=new_key)
    run_id: str | None = None
    user: str | None = None
    cost_center: str | None = None
    request_type: str | None = None
    occurred_at: datetime | None = None
    outcome: str | None = None
    estimated: bool = False
    response_id: str | None = None
    tool: str | None = None
    tags: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, object]:
        values: dict[str, object] = {
            "source": self.source,
            "idempotency_key": self.idempotency_key,
            "run_id": self.run_id,
            "user": self.user,
            "cost_center": self.cost_center,
            "agent_type": self.agent_type,
            "request_type": self.request_type,
            "provider": self.provider,
            "model": self.model,
            "usage": self.usage.to_json(),
            "occurred_at": None if self.occurred_at is None else time_text(self.occurred_at),
            "outcome": self.outcome,
            "estimated": True if self.estimated else None,
            "response_id": self.response_id,
            "tool": self.tool,
            "tags": None if self.tags is None else dict(self.tags),
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one event: `status` is booked, quarantined, or conflict. `cost` in US dollars."""

    status: str
    event_id: str | None
    quarantine_id: str | None
    cost: Decimal | None
    tokens: int | None
    replayed: bool
    code: str | None
    detail: str | None

    @classmethod
    def parse(cls, fields: Fields) -> Recorded:
        return cls(
            status=fields.text("status"),
            event_id=fields.optional_text("event_id"),
            quarantine_id=fields.optional_text("quarantine_id"),
            cost=fields.optional_money("cost"),
            tokens=fields.optional_integer("tokens"),
            replayed=fields.flag("replayed"),
            code=fields.optional_text("code"),
            detail=fields.optional_text("detail"),
        )


def record_request(events: Sequence[UsageEvent]) -> ApiRequest:
    """Build the request that reports events; from 1 to 256 of them."""
    if not 1 <= len(events) <= MAX_EVENTS:
        raise ValueError(f"{len(events)} events: from 1 to {MAX_EVENTS} go into one request")
    return post(path_to("events"), {"events": [event.to_json() for event in events]})


def parse_results(fields: Fields) -> tuple[Recorded, ...]:
    """Read what became of the events, in the order they were sent."""
    return tuple(Recorded.parse(item) for item in fields.children("results"))
