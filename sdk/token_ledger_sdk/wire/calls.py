"""What a request says of an LLM call: before it (`Call`), and after it (`Actual`).

The fields of a call are listed here, once: reserving, leasing, planning and settling send them as they are given.
"""

# No `from __future__ import annotations`: with it, Python 3.11 takes every field of a TypedDict for a required one.
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

from ..providers import STANDARD, Usage, reading_of, served_model
from ..providers.served import valid_model
from ..providers.usage import check_other_kinds
from .requests import given

DEFAULT_TTL_SECONDS = 300
"""How long a hold or lease lives of which nothing else was said, as the service has it."""


class Call(TypedDict):
    """The LLM call that is about to be made.

    `input_tokens` is the whole prompt, `cached_input_tokens` the part of it that is expected from the provider's
    cache; `cache_write` says that the rest may be written to that cache, for 5 minutes or 1 hour, which costs more
    than plain input. `max_usage` is the most that the call may use of other kinds, by their names in `Usage`, such as
    `{"web_searches": 5}`, and `service_tier` how it will be served: the hold has room for both. `requires` lists what a
    cheaper model must be able to do, `apply` the techniques to switch on for this call. `ttl_seconds` (default 300) is
    how long the hold lives without a settle.
    """

    agent_type: str
    provider: str
    model: str
    input_tokens: int
    max_output_tokens: int
    request_type: NotRequired[str]
    cached_input_tokens: NotRequired[int]
    cache_write: NotRequired[Literal["5m", "1h"] | None]
    max_usage: NotRequired[Mapping[str, int]]
    service_tier: NotRequired[str]
    ttl_seconds: NotRequired[int]
    tool: NotRequired[str]
    requires: NotRequired[Sequence[str]]
    tags: NotRequired[Mapping[str, str]]
    apply: NotRequired[Sequence[str]]
    idempotency_key: NotRequired[str]


class PlannedCall(Call, total=False):
    """A call that may come, `count` times (default 1).

    Plan a `Call` as `{**call, "count": 1}`: type checkers can't tell that a `Call` has no other `count`.
    """

    count: int


class Measured(TypedDict, total=False):
    """What was measured of a call; milliseconds are whole numbers and count from the start of the call.

    `latency_ms` is how long it took, `first_token_ms` when the first token came, and `stages` when each stage was
    reached, by its name. `retries` is how often it was tried again, `error_kind` and `finish_reason` how it ended.
    `estimate_rule` is how an estimated usage was found.
    """

    latency_ms: int
    first_token_ms: int
    stages: Mapping[str, int]
    retries: int
    error_kind: str
    finish_reason: str
    estimate_rule: str


class Actual(TypedDict, total=False):
    """What a settle may say besides the usage; the service knows provider and model from the hold.

    What a response says itself need not be given: its id, the model that served it, its service tier. What is given
    counts in its place.
    """

    provider: str
    model: str
    service_tier: str
    occurred_at: datetime
    outcome: str
    estimated: bool
    response_id: str
    original_input_tokens: int
    tool: str
    measured: Measured


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose calls these are: those of a run, or of a user (and their cost center) outside any run."""

    run_id: str | None = None
    user: str | None = None
    cost_center: str | None = None


@dataclass(frozen=True, slots=True)
class OtherModelUse:
    """What another model used that the provider called within a call and charges besides."""

    model: str
    usage: Usage
    service_tier: str

    def to_json(self) -> dict[str, object]:
        """Return the fields as the service takes them."""
        said: dict[str, object] = {"model": self.model, "usage": self.usage.to_json()}
        return said if self.service_tier == STANDARD else {**said, "service_tier": self.service_tier}


@dataclass(frozen=True, slots=True)
class Use:
    """What a call used in all, what else its settle says, and what other models used within the call."""

    usage: Usage
    actual: Actual
    other_models: tuple[OtherModelUse, ...] = ()


def use_of(response: object, actual: Actual, *, provider: str, model: str) -> Use:
    """Read a response to a call of this provider and model; raises UsageMissing.

    Unless `actual` says otherwise, the response decides about its id, the model that is booked, and the service tier.
    """
    reading = reading_of(response)
    said: Actual = {}
    if reading.response_id is not None:
        said["response_id"] = reading.response_id
    served = served_model(actual.get("provider", provider), model, reading)
    if served is not None:
        said["model"] = served
    if reading.service_tier != STANDARD:
        said["service_tier"] = reading.service_tier
    others = tuple(
        # Whatever it is called, what it used is spent.
        OtherModelUse(valid_model(other.model) or model, other.usage, other.service_tier)
        for other in reading.others
    )
    return Use(reading.usage, {**said, **actual}, others)


def part_of(use: Use, rest: Usage, actual: Actual) -> Use:
    """Return what is said of a part of a call: the id of its response only if it was given, as all parts have it.

    Other models within the call are booked with its last part.
    """
    said = {name: value for name, value in use.actual.items() if name != "response_id"}
    return Use(rest, {**said, **actual})  # type: ignore[typeddict-item]  # the names are those of `use.actual`


def call_body(call: Call, scope: Scope) -> dict[str, object]:
    """Return what a request says of a call that is to be made; raises TypeError for names that are unknown."""
    check_names(call, PlannedCall)
    check_other_kinds(call.get("max_usage") or {})
    return given({"run_id": scope.run_id, "user": scope.user, "cost_center": scope.cost_center, **call})


def told_of_call(call: Call, scope: Scope, *, provider: str, model: str) -> dict[str, object]:
    """Return what an event would say of a call, besides what it used: whose it was, and of which model."""
    said = {name: call.get(name) for name in ("agent_type", "request_type", "tool", "tags")}
    whose = {"run_id": scope.run_id, "user": scope.user, "cost_center": scope.cost_center}
    return given({**whose, "provider": provider, "model": model, **said})


def settle_body(use: Use) -> dict[str, object]:
    """Return what a request says of a call that was made; raises TypeError for wrong argument names."""
    check_names(use.actual, Actual)
    if "measured" in use.actual:
        check_names(use.actual["measured"], Measured)
    others = [other.to_json() for other in use.other_models]
    return given({"usage": use.usage.to_json(), **use.actual, **({"other_models": others} if others else {})})


def check_names(arguments: Mapping[str, object], kind: Any) -> None:
    """Raise TypeError for arguments that a TypedDict does not list: only type checkers enforce `Unpack`."""
    if unknown := sorted(arguments.keys() - kind.__annotations__.keys()):
        raise TypeError(f"unknown argument {unknown[0]!r}: give some of {', '.join(kind.__annotations__)}")
    if missing := sorted(kind.__required_keys__ - arguments.keys()):
        raise TypeError(f"argument {missing[0]!r} is missing: a call needs {', '.join(sorted(kind.__required_keys__))}")
