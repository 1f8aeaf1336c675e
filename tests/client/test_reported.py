"""What the clients report without a hold, against the service: calls, tools, cache hits, responses, streams."""

import dataclasses
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from token_ledger_sdk import (
    CacheHit,
    Recorded,
    ReportedEvent,
    ResponseEvent,
    ToolCall,
    Unreachable,
    Usage,
    UsageEvent,
)
from token_ledger_sdk.wire.calls import Measured

from tests.api.world import fresh
from tests.client.conftest import Client
from token_ledger.wire.answers.events import EventAnswer
from token_ledger.wire.bodies.events import (
    MOST_USAGE_EVENTS,
    CacheHitBody,
    EventBody,
    ResponseBody,
    ToolCallBody,
)  # fmt: skip
from token_ledger.wire.bodies.measured import MeasuredBody

RECORDED = Path(__file__).resolve().parents[2] / "sdk" / "tests" / "data"
STREAM = (RECORDED / "196_openai_openai_chat_stream.sse").read_text("utf-8")
WITHOUT_USAGE = (RECORDED / "297_openai_openai_chat_stream.sse").read_text("utf-8")


def ours(**fields: Any) -> dict[str, Any]:
    return {"source": "nightly", "user": "ada", "agent_type": "data_agent", **fields}


def call(**fields: Any) -> UsageEvent:
    return UsageEvent(**ours(**{"provider": "openai", "model": "gpt-5.4", "usage": Usage(1_000, 100), **fields}))


@pytest.mark.parametrize(
    ("event", "body"),
    [(UsageEvent, EventBody), (ResponseEvent, ResponseBody), (ToolCall, ToolCallBody), (CacheHit, CacheHitBody)],
)
def test_an_event_has_every_field_of_its_body_and_no_other(event: type[ReportedEvent], body: Any) -> None:
    assert {each.name for each in dataclasses.fields(event)} == body.model_fields.keys() - {"type", "spooled"}


def test_what_is_measured_and_answered_is_what_the_service_knows() -> None:
    assert set(Measured.__annotations__) == set(MeasuredBody.model_fields)
    assert {each.name for each in dataclasses.fields(Recorded)} == set(get_type_hints(EventAnswer))


