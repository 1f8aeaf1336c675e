"""Events on the wire: calls of models and tools, and cache hits, reported afterwards, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from ..errors import InvalidAnswer
from ..providers import Usage
from .calls import Measured, check_names
from .fields import Fields
from .requests import ApiRequest, given, json_text, money_text, new_key, path_to
from .reservations import OtherModel

MAX_EVENTS = 1_000
"""The most events that the service takes in one request."""
MAX_BYTES = 1_000_000
"""The most bytes of events in one request of several: a service takes 1,048,576 unless it is told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedEvent:
    """What every event says of itself: whose it is, within a run (`run_id`) or of a `user`, and what was `measured`.

    `source` and `idempotency_key` together identify the event for good: reporting it again books nothing.
    """

    TYPE: ClassVar[str]

    source: str
    agent_type: str
    idempotency_key: str = field(default_factory=new_key)
    run_id: str | None = None
    user: str | None = None
    cost_center: str | None = None
    request_type: str | None = None
    occurred_at: datetime | None = None
    estimated: bool = False
    tags: Mapping[str, str] | None = None
    measured: Measured | None = None

    def to_json(self) -> dict[str, object]:
        """Return the fields that are given, as the service takes them."""
        check_names(self.measured or {}, Measured)
        said = {each.name: _value(each.name, getattr(self, each.name)) for each in fields(self)}
        return given({"type": self.TYPE, **said})


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent(ReportedEvent):
    """One call of a model that was made, with what it used."""

    TYPE = "llm_call"

    provider: str
    model: str
    usage: Usage
    outcome: str | None = None
    response_id: str | None = None
    tool: str | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseEvent(ReportedEvent):
    """One call of a model that was made, with the provider's response as it came; the service reads what it used.

    `body` is the response as JSON, as text or as an object of the provider's SDK, or its whole stream: the text of its
    server-sent events, or a list of its chunks. The service keeps nothing of it but counts, names and its id. `model`
    is needed only where the response does not name its own, `service_tier` only where it does not say it.
    """

    TYPE = "llm_call"

    provider: str
    body: object
    model: str | None = None
    outcome: str | None = None
    tool: str | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall(ReportedEvent):
    """One call of a tool, which counts no call of a model; how long it took is `measured={"latency_ms": …}`.

    `cost` is in US dollars. Without it the call costs what the model does that the tool used, with `provider`, `model`
    and `usage`, or nothing. `outcome` is "ok" or "error".
    """

    TYPE = "tool_call"

    tool: str
    tool_source: str | None = None
    outcome: str | None = None
    from_cache: bool = False
    cost: Decimal | None = None
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheHit(ReportedEvent):
    """An answer that came from a cache of yours; it costs nothing. `usage` is what the call would have used."""

    TYPE = "cache_hit"

    provider: str
    model: str
    usage: Usage
    tool: str | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one event: `status` is booked, duplicate, quarantined, conflict, or refused.

    A duplicate is a call that was booked before, as `earlier_event_id`, under another key; nothing was booked again.
    What was not booked has a `code` and a `detail`, and the `field` at fault if one is; quarantined and conflict are
    kept as `quarantine_id`, of what is refused nothing is. `unpriced`: no price of all of it is known; `clamped`: its
    counts contradicted each other and were cut to fit. `cost`, `list_cost` and `saved` (by a cache hit) are in US
    dollars, by `price_id`, the entry of the price book. `other_models` are models that the provider called within the
    call, booked besides. `replayed`: its key was used before for the same event.
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
    field: str | None = None
    unpriced: bool = False
    clamped: bool = False
    list_cost: Decimal | None = None
    saved: Decimal | None = None
    other_models: tuple[OtherModel, ...] = ()
    price_id: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A request that reports so many events."""

    request: ApiRequest
    events: int

    def read(self, answer: Fields) -> tuple[Recorded, ...]:
        """Read what became of the events, in the order in which they were sent."""
        results = tuple(result.read(Recorded) for result in answer.children("results"))
        if len(results) != self.events:
            raise InvalidAnswer(f"answer.results has {len(results)} items for {self.events} events")
        return results


def reports(events: Iterable[ReportedEvent]) -> list[Report]:
    """Build the requests that report events, in their order, each of at most 1,000 events and about a megabyte.

    Raises TypeError or ValueError for an event that a request can't carry, before anything is sent.
    """
    batches: list[list[bytes]] = []
    size = 0
    for text in (json_text(event.to_json()).encode() for event in events):
        if not batches or len(batches[-1]) == MAX_EVENTS or size + len(text) > MAX_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text) + 1  # the comma
    return [Report(_request(batch), len(batch)) for batch in batches]


def _request(texts: list[bytes]) -> ApiRequest:
    return ApiRequest("POST", path_to("usage"), b'{"events":[' + b",".join(texts) + b"]}")


def _value(name: str, value: Any) -> object:
    if name == "cost" and value is not None:
        return money_text(value)
    if isinstance(value, Usage):
        return value.to_json()
    return value.decode() if isinstance(value, bytes) else value
