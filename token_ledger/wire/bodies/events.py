"""Bodies of events: calls that had no hold, calls of tools, answers from a cache."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, WithJsonSchema
from pydantic.functional_validators import AfterValidator

from token_ledger.wire.bodies import reservations
from token_ledger.wire.bodies.measured import A_MEASUREMENT, MeasuredField
from token_ledger.wire.fields import Body, IdempotencyKey, Money, Name, Words, doc, like
from token_ledger.wire.token_kinds import AN_USAGE, UsageBody

_EVENT = {
    "source": "nightly-import", "idempotency_key": "line-1", "user": "ada", "agent_type": "data_agent",
    "provider": "openai", "model": "gpt-5.4", "usage": AN_USAGE,
}  # fmt: skip
_NAMED = {"source": "nightly-import", "user": "ada", "agent_type": "data_agent"}
A_TOOL_CALL = {
    "type": "tool_call", **_NAMED, "idempotency_key": "line-2", "tool": "web_search", "tool_source": "mcp:brave",
    "cost": "0.005", "measured": {"latency_ms": 412},
}  # fmt: skip
A_CACHE_HIT = {
    "type": "cache_hit", **_NAMED, "idempotency_key": "line-3", "provider": "openai", "model": "gpt-5.4",
    "usage": AN_USAGE, "measured": {"latency_ms": 3},
}  # fmt: skip
A_RESPONSE = {
    **_NAMED, "idempotency_key": "line-4", "provider": "openai", "body": {
        "id": "resp_68af0c1e", "model": "gpt-5.4-2026-03-05", "usage": {"input_tokens": 1_180, "output_tokens": 260},
    },
}  # fmt: skip

A_STREAM = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5.4","choices":[{"index":0,'
    '"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5.4","choices":[],"usage":'
    '{"prompt_tokens":9,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)


def _is_response(body: Any) -> Any:
    if not isinstance(body, dict | list | str):
        raise ValueError("give a response as an object, or a stream as text or as a list of its chunks")
    return body


Source = Annotated[Words, doc("Where the event comes from. Idempotency keys are unique per source.", "nightly-import")]


Spooled = Annotated[
    StrictBool,
    doc(
        "True if the event has waited in a client's spool. Such a call may be of any age: one of more than 35 days "
        "counts on its run and on windows that have ended, as an imported one does.",
        False,
    ),
]


class EventBody(Body):
    """A call of a model that had no hold."""

    model_config = like({**_EVENT, "measured": A_MEASUREMENT})

    source: Source
    idempotency_key: IdempotencyKey
    agent_type: reservations.AgentType
    provider: reservations.Provider
    model: reservations.Model
    usage: reservations.Usage
    run_id: reservations.RunId = None
    user: reservations.User = None
    cost_center: reservations.CostCenter = None
    request_type: reservations.RequestType = "chat"
    occurred_at: reservations.OccurredAt = None
    outcome: reservations.CallOutcome = "ok"
    estimated: reservations.Estimated = False
    response_id: reservations.ResponseId = None
    tool: reservations.Tool = None
    service_tier: reservations.ServiceTier = "standard"
    tags: reservations.CallTags = Field(default_factory=dict)
    measured: MeasuredField = None
    spooled: Spooled = False
    type: Annotated[Literal["llm_call"], doc("The call of a model.", "llm_call")] = "llm_call"


class _Reported(Body):
    """What the other events have in common."""

    source: Source
    idempotency_key: IdempotencyKey
    agent_type: reservations.AgentType
    run_id: reservations.RunId = None
    user: reservations.User = None
    cost_center: reservations.CostCenter = None
    request_type: reservations.RequestType = "chat"
    occurred_at: reservations.OccurredAt = None
    tags: reservations.CallTags = Field(default_factory=dict)
    measured: MeasuredField = None
    estimated: reservations.Estimated = False


class ResponseBody(_Reported):
    """A call of a model that had no hold, with the provider's response, or its stream, instead of a usage.

    Of the response only counts, names and its id are kept. What other models used within the call is booked besides.
    """

    model_config = like(A_RESPONSE)

    provider: reservations.Provider
    body: Annotated[
        Any,
        AfterValidator(_is_response),
        WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "array", "items": {}}, {"type": "string"}]}),
        doc(
            "The provider's response as it came, or all of its stream: the text of its server-sent events, or a list "
            "of its chunks. It is read and not stored.",
            A_RESPONSE["body"],
            A_STREAM,
        ),
    ]
    model: Annotated[
        Name | None,
        doc("The model that was called. Left out, or where the provider says what served: the response's.", "gpt-5.4"),
    ] = None
    outcome: reservations.CallOutcome = "ok"
    tool: reservations.Tool = None
    service_tier: Annotated[
        reservations.ServiceTierName | None,
        doc("How the call was served, if the response does not say it.", "batch"),
    ] = None
    type: Annotated[Literal["llm_call"], doc("The call of a model.", "llm_call")] = "llm_call"


class ToolCallBody(_Reported):
    """A call of a tool. It counts no call of a model."""

    model_config = like(A_TOOL_CALL)

    type: Annotated[Literal["tool_call"], doc("The call of a tool.", "tool_call")]
    tool: Annotated[Name, doc("The tool.", "web_search")]
    tool_source: Annotated[Name | None, doc("Where the tool comes from.", "mcp:brave")] = None
    outcome: Annotated[Literal["ok", "error"], doc("Whether the tool answered.", "ok")] = "ok"
    from_cache: Annotated[StrictBool, doc("True if the tool's answer came from a cache.", False)] = False
    cost: Annotated[
        Money | None,
        doc("What the call cost, in dollars; left out, what the model costs that the tool used, or nothing.", "0.005"),
    ] = None
    provider: Annotated[Name | None, doc("Provider of the model that the tool used, if it used one.", "openai")] = None
    model: Annotated[Name | None, doc("The model that the tool used, if it used one.", "gpt-5.4-mini")] = None
    usage: Annotated[UsageBody | None, doc("What the tool used of that model.", AN_USAGE)] = None
    service_tier: reservations.ServiceTier = "standard"
    spooled: Spooled = False


class CacheHitBody(_Reported):
    """An answer that came from a cache of yours, so that no model was called. It costs nothing."""

    model_config = like(A_CACHE_HIT)

    type: Annotated[Literal["cache_hit"], doc("An answer from a cache.", "cache_hit")]
    provider: reservations.Provider
    model: Annotated[Name, doc("The model that would have been called.", "gpt-5.4")]
    usage: Annotated[UsageBody, doc("What the call would have used: that of the answer in the cache.", AN_USAGE)]
    tool: reservations.Tool = None
    service_tier: reservations.ServiceTier = "standard"
    spooled: Spooled = False


USAGE_BODIES = (EventBody, ResponseBody, ToolCallBody, CacheHitBody)
"""What `/v1/usage` takes."""
MOST_CHUNKS = 20_000
"""Chunks of a stream that are read; each takes about 5 microseconds."""
MOST_EVENTS = 256
MOST_USAGE_EVENTS = 1_000


_ITEMS: dict[str, Any] = {
    "items": {"anyOf": [{"$ref": f"#/components/schemas/{body.__name__}"} for body in USAGE_BODIES]}
}
_EVENTS = [_EVENT, A_TOOL_CALL, A_CACHE_HIT, A_RESPONSE]


class EventsBody(Body):
    """Book calls that had no hold. An event that is malformed fails alone."""

    # Events are parsed one by one, so that a bad one does not refuse the others.
    events: Annotated[
        tuple[Any, ...],
        Field(min_length=1, max_length=MOST_EVENTS, json_schema_extra=_ITEMS),
        doc("Events to book, 1 to 256.", _EVENTS),
    ]


class UsageEventsBody(Body):
    """Report what happened without a hold: calls of models and tools, cache hits. A malformed event fails alone."""

    events: Annotated[
        tuple[Any, ...],
        Field(min_length=1, max_length=MOST_USAGE_EVENTS, json_schema_extra=_ITEMS),
        doc("Events to book, 1 to 1,000.", _EVENTS),
    ]
