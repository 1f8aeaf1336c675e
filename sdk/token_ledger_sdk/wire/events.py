"""Usage events on the wire: calls that were made without a hold, reported afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal

from ..providers import Usage
from .fields import Fields
from .requests import ApiRequest, given, new_key, path_to, post

MAX_EVENTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One call that was made, within a run (`run_id`) or for a `user`.

    `source` and `idempotency_key` together identify the event for good: reporting it again books nothing.
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
    service_tier: str | None = None
    tags: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, object]:
        """Return the fields that are given, as the service takes them."""
        return given({each.name: getattr(self, each.name) for each in fields(self)} | {"usage": self.usage.to_json()})


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one event: `status` is booked, duplicate, quarantined, or conflict. `cost` in US dollars.

    A duplicate is a call that was booked before, as `earlier_event_id`, under another key; nothing was booked again.
    """

    status: str
    event_id: str | None
    quarantine_id: str | None
    cost: Decimal | None
    tokens: int | None
    replayed: bool
    code: str | None
    detail: str | None
    repetition: str | None = None
    earlier_event_id: str | None = None


def record_request(events: Sequence[UsageEvent]) -> ApiRequest:
    """Build the request that reports events; raises ValueError unless there are 1 to 256."""
    if not 1 <= len(events) <= MAX_EVENTS:
        raise ValueError(f"{len(events)} events: give 1 to {MAX_EVENTS} in one request")
    return post(path_to("events"), {"events": [event.to_json() for event in events]})


def read_recorded(answer: Fields) -> tuple[Recorded, ...]:
    """Read what became of the events, in the order in which they were sent."""
    return tuple(result.read(Recorded) for result in answer.children("results"))
