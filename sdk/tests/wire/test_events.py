"""Events that are reported: what is sent of each, how many in a request, and what is read of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx2
import openai
import pytest

from token_ledger_sdk import (
    AnyStreamUsage,
    AsyncTokenLedger,
    CacheHit,
    InvalidAnswer,
    OtherModel,
    Recorded,
    ReportedEvent,
    ResponseEvent,
    TokenLedger,
    ToolCall,
    Unavailable,
    Usage,
    UsageEvent,
)
from token_ledger_sdk.wire.events import MAX_BYTES, reports

OURS: dict[str, Any] = {"source": "nightly", "user": "ana", "agent_type": "data_agent", "idempotency_key": "k"}
CALL = UsageEvent(**OURS, provider="openai", model="gpt-5", usage=Usage(10, 2))
TOOL = ToolCall(
    **OURS, tool="web_search", tool_source="mcp:brave", cost=Decimal("1E-3"), from_cache=True, outcome="error",
    measured={"latency_ms": 412, "error_kind": "timeout"},
)  # fmt: skip
HIT = CacheHit(**OURS, provider="openai", model="gpt-5", usage=Usage(10, 2), tags={"team": "core"})
USED = {"input_tokens": 10, "output_tokens": 2, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0, "reasoning_tokens": 0}  # fmt: skip


def sent_of(*events: ReportedEvent) -> list[Any]:
    """Return the events of all requests."""
    requests = [report.request for report in reports(events)]
    return [event for request in requests for event in json.loads(request.content or b"")["events"]]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (CALL, {"type": "llm_call", "provider": "openai", "model": "gpt-5", "usage": USED}),
        (TOOL, {
            "type": "tool_call", "tool": "web_search", "tool_source": "mcp:brave", "cost": "0.001", "from_cache": True,
            "outcome": "error", "measured": {"latency_ms": 412, "error_kind": "timeout"},
        }),
        (ToolCall(**OURS, tool="t", cost=Decimal(0)), {"type": "tool_call", "tool": "t", "cost": "0"}),
        (HIT, {"type": "cache_hit", "provider": "openai", "model": "gpt-5", "usage": USED, "tags": {"team": "core"}}),
        (ResponseEvent(**OURS, provider="p", body={"usage": {"a": None, "b": False}}),
         {"type": "llm_call", "provider": "p", "body": {"usage": {"a": None, "b": False}}}),
        (ResponseEvent(**OURS, provider="p", body="data: {}\n\n"),
         {"type": "llm_call", "provider": "p", "body": "data: {}\n\n"}),
        (ResponseEvent(**OURS, provider="p", body="data: {\"é\"}".encode()),
         {"type": "llm_call", "provider": "p", "body": "data: {\"é\"}"}),
        (ResponseEvent(**OURS, provider="p", body=({"a": 1}, {"b": 2})),
         {"type": "llm_call", "provider": "p", "body": [{"a": 1}, {"b": 2}]}),
    ],
)  # fmt: skip
def test_an_event_says_what_it_was_given(event: ReportedEvent, said: dict[str, Any]) -> None:
    assert sent_of(event) == [OURS | said]


def test_an_object_of_a_providers_sdk_is_sent_as_the_json_that_it_was(recorded: Callable[[str], str]) -> None:
    text = recorded("196")
    chunks = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data: {")]
    objects = [openai.types.chat.ChatCompletionChunk.model_validate(chunk) for chunk in chunks]
    [event] = sent_of(ResponseEvent(**OURS, provider="openai", body=objects))
    stream = AnyStreamUsage()
    list(stream.watch(event["body"]))
    assert stream.usage().input_tokens == 53
    [whole] = sent_of(ResponseEvent(**OURS, provider="openai", body=objects[-1]))
    assert whole["body"] == event["body"][-1]


def test_every_event_has_a_key_of_its_own_that_stays_the_same() -> None:
    events = [ToolCall(source="s", agent_type="a", user="u", tool="t") for _ in range(2)]
    keys = [event["idempotency_key"] for event in sent_of(*events)]
    assert len(set(keys)) == 2
    assert [event["idempotency_key"] for event in sent_of(*events)] == keys


@pytest.mark.parametrize(("events", "requests"), [(0, []), (1, [1]), (1_000, [1_000]), (2_001, [1_000, 1_000, 1])])
def test_a_request_has_up_to_a_thousand_events(
    events: int, requests: list[int], client: TokenLedger, service: Any
) -> None:
    sent = [replace(TOOL, idempotency_key=str(number)) for number in range(events)]
    results = client.record(iter(sent))
    keys = [[event["idempotency_key"] for event in service.body(n)["events"]] for n in range(len(requests))]
    assert [len(each) for each in keys] == requests
    assert [key for each in keys for key in each] == [event.idempotency_key for event in sent]
    assert service.paths() == ["POST /v1/usage"] * len(requests)
    # Of every request the first, third, … event is booked.
    assert [each.status for each in results] == [
        ("booked", "quarantined")[number % 1_000 % 2] for number in range(events)
    ]


def test_a_request_of_several_events_has_at_most_a_megabyte() -> None:
    of_a_third = ResponseEvent(**OURS, provider="p", body="x" * (MAX_BYTES // 3 - 200))
    huge = ResponseEvent(**OURS, provider="p", body="x" * (2 * MAX_BYTES))
    sizes = [(report.events, len(report.request.content or b"")) for report in reports([of_a_third] * 7 + [huge, CALL])]
    assert [events for events, _ in sizes] == [3, 3, 1, 1, 1]
    assert max(size for _, size in sizes[:3]) < 1_048_576 < 2 * MAX_BYTES < sizes[3][1]


def test_a_request_that_got_no_answer_is_sent_again_unchanged_and_alone(client: TokenLedger, service: Any) -> None:
    sent = [replace(CALL, idempotency_key=str(number)) for number in range(1_001)]
    service.script = [httpx2.ReadError("lost"), service.problem(503, "unavailable")]
    assert len(client.record(sent)) == 1_001
    contents = [request.content for request in service.requests]
    assert contents[0] == contents[1] == contents[2] != contents[3]


def test_what_cannot_be_sent_is_said_before_anything_is_sent(client: TokenLedger, service: Any) -> None:
    wrong = [
        ResponseEvent(**OURS, provider="p", body=AnyStreamUsage()), replace(TOOL, cost=0.5),
        replace(TOOL, measured={"latency": 5}), ResponseEvent(**OURS, provider="p", body={"a": float("nan")}),
    ]  # fmt: skip
    for event in wrong:
        with pytest.raises((TypeError, ValueError)):
            client.record([CALL, event])
    assert service.requests == []


ANSWER: dict[str, Any] = {
    "status": "booked", "event_id": "5", "cost": "0.000100000", "list_cost": "0.0002", "tokens": 12, "unpriced": True,
    "clamped": True, "replayed": True, "repetition": "other_usage", "earlier_event_id": "4", "saved": "0.3",
    "other_models": [{"event_id": "6", "provider": "anthropic", "model": "m", "cost": "0.1", "tokens": 7,
                      "unpriced": False, "booked": True}], "a_field_of_tomorrow": 1,
}  # fmt: skip


async def test_results_are_values(async_client: AsyncTokenLedger, service: Any) -> None:
    refused = {"status": "refused", "code": "invalid_request", "detail": "why", "field": "events.1.source"}
    kept = {**refused, "status": "conflict", "quarantine_id": "9", "replayed": False}
    service.script = [httpx2.Response(200, json={"results": [ANSWER, refused, kept]})]
    other = OtherModel(
        event_id="6", provider="anthropic", model="m", cost=Decimal("0.1"), tokens=7, unpriced=False, booked=True
    )
    assert await async_client.record([CALL, TOOL, HIT]) == (
        Recorded("booked", "5", None, Decimal("0.0001"), 12, True, None, None, "other_usage", "4", None, True, True,
                 Decimal("0.0002"), Decimal("0.3"), (other,)),
        Recorded("refused", None, None, None, None, False, "invalid_request", "why", field="events.1.source"),
        Recorded("conflict", None, "9", None, None, False, "invalid_request", "why", field="events.1.source"),
    )  # fmt: skip


def test_an_answer_with_another_number_of_results_is_none(client: TokenLedger, service: Any) -> None:
    service.script = [httpx2.Response(200, json={"results": [ANSWER]})]
    with pytest.raises(InvalidAnswer, match="1 items for 2 events"):
        client.record([CALL, TOOL])


def test_without_an_answer_the_same_events_can_be_reported_again(client: TokenLedger, service: Any) -> None:
    service.script = [service.problem(503, "unavailable") for _ in range(4)]
    with pytest.raises(Unavailable):
        client.record([CALL])
    client.record([CALL])
    assert len({request.content for request in service.requests}) == 1
