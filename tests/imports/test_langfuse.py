"""Exports of Langfuse: which observations are calls, and how each framework counts."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.imports.log_reading import ADA, events_of, problem_of, skipped_in, sums_of, written
from tests.imports.log_samples import LANGFUSE, bytes_of
from token_ledger.imports.langfuse import read
from token_ledger.imports.rows import Defaults, SkippedRow

STATED = {
    # Read off the exports by eye: calls, input, output of the leaves that are generations.
    "beeai": (3, 1_195 + 1_988 + 2_359, 0),
    "google-adk": (2, 39 + 28, 6 + 3),
    "langgraph-python": (2, 60 + 108, 15 + 51),
    "microsoft-agent": (2, 77 + 216, 86 + 20),
    "openai-agents": (2, 85 + 55, 29 + 15),
    "pydantic-ai-tools": (4, 417 + 131 + 502 + 265, 53 + 69 + 14 + 73),
    "vertex-ai": (1, 5, 2_023 - 5),  # Gemini counts its thoughts in the total only
}


def observation(
    span_id: str = "o1", parent: str | None = None, kind: str = "GENERATION", usage: object = None, **fields: Any
) -> dict[str, Any]:
    return {
        "id": span_id, "traceId": "t1", "parentObservationId": parent, "type": kind, "model": "gpt-5.4",
        "startTime": "2026-02-01T10:00:00Z", "endTime": "2026-02-01T10:00:02Z",
        "usageDetails": {"input": 10, "output": 2} if usage is None else usage, **fields,
    }  # fmt: skip


def trace(*observations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"trace": {"id": "t1", "timestamp": "2026-02-01T10:00:00Z", **fields}, "observations": [*observations]}


@pytest.mark.parametrize("sample", LANGFUSE, ids=lambda sample: sample.name)
def test_a_recorded_trace_adds_up_to_its_leaves(sample: Path) -> None:
    ((calls, input_tokens, output_tokens),) = [stated for name, stated in STATED.items() if f"_{name}-" in sample.name]

    events = events_of(read, sample)

    sums = sums_of(events)
    assert (len(events), sums["input_tokens"], sums.get("output_tokens", 0)) == (calls, input_tokens, output_tokens)


def test_every_observation_is_a_call_or_skipped_for_a_reason() -> None:
    observations = sum(len(json.loads(bytes_of(sample))["observations"]) for sample in LANGFUSE)

    rows = list(read(LANGFUSE, ADA))

    assert sum(row.rows if isinstance(row, SkippedRow) else 1 for row in rows) == observations
    assert skipped_in(read, *LANGFUSE) == {"NO_CALL": 46, "NO_USAGE": 2, "PARENT": 1}


def test_the_recorded_calls_name_model_provider_and_user() -> None:
    named = {(e["provider"], e["model"], e["user"]) for e in events_of(read, *LANGFUSE)}

    assert named == {
        ("openai", "gpt-4o-mini", "ada"), ("openai", "gpt-4o-mini-2024-07-18", "ada"),
        ("openai", "gpt-4o-2024-08-06", "ada"), ("openai", "gpt-4.1-2025-04-14", "ada"),
        ("openai", "gpt-5-mini-2025-08-07", "ada"), ("google", "gemini-2.0-flash", "demo-user"),
        ("google", "gemini-2.5-flash", "ada"),
    }  # fmt: skip


def test_what_an_event_says(tmp_path: Path) -> None:
    metadata = {
        "attributes": {"gen_ai.agent.name": "planner", "gen_ai.response.id": "resp_1", "gen_ai.system": "openai"}
    }
    exported = trace(
        observation(metadata=json.dumps(metadata), environment="production", level="ERROR"),
        userId="bo", sessionId="thread-1", tags=["team:core", "demo"],
    )  # fmt: skip

    (event,) = events_of(read, written(tmp_path / "t.json", exported))

    assert event == {
        "source": "langfuse", "idempotency_key": "t1/o1", "agent_type": "planner", "provider": "openai",
        "model": "gpt-5.4", "user": "bo", "occurred_at": "2026-02-01T10:00:02+00:00", "response_id": "resp_1",
        "outcome": "error",
        "tags": {"session": "thread-1", "environment": "production", "team": "core", "demo": "true"},
        "usage": {
            "input_tokens": 10, "output_tokens": 2, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0, "reasoning_tokens": 0,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        # Langfuse takes parts away from their whole.
        ({"input": 10, "input_cached_tokens": 90, "output": 5, "output_reasoning_tokens": 15}, (100, 90, 0, 20, 15)),
        ({"input": 9, "input_cache_read": 90, "output": 5, "output_reasoning": 15, "total": 119}, (99, 90, 0, 20, 15)),
        ({"input": 3, "cache_read_input_tokens": 9, "cache_creation_input_tokens": 7, "output": 5}, (19, 9, 7, 5, 0)),
        # Where the total says that the whole has its parts, it is believed.
        ({"input": 100, "cache_read_input_tokens": 90, "output": 5, "total": 105}, (100, 90, 0, 5, 0)),
        ({"input": 100, "input_cached": 90, "output": 20, "output_reasoning": 15, "total": 120}, (100, 90, 0, 20, 15)),
        # Names of OpenInference and OpenAI, which count parts within.
        (
            {"input": 100, "prompt_details.cache_read": 90, "output": 20, "completion_details.reasoning": 15},
            (100, 90, 0, 20, 15),
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 90}},
            (100, 90, 0, 20, 0),
        ),
        # What the total has beyond both are thoughts.
        ({"input": 5, "output": 845, "total": 2_023}, (5, 0, 0, 2_018, 1_173)),
        ({"input": 10, "output": 2, "total": 12, "unit": "TOKENS", "total_cost": 4}, (10, 0, 0, 2, 0)),
    ],
)  # fmt: skip
def test_usage_is_read_as_each_framework_counts(
    tmp_path: Path, usage: object, expected: tuple[int, int, int, int, int]
) -> None:
    (event,) = events_of(read, written(tmp_path / "t.json", trace(observation(usage=usage))))

    kinds = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "output_tokens", "reasoning_tokens")
    assert tuple(event["usage"][kind] for kind in kinds) == expected
    assert "estimated" not in event


def test_a_call_of_which_only_one_side_was_counted_is_an_estimate(tmp_path: Path) -> None:
    export = trace(observation(usage={"input": 10}), observation("o2", kind="EMBEDDING", usage={"input": 10}))

    generation, embedding = events_of(read, written(tmp_path / "t.json", export))

    assert generation["estimated"] is True
    assert "estimated" not in embedding
    assert embedding["request_type"] == "embedding"


@pytest.mark.parametrize("key", ["usage", "usageDetails", "usage_details", None])
def test_exports_of_all_times_are_read(tmp_path: Path, key: str | None) -> None:
    exported = observation()
    usage = exported.pop("usageDetails")
    exported |= {key: usage} if key else {"promptTokens": 10, "completionTokens": 2}

    (event,) = events_of(read, written(tmp_path / "t.json", trace(exported)))

    assert (event["usage"]["input_tokens"], event["usage"]["output_tokens"]) == (10, 2)


def test_an_export_to_blob_storage_is_read_line_by_line(tmp_path: Path) -> None:
    def row(span_id: str, parent: str, kind: str) -> dict[str, Any]:
        return {
            "id": span_id, "trace_id": "t1", "parent_observation_id": parent, "type": kind, "user_id": "bo",
            "provided_model_name": "claude-opus-4-6", "usage_details": '{"input": 10, "output": 2}', "session_id": "s",
            "start_time": "2026-02-01 10:00:00.000000", "end_time": "2026-02-01 10:00:02.500000",
        }  # fmt: skip

    log = written(tmp_path / "o.jsonl", row("o1", "a1", "GENERATION"), row("a1", "", "AGENT"))

    (event,) = events_of(read, log)

    assert (event["idempotency_key"], event["provider"], event["user"]) == ("t1/o1", "anthropic", "bo")
    assert event["occurred_at"] == "2026-02-01T10:00:02.500000+00:00"
    assert skipped_in(read, log) == {"PARENT": 1}


def test_pages_lists_and_packed_files_are_read(tmp_path: Path) -> None:
    one, two = (trace(observation(span_id)) for span_id in ("o1", "o2"))
    three = {"id": "t1", "timestamp": "2026-02-01T10:00:00Z", "observations": [observation("o3")]}
    bare = {"id": "t2", "timestamp": "2026-02-01T10:00:00Z", "observations": ["o9"]}
    written(tmp_path / "list.json", json.dumps([one, two], indent=2))
    written(tmp_path / "page.json", {"data": [three, bare, observation("o4")], "meta": {"page": 1}})
    (tmp_path / "packed.json.gz").write_bytes(gzip.compress(json.dumps(trace(observation("o5"))).encode()))
    written(tmp_path / "traces.jsonl", {"id": "t3", "timestamp": "2026-02-01T10:00:00Z", "name": "chat"})
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(trace(observation("o6"))).encode())

    keys = {event["idempotency_key"] for event in events_of(read, tmp_path)}

    assert keys == {f"t1/o{number}" for number in range(1, 7)}
    assert skipped_in(read, tmp_path) == {"NO_CALL": 2}


def test_a_parent_repeats_its_calls_through_any_number_of_levels(tmp_path: Path) -> None:
    log = written(
        tmp_path / "t.json",
        trace(
            observation("agent", kind="AGENT"),
            observation("step", "agent", kind="SPAN", usage={}),
            observation("outer", "step"),
            observation("inner", "outer"),
            observation("other", "agent"),
        ),
    )

    assert [event["idempotency_key"] for event in events_of(read, log)] == ["t1/inner", "t1/other"]
    assert skipped_in(read, log) == {"PARENT": 2, "NO_CALL": 1}


def test_a_call_whose_tool_runs_an_agent_is_a_call_of_its_own(tmp_path: Path) -> None:
    observations = [
        observation("root", kind="AGENT"),
        observation("call", "root"),
        observation("tool", "call", kind="TOOL", usage={}),
        observation("agent", "tool", kind="AGENT"),
        observation("inner", "agent"),
    ]
    for order in (observations, observations[::-1]):
        log = written(tmp_path / "t.json", trace(*order))

        assert {event["idempotency_key"] for event in events_of(read, log)} == {"t1/call", "t1/inner"}


def test_a_call_around_another_one_repeats_it_though_its_tool_runs_an_agent_too(tmp_path: Path) -> None:
    observations = [
        observation("far", "tool"),
        observation("tool", "outer", kind="TOOL", usage={}),
        observation("near", "outer"),
        observation("outer"),
    ]
    for order in (observations, observations[::-1]):
        log = written(tmp_path / "t.json", trace(*order))

        assert {event["idempotency_key"] for event in events_of(read, log)} == {"t1/far", "t1/near"}


def test_an_agent_whose_calls_are_not_in_the_trace_counts_itself(tmp_path: Path) -> None:
    assert len(events_of(read, written(tmp_path / "t.json", trace(observation(kind="AGENT"))))) == 1


def test_children_in_another_file_make_a_parent_of_it(tmp_path: Path) -> None:
    written(tmp_path / "a.json", trace(observation("agent", kind="AGENT")))
    written(tmp_path / "b.json", trace(observation("call", "agent"), observation("call", "agent")))

    assert [event["idempotency_key"] for event in events_of(read, tmp_path)] == ["t1/call"]
    assert skipped_in(read, tmp_path) == {"PARENT": 1, "SAME_CALL": 1}


def test_parents_in_a_circle_end(tmp_path: Path) -> None:
    log = written(tmp_path / "t.json", trace(observation("a", "b"), observation("b", "a"), observation("c", "c")))

    assert events_of(read, log) == []


def test_without_a_known_provider_the_default_counts_or_is_asked_for(tmp_path: Path) -> None:
    log = written(tmp_path / "t.json", trace(observation(model="our-own-7b")))

    (event,) = events_of(read, log, defaults=Defaults(user="ada", provider="vllm", agent_type="bot"))
    problem = problem_of(read, log)

    assert (event["provider"], event["agent_type"]) == ("vllm", "bot")
    assert "nothing says whose model 'our-own-7b' is" in problem.problem
    assert "span 'o1'" in problem.problem


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"id": "x"}, "this is no export of Langfuse"),
        ([1], "an object with the fields of a call must begin here"),
        ([[1]], "an object with the fields of a call must begin here"),
        ("[", "the file was cut off there"),
        ('[{"id": "x"', "the file was cut off there"),
        ('{"id": NaN}', "NaN is not JSON"),
        ('{"id": ' + "[" * 100_000, "nested hundreds of levels deep"),
        (trace(observation(usage=[1])), "usageDetails is a list"),
        (trace(observation(usage={"input": -1})), "input is out of range"),
        (trace(observation(usage={"input": True})), "input is true or false"),
        (trace(observation(usage={"output": "many", "input": 1}) | {"usageDetails": '"x"'}), "usageDetails is a text"),
        (trace(observation(endTime="soon")), "endTime is 'soon'"),
        (trace(observation(model=None)), "the model is missing"),
        (trace(observation(userId="a\u0000")), "the user is"),
        ({"trace": [], "observations": []}, "trace is a list"),
        (trace({"id": "o1", "traceId": 4}), "traceId is a number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_would_be_right(tmp_path: Path, wrong: object, says: str) -> None:
    log = tmp_path / "t.json"
    log.write_text(wrong if isinstance(wrong, str) else json.dumps(wrong))

    problem = problem_of(read, log)

    assert (problem.place.file, problem.place.line) == (str(log), 1)
    assert says in problem.problem


def test_the_line_of_a_broken_document_is_named(tmp_path: Path) -> None:
    text = json.dumps(trace(observation()), indent=1)
    lines = text.split("\n")
    broken = next(number for number, line in enumerate(lines) if "parentObservationId" in line)
    lines[broken] = lines[broken].replace('"', "'")

    problem = problem_of(read, written(tmp_path / "t.json", *lines))

    assert problem.place.line == broken + 1


def test_a_last_line_that_is_still_written_is_skipped(tmp_path: Path) -> None:
    log = written(tmp_path / "t.jsonl", observation("o1"), observation("o2"))
    log.write_text(log.read_text()[:-30])

    assert len(events_of(read, log)) == 1
    assert skipped_in(read, log) == {"UNFINISHED_LINE": 1}


def test_without_a_user_anywhere_the_file_is_refused(tmp_path: Path) -> None:
    problem = problem_of(read, written(tmp_path / "t.json", trace(observation())), defaults=Defaults())

    assert "does not say for which user" in problem.problem
