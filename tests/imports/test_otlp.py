"""Traces in the JSON of OTLP: which spans are calls, and how each convention counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.imports.log_reading import ADA, events_of, problem_of, skipped_in, sums_of, written
from token_ledger.imports.otlp import read
from token_ledger.imports.rows import Defaults, SkippedRow

CALL = {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5.4",
    "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2,
}  # fmt: skip


def attribute(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}  # as JSON of Protobuf writes 64 bits
    if isinstance(value, float):
        return {"key": name, "value": {"doubleValue": value}}
    return {"key": name, "value": {"stringValue": value} if isinstance(value, str) else value}


def span(span_id: str = "a1", parent: str = "", attributes: dict[str, Any] = CALL, **fields: Any) -> dict[str, Any]:
    return {
        "traceId": "t1", "spanId": span_id, "parentSpanId": parent, "name": "chat",
        "startTimeUnixNano": "1770000000000000000", "endTimeUnixNano": "1770000002500000000",
        "attributes": [attribute(*each) for each in attributes.items()], "status": {}, **fields,
    }  # fmt: skip


def batch(*spans: dict[str, Any], **resource: Any) -> dict[str, Any]:
    attributes = [attribute(*each) for each in resource.items()]
    scope = {"scope": {"name": "test"}, "spans": [*spans]}
    return {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [scope]}]}


def test_what_an_event_says(tmp_path: Path) -> None:
    attributes = {
        **CALL, "gen_ai.response.model": "gpt-5.4-2026-03-05", "gen_ai.response.id": "resp_1", "user.id": "bo",
        "gen_ai.agent.name": "planner", "gen_ai.conversation.id": "c1", "gen_ai.response.service_tier": "flex",
    }  # fmt: skip
    log = written(tmp_path / "t.json", batch(span(attributes=attributes), **{"service.name": "shop"}))

    (event,) = events_of(read, log, defaults=Defaults(user="ada", agent_type="bot", cost_center="research"))

    assert event == {
        "source": "otlp", "idempotency_key": "t1/a1", "agent_type": "planner", "provider": "openai",
        "model": "gpt-5.4-2026-03-05", "user": "bo", "cost_center": "research", "response_id": "resp_1",
        "occurred_at": "2026-02-02T02:40:02.500000+00:00", "service_tier": "flex",
        "tags": {"session": "c1", "service": "shop"},
        "usage": {
            "input_tokens": 10, "output_tokens": 2, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0, "reasoning_tokens": 0,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # The conventions of today: cached tokens are within the input.
        (
            {
                "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20,
                "gen_ai.usage.cache_read.input_tokens": 80, "gen_ai.usage.cache_creation.input_tokens": 10,
            },
            (100, 80, 10, 20, 0),
        ),
        # A library that passes on what Anthropic says: more cached than input, or a total that says so.
        (
            {
                "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 20,
                "gen_ai.usage.cache_read_input_tokens": 80, "gen_ai.usage.cache_creation_input_tokens": 10,
            },
            (100, 80, 10, 20, 0),
        ),
        (
            {
                "gen_ai.usage.prompt_tokens": 90, "gen_ai.usage.completion_tokens": 20, "llm.usage.total_tokens": 190,
                "gen_ai.usage.cache_read_input_tokens": 80,
            },
            (170, 80, 0, 20, 0),
        ),
        ({"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2}, (10, 0, 0, 2, 0)),
        (
            {
                "llm.token_count.prompt": 100, "llm.token_count.completion": 20, "llm.token_count.total": 120,
                "llm.token_count.prompt_details.cache_read": 80, "llm.token_count.completion_details.reasoning": 15,
            },
            (100, 80, 0, 20, 15),
        ),
        # Several conventions on one span say the same once.
        (
            {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "llm.token_count.prompt": 10},
            (10, 0, 0, 2, 0),
        ),
        (
            {
                "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 2,
                "gen_ai.usage.details.input_tokens": 500, "gen_ai.usage.details.cache_read_input_tokens": 80,
            },
            (100, 80, 0, 2, 0),
        ),
        (
            {"ai.usage.promptTokens": 10, "ai.usage.completionTokens": 5, "ai.usage.cachedInputTokens": 4,
             "ai.usage.inputTokenDetails.noCacheTokens": 6},
            (10, 4, 0, 5, 0),
        ),
        # What only the total has are thoughts.
        (
            {"llm.token_count.prompt": 5, "llm.token_count.completion": 845, "llm.token_count.total": 2_023},
            (5, 0, 0, 2_018, 1_173),
        ),
        ({"gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": 2.0}, (10, 0, 0, 2, 0)),
    ],
)  # fmt: skip
def test_usage_is_read_by_every_convention(
    tmp_path: Path, counts: dict[str, Any], expected: tuple[int, int, int, int, int]
) -> None:
    attributes = {"gen_ai.request.model": "claude-opus-4-6", "openinference.span.kind": "LLM", **counts}

    (event,) = events_of(read, written(tmp_path / "t.json", batch(span(attributes=attributes))))

    kinds = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "output_tokens", "reasoning_tokens")
    assert tuple(event["usage"][kind] for kind in kinds) == expected
    assert event["provider"] == "anthropic"


@pytest.mark.parametrize(
    ("said", "provider"),
    [
        ({"gen_ai.system": "az.ai.openai"}, "azure"),
        ({"gen_ai.provider.name": "aws.bedrock", "gen_ai.system": "anthropic"}, "aws"),
        ({"gen_ai.system": "gcp.vertex.agent"}, "google"),
        ({"llm.system": "openai"}, "openai"),
        ({"gen_ai.system": "Langchain"}, "openai"),
        ({}, "openai"),
    ],
)
def test_the_provider_has_the_name_of_the_price_data(tmp_path: Path, said: dict[str, str], provider: str) -> None:
    attributes = {name: value for name, value in CALL.items() if name != "gen_ai.provider.name"} | said

    (event,) = events_of(read, written(tmp_path / "t.json", batch(span(attributes=attributes))))

    assert event["provider"] == provider


def test_a_deployment_of_azure_keeps_its_name(tmp_path: Path) -> None:
    attributes = {**CALL, "gen_ai.provider.name": "azure.ai.openai", "gen_ai.response.model": "gpt-4o-2024-08-06"}

    (event,) = events_of(read, written(tmp_path / "t.json", batch(span(attributes=attributes))))

    assert event["model"] == "gpt-5.4"


def test_an_embedding_is_one(tmp_path: Path) -> None:
    attributes = {
        "gen_ai.operation.name": "embeddings", "gen_ai.request.model": "text-embedding-3-small",
        "gen_ai.usage.input_tokens": 10,
    }  # fmt: skip

    (event,) = events_of(read, written(tmp_path / "t.json", batch(span(attributes=attributes))))

    assert (event["request_type"], event["provider"]) == ("embedding", "openai")
    assert "estimated" not in event


def test_failed_spans(tmp_path: Path) -> None:
    nothing = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5.4"}
    log = written(
        tmp_path / "t.json",
        batch(span("a1", status={"code": 2}), span("a2", attributes=nothing), span("a3", status={"code": 1})),
    )

    events = events_of(read, log)

    assert [event.get("outcome") for event in events] == ["error", None]
    assert skipped_in(read, log) == {"NO_USAGE": 1}


def test_parents_that_come_later_and_in_another_file_repeat_their_children(tmp_path: Path) -> None:
    agent = {**CALL, "gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 30}
    tool = {"gen_ai.operation.name": "execute_tool"}
    written(tmp_path / "1.jsonl", batch(span("c1", "p1")), batch(span("c2", "p1"), span("x", "c2", tool)))
    written(tmp_path / "2.jsonl", batch(span("c3", "x")), batch(span("p1", "root", agent), span("root", "", {})))

    events = events_of(read, tmp_path)

    assert {event["idempotency_key"] for event in events} == {"t1/c1", "t1/c2", "t1/c3"}
    assert sums_of(events)["input_tokens"] == 30
    assert skipped_in(read, tmp_path) == {"NO_CALL": 2, "PARENT": 1}


def test_the_same_span_of_another_trace_is_another_call(tmp_path: Path) -> None:
    log = written(tmp_path / "t.jsonl", batch(span()), batch(span(traceId="t2")), batch(span()))

    assert [event["idempotency_key"] for event in events_of(read, log)] == ["t1/a1", "t2/a1"]
    assert skipped_in(read, log) == {"SAME_CALL": 1}


def test_the_user_may_be_that_of_the_resource(tmp_path: Path) -> None:
    log = written(tmp_path / "t.json", batch(span(), **{"enduser.id": "bo"}))

    (event,) = events_of(read, log, defaults=Defaults())

    assert event["user"] == "bo"


def test_other_signals_and_old_names_are_read(tmp_path: Path) -> None:
    old = {"resourceSpans": [{"instrumentationLibrarySpans": [{"spans": [span()]}]}]}
    log = written(tmp_path / "t.jsonl", old, {"resourceMetrics": []}, {"resourceLogs": []})

    assert len(events_of(read, log)) == 1
    assert skipped_in(read, log) == {"NO_CALL": 2}


def test_every_span_is_a_call_or_skipped_for_a_reason(tmp_path: Path) -> None:
    spans = [span(f"a{number}", f"a{number // 2}") for number in range(50)]

    rows = list(read([written(tmp_path / "t.json", batch(*spans))], ADA))

    assert sum(row.rows if isinstance(row, SkippedRow) else 1 for row in rows) == len(spans)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"spans": []}, "this is no OTLP"),
        ({"resourceSpans": {}}, "resourceSpans is an object; it must be a list"),
        ({"resourceSpans": [5]}, "resourceSpans is a list; it must be a list of objects"),
        (batch(span("a2", traceId=None)), "a span has no traceId"),
        (batch(span("a2", attributes={}) | {"attributes": [{"key": 5, "value": {}}]}), "an attribute must be"),
        (batch(span("a2", attributes={**CALL, "gen_ai.usage.input_tokens": -4})), "input_tokens is out of range"),
        (batch(span("a2", attributes={**CALL, "gen_ai.usage.input_tokens": "many"})), "input_tokens is a text"),
        (batch(span("a2", endTimeUnixNano="soon")), "endTimeUnixNano is no instant"),
        (batch(span("a2", endTimeUnixNano=None)), "endTimeUnixNano is null"),
        (batch(span("a2", attributes={**CALL, "gen_ai.request.model": ""})), "the model is missing"),
        (batch(span("a2", status=[])), "status is a list"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(tmp_path: Path, wrong: object, says: str) -> None:
    log = tmp_path / "t.jsonl"
    log.write_text(json.dumps(batch(span())) + "\n" + json.dumps(wrong))

    problem = problem_of(read, log)

    assert (problem.place.file, problem.place.line) == (str(log), 2)
    assert says in problem.problem