async def test_every_kind_of_event_is_booked(client: Client) -> None:
    user = fresh("user")
    measured: Measured = {"latency_ms": 412, "first_token_ms": 38, "stages": {"first_chunk": 380}, "retries": 1,
                          "error_kind": "timeout", "finish_reason": "stop"}  # fmt: skip
    response = {"id": fresh("r"), "model": "gpt-5.4", "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}}
    events: list[ReportedEvent] = [
        call(user=user, measured=measured, occurred_at=datetime.now(UTC), tags={"team": "core"}),
        ToolCall(**ours(user=user), tool="web_search", tool_source="mcp:brave", cost=Decimal("0.005"), outcome="error",
                 from_cache=True, measured=measured),
        ToolCall(**ours(user=user), tool="summary", provider="openai", model="gpt-5.4", usage=Usage(1_000, 100)),
        CacheHit(**ours(user=user), provider="openai", model="gpt-5.4", usage=Usage(1_000, 100)),
        ResponseEvent(**ours(user=user), provider="openai", body=response),
        ResponseEvent(**ours(user=user), provider="openai", body=json.dumps({**response, "id": fresh("r")}).encode()),
        ResponseEvent(**ours(user=user), provider="openai", body=STREAM),
    ]  # fmt: skip
    results = await client.ledger.record(events)
    assert [(each.status, each.cost, each.tokens) for each in results] == [
        ("booked", Decimal("0.004"), 1_100), ("booked", Decimal("0.005"), 0), ("booked", Decimal("0.004"), 1_100),
        ("booked", Decimal(0), 0), ("booked", Decimal("0.004"), 1_100), ("booked", Decimal("0.004"), 1_100),
        ("booked", Decimal("0.00001695"), 68),
    ]  # fmt: skip
    assert [each.saved for each in results] == [None, None, None, Decimal("0.004"), None, None, None]
    assert not any(each.replayed or each.unpriced or each.clamped for each in results)
    booked = [row for row in await client.booked() if row["user_id"] == user]
    assert [(row["kind"], row["tool"], row["failed"]) for row in booked] == [
        (None, None, False), ("tool_call", "web_search", True), ("tool_call", "summary", False),
        ("cache_hit", None, False), (None, None, False), (None, None, False), (None, None, False),
    ]  # fmt: skip
    assert json.loads(booked[0]["details"]) == measured
    assert json.loads(booked[1]["details"]) == {**measured, "tool_source": "mcp:brave", "from_cache": True}
    await client.is_sound()


async def test_every_event_has_a_result_that_says_what_is_wrong_with_it(client: Client) -> None:
    response = fresh("r")
    kept = call(agent_type="")
    first, changed = call(response_id=response), call(response_id=response)
    unusable = ToolCall(**{**ours(), "source": ""}, tool="t")
    sent: list[ReportedEvent] = [
        first, kept, changed, call(model="nobody-knows"), call(usage=Usage(10, 1, cache_read_tokens=11)),
        ResponseEvent(**ours(), provider="openai", body=WITHOUT_USAGE),
        dataclasses.replace(first, usage=Usage(1, 1)), unusable,
    ]  # fmt: skip
    results = await client.ledger.record(sent)
    assert [each.status for each in results] == [
        "booked", "quarantined", "duplicate", "booked", "booked", "quarantined", "conflict", "refused",
    ]  # fmt: skip
    assert [each.unpriced for each in results[:5]] == [False, False, False, True, False]
    assert [each.clamped for each in results[:5]] == [False, False, False, False, True]
    assert (results[1].code, results[1].field) == ("invalid_request", "events.1.agent_type")
    assert (results[2].repetition, results[2].earlier_event_id) == ("duplicate", results[0].event_id)
    assert "'include_usage': True" in str(results[5].detail)
    assert (results[6].code, results[6].quarantine_id is not None) == ("idempotency_conflict", True)
    assert (results[7].event_id, results[7].quarantine_id, results[7].field) == (None, None, "events.7.source")
    again = await client.ledger.record([first, kept])
    assert [(each.event_id, each.quarantine_id, each.replayed) for each in again] == [
        (results[0].event_id, None, True), (None, results[1].quarantine_id, True),
    ]  # fmt: skip


async def test_what_other_models_used_within_a_call_is_in_its_result(client: Client) -> None:
    body = {
        "id": fresh("msg"), "type": "message", "model": "claude-sonnet-5", "usage": {
            "input_tokens": 2_390, "output_tokens": 121, "iterations": [
                {"type": "message", "input_tokens": 2_390, "output_tokens": 121},
                {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2_518, "output_tokens": 22},
            ],
        },
    }  # fmt: skip
    [result] = await client.ledger.record([ResponseEvent(**ours(), provider="anthropic", body=body)])
    [other] = result.other_models
    assert (result.tokens, other.model, other.tokens, other.booked) == (2_511, "claude-opus-4-8", 2_540, True)


async def test_more_than_a_request_takes_is_booked_once_whatever_answers_are_lost(client: Client) -> None:
    sent = [call(usage=Usage(number, 0)) for number in range(1, MOST_USAGE_EVENTS + 3)]
    client.network.answers_to_lose = 1
    with pytest.raises(Unreachable):
        await client.ledger.record(sent)
    client.network.sent.clear()
    results = await client.ledger.record(iter(sent))
    assert client.network.sent == ["/v1/usage"] * 2
    assert [each.tokens for each in results] == [event.usage.input_tokens for event in sent]
    assert [each.replayed for each in results] == [True] * MOST_USAGE_EVENTS + [False] * 2
    assert len({each.event_id for each in results}) == len(sent)
    await client.is_sound()


async def test_a_settle_says_what_was_measured(client: Client) -> None:
    hold = await client.ledger.reserve(user="ada", **client.call)
    settled = await hold.settle(Usage(10, 1), measured={"latency_ms": 7})
    [row] = [row for row in await client.booked() if str(row["event_id"]) == settled.event_id]
    assert json.loads(row["details"]) == {"latency_ms": 7}
    with pytest.raises(TypeError, match="latency"):
        await hold.settle(Usage(10, 1), measured={"latency": 7})  # type: ignore[typeddict-unknown-key]
