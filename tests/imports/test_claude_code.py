"""Session logs of Claude Code: which lines are one call, whose it is, and what the recorded logs add up to."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_ledger_sdk.providers.anthropic import read_anthropic

from tests.imports.log_reading import ADA, events_of, problem_of, skipped_in, sums_of, written
from tests.imports.log_samples import CLAUDE_CODE, bytes_of, stated_rows
from token_ledger.core.model.details import Kind
from token_ledger.imports import claude_code, claude_code_file
from token_ledger.imports.claude_code import read
from token_ledger.imports.claude_code_file import SUB_AGENT_TYPE, plain_counts
from token_ledger.imports.rows import CallRow, Defaults, SkippedRow, UnreadableFile
from token_ledger.wire.commands.events import event_commands

USAGE = {"input_tokens": 3, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 9}


def line(
    message_id: str | None = "msg_1", request_id: str | None = "req_1", *, output: int = 9, stop: str | None = None,
    usage: dict[str, Any] | None = None, model: str = "claude-opus-4-6", **fields: Any,
) -> dict[str, Any]:  # fmt: skip
    used = {**USAGE, "output_tokens": output, **(usage or {})}
    return {
        "type": "assistant", "timestamp": "2026-02-21T03:56:21.139Z", "sessionId": "s1", "requestId": request_id,
        "version": "2.1.49", "isSidechain": False, "cwd": "/srv/ada/code/app",
        "message": {"id": message_id, "type": "message", "model": model, "stop_reason": stop, "usage": used}, **fields,
    }  # fmt: skip


def progress(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "progress",
        "timestamp": "2026-02-21T03:56:22Z",
        "data": {"type": "agent_progress", "message": entry},
    }


def independent_sums(samples: tuple[Path, ...]) -> dict[str, int]:
    """Add up the largest output of each message, as anyone would who knows what the lines mean."""
    largest: dict[str, dict[str, Any]] = {}
    for sample in samples:
        for text in bytes_of(sample).splitlines():
            entry = json.loads(text)
            message = (entry if entry["type"] == "assistant" else entry["data"]["message"])["message"]
            known = largest.get(message["id"])
            if message["model"] != "<synthetic>" and (
                known is None or message["usage"]["output_tokens"] >= known["output_tokens"]
            ):
                largest[message["id"]] = message["usage"]
    sums = Counter[str]()
    for usage in largest.values():
        written_tokens = usage["cache_creation_input_tokens"]
        sums["input_tokens"] += usage["input_tokens"] + written_tokens + usage["cache_read_input_tokens"]
        sums["output_tokens"] += usage["output_tokens"]
        sums["cache_read_tokens"] += usage["cache_read_input_tokens"]
        sums["cache_write_5m_tokens"] += usage["cache_creation"]["ephemeral_5m_input_tokens"]
        sums["cache_write_1h_tokens"] += usage["cache_creation"]["ephemeral_1h_input_tokens"]
        sums["calls"] += 1
    return dict(sums)


def test_the_recorded_logs_add_up_to_the_largest_line_of_each_message() -> None:
    events = events_of(read, *CLAUDE_CODE)

    assert {**sums_of(events), "calls": len(events)} == independent_sums(CLAUDE_CODE)


@pytest.mark.parametrize("sample", CLAUDE_CODE, ids=lambda sample: sample.name)
def test_every_session_adds_up_to_what_others_counted_in_it(sample: Path) -> None:
    (stated,) = [row for row in stated_rows() if sample.name.startswith(row["file"])]

    events = events_of(read, sample)

    sums = sums_of(events)
    assert len(events) == int(stated["calls"]) - int(stated["made_up"])
    assert sums["input_tokens"] == int(stated["prompt_total"])
    assert sums["cache_read_tokens"] == int(stated["cache_read_tokens"])
    writes = sums.get("cache_write_5m_tokens", 0) + sums.get("cache_write_1h_tokens", 0)
    assert writes == int(stated["cache_write_tokens"])
    assert sums["output_tokens"] == int(stated["output_tokens"])
    assert sum(event["agent_type"] == SUB_AGENT_TYPE for event in events) == int(stated["of_sub_agents"])
    assert sum(event.get("estimated", False) for event in events) == int(stated["not_final"])


def test_every_line_is_a_call_or_skipped_for_a_reason() -> None:
    lines = sum(len(bytes_of(sample).splitlines()) for sample in CLAUDE_CODE)
    rows = list(read(CLAUDE_CODE, ADA))

    counted = sum(row.rows if isinstance(row, SkippedRow) else 1 for row in rows)
    assert counted == lines
    assert {row.reason.name for row in rows if isinstance(row, SkippedRow)} == {"SAME_CALL", "SYNTHETIC"}


def test_a_call_is_its_line_with_the_most_output_at_the_instant_of_its_first_line(tmp_path: Path) -> None:
    log = written(
        tmp_path / "s.jsonl",
        line(output=1),
        line(output=310, stop="tool_use", timestamp="2026-02-21T03:56:29Z"),
        line(output=20, timestamp="2026-02-21T03:56:30Z"),
    )

    (row,) = [row for row in read([log], ADA) if isinstance(row, CallRow)]

    assert row.place.line == 2
    assert row.event["usage"]["output_tokens"] == 310
    assert row.event["occurred_at"] == "2026-02-21T03:56:21.139Z"
    assert row.event["measured"] == {"finish_reason": "tool_use"}
    assert "estimated" not in row.event
    assert skipped_in(read, log) == {"SAME_CALL": 2}


def test_a_call_without_a_stop_reason_is_an_estimate(tmp_path: Path) -> None:
    (event,) = events_of(read, written(tmp_path / "s.jsonl", line(output=1)))

    assert event["estimated"] is True


def test_the_figures_of_one_line_stay_together_when_another_model_took_over(tmp_path: Path) -> None:
    first = line(output=5, usage={"cache_read_input_tokens": 900}, model="claude-opus-4-6")
    last = line(output=50, usage={"cache_read_input_tokens": 7}, model="claude-sonnet-4-6", stop="end_turn")

    (event,) = events_of(read, written(tmp_path / "s.jsonl", first, last))

    assert (event["model"], event["usage"]["cache_read_tokens"]) == ("claude-sonnet-4-6", 7)


def test_of_lines_with_equal_output_the_last_one_counts(tmp_path: Path) -> None:
    later = line(usage={"cache_read_input_tokens": 101}, stop="end_turn")

    (event,) = events_of(read, written(tmp_path / "s.jsonl", line(), later))

    assert event["usage"]["cache_read_tokens"] == 101


def test_what_an_event_says(tmp_path: Path) -> None:
    log = written(tmp_path / "projects" / "-srv-ada-code-app" / "s.jsonl", line(stop="end_turn"))

    (event,) = events_of(read, log, defaults=Defaults(user="ada", cost_center="research"))

    assert event == {
        "source": "claude-code", "idempotency_key": "msg_1/req_1", "agent_type": "claude-code",
        "provider": "anthropic", "model": "claude-opus-4-6", "user": "ada", "cost_center": "research",
        "occurred_at": "2026-02-21T03:56:21.139Z", "response_id": "msg_1",
        "tags": {"project": "app", "session": "s1", "version": "2.1.49"}, "measured": {"finish_reason": "end_turn"},
        "usage": {
            "input_tokens": 123, "output_tokens": 9, "cache_read_tokens": 100, "cache_write_5m_tokens": 20,
            "cache_write_1h_tokens": 0, "reasoning_tokens": 0,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "cwd", "project"),
    [
        ("projects/-srv-ada-my-app/s.jsonl", "/srv/ada/my-app", "my-app"),
        ("projects/-srv-ada-my-app/s.jsonl", "/srv/ada/my-app/src/deep", "my-app"),
        ("projects/-srv-ada-my-app/s/subagents/agent-1.jsonl", "/srv/ada/my-app", "my-app"),
        ("projects/-srv-ada-my-app/s.jsonl", None, "-srv-ada-my-app"),
        ("projects/C--Users-ada-app/s.jsonl", "C:\\Users\\ada\\app", "app"),
        ("projects/logs/s.jsonl", "/srv/ada/app", "app"),
        ("s.jsonl", "/srv/ada/app", "app"),
        ("s.jsonl", None, None),
    ],
)
def test_the_project_is_the_folder_that_the_session_was_started_in(
    tmp_path: Path, path: str, cwd: str | None, project: str | None
) -> None:
    (event,) = events_of(read, written(tmp_path / path, line(cwd=cwd)))

    assert event["tags"].get("project") == project


def test_one_hour_writes_searches_and_the_tier_are_read(tmp_path: Path) -> None:
    usage = {
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 16},
        "server_tool_use": {"web_search_requests": 2}, "service_tier": "batch",
    }  # fmt: skip
    fast = {"speed": "fast"}
    log = written(tmp_path / "s.jsonl", line(usage=usage), line("msg_2", usage=fast))

    batch, quick = events_of(read, log)

    assert batch["usage"]["cache_write_1h_tokens"] == 16
    assert batch["usage"]["cache_write_5m_tokens"] == 4
    assert batch["usage"]["web_searches"] == 2
    assert (batch["service_tier"], quick["service_tier"]) == ("batch", "fast")


few = st.integers(0, 3)
odd = st.none() | st.booleans() | st.just(2.0) | st.integers(-3, -1) | st.text(max_size=2)
SPLITS = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
PLAIN = st.fixed_dictionaries(
    dict.fromkeys(USAGE, few),
    optional={
        "cache_creation": st.dictionaries(st.sampled_from(SPLITS), few),
        "server_tool_use": st.dictionaries(st.sampled_from(["web_search_requests"]), st.just(0)),
        "service_tier": st.just("standard"), "inference_geo": st.just("eu"),
    },
)  # fmt: skip
ODD = st.one_of(
    st.just({}),
    st.fixed_dictionaries({}, optional=dict.fromkeys(USAGE, st.none() | st.just(2.0) | st.booleans())),
    st.fixed_dictionaries({"cache_creation": odd | st.dictionaries(st.sampled_from(SPLITS), odd)}),
    st.just({"cache_creation": {"ephemeral_1h_input_tokens": -2}}),
    st.fixed_dictionaries({"server_tool_use": odd | st.just({"web_search_requests": 2})}),
    st.fixed_dictionaries({"service_tier": st.sampled_from([None, "batch", 5])}),
    st.just({"speed": "fast"}),
    st.just({"output_tokens_details": {"thinking_tokens": 1}}),
    st.just({"iterations": [{"type": "compaction", "input_tokens": 1}]}),
)
USAGES = st.builds(lambda plain, odd: {**plain, **odd}, PLAIN, ODD)


@given(USAGES)
def test_a_plain_usage_is_what_any_reader_of_responses_reads_in_it(usage: dict[str, Any]) -> None:
    reading = read_anthropic({"type": "message", "id": "msg_1", "model": "claude-opus-4-6", "usage": usage})

    found = plain_counts(usage)

    if found is not None:
        assert reading is not None
        assert (found, "standard", ()) == (reading.usage.to_json(), reading.service_tier, reading.others)


def test_nearly_every_recorded_usage_is_plain() -> None:
    entries = [json.loads(text) for sample in CLAUDE_CODE for text in bytes_of(sample).splitlines()]
    usages = [entry["message"]["usage"] for entry in entries if entry["type"] == "assistant"]

    assert sum(plain_counts(usage) is not None for usage in usages) > 0.95 * len(usages)


def test_an_advisor_is_booked_with_its_call_and_counts_no_call(tmp_path: Path) -> None:
    advisor = {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2_518, "output_tokens": 22}
    log = written(tmp_path / "s.jsonl", line(usage={"iterations": [advisor]}, stop="end_turn"))

    (event,) = events_of(read, log)
    commands, _ = event_commands(event, "events[0]")

    called, advised = commands
    assert (called.model, advised.model) == ("claude-opus-4-6", "claude-opus-4-8")  # type: ignore[union-attr]
    assert advised.event_kind is Kind.OTHER_MODEL  # type: ignore[union-attr]
    assert called.usage.input_tokens == 123  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("claude-opus-4-6", "anthropic"),
        ("us.anthropic.claude-opus-4-6-v1:0", "aws"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/x", "aws"),
        ("claude-opus-4-5@20251101", "google"),
        ("glm-4.6", "zhipuai"),
        ("my-own-model", "anthropic"),
    ],
)
def test_the_provider_is_what_the_name_of_the_model_says(tmp_path: Path, model: str, provider: str) -> None:
    (event,) = events_of(read, written(tmp_path / "s.jsonl", line(model=model)))

    assert event["provider"] == provider


def test_sub_agents_are_told_by_their_lines_and_by_progress(tmp_path: Path) -> None:
    log = written(
        tmp_path / "s.jsonl",
        line("msg_1", isSidechain=True),
        progress(line("msg_2", isSidechain=None)),
        progress(progress(line("msg_3"))),
        line("msg_4"),
    )

    events = {event["response_id"]: event["agent_type"] for event in events_of(read, log)}

    sub, main = "claude-code-subagent", "claude-code"
    assert events == {"msg_1": sub, "msg_2": sub, "msg_3": sub, "msg_4": main}


def test_what_is_no_call(tmp_path: Path) -> None:
    log = written(
        tmp_path / "s.jsonl",
        {"type": "summary", "summary": "a \"usage\": {\"input_tokens\": 5} in a text"},
        {"type": "user", "message": {"role": "user", "content": "Hi"}},
        {"type": "user", "toolUseResult": {"usage": {"input_tokens": 5, "output_tokens": 7}}},
        {"type": "system", "usage": {"input_tokens": 5}},
        progress({"type": "user", "message": {"usage": {"input_tokens": 5}}}),
        {"type": "progress", "data": {"type": "bash_progress", "usage": 1}},
        line("msg_1", model="<synthetic>", isApiErrorMessage=True),
        line("msg_2", usage=dict.fromkeys(USAGE, 0)),
        "",
    )  # fmt: skip

    assert events_of(read, log) == []
    assert skipped_in(read, log) == {"NO_CALL": 6, "SYNTHETIC": 1, "NO_USAGE": 1}


def test_lines_without_a_request_are_known_by_their_message(tmp_path: Path) -> None:
    log = written(
        tmp_path / "s.jsonl",
        line("msg_1", None, output=1), line("msg_1", None, output=8, stop="end_turn"),
        line(None, None, uuid="u1"), line(None, "req_9"),
    )  # fmt: skip

    assert {event["idempotency_key"] for event in events_of(read, log)} == {"msg_1", "u1", "req_9"}


def test_a_session_that_was_copied_into_a_new_file_is_the_same_calls(tmp_path: Path) -> None:
    text = bytes_of(CLAUDE_CODE[0])
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(text)
    second.write_bytes(text.replace(b'"sessionId":"552b95a2779a"', b'"sessionId":"000000000000"'))
    alone = events_of(read, first)

    both = events_of(read, tmp_path)

    keys = [event["idempotency_key"] for event in both]
    assert len(set(keys)) == len(keys) == len(alone)
    assert sums_of(both) == sums_of(alone)
    assert skipped_in(read, tmp_path)["SAME_CALL"] == 2 * len(text.splitlines()) - len(alone)


def test_the_order_of_files_changes_neither_the_calls_nor_their_figures(tmp_path: Path) -> None:
    # A session that was forked in the middle of a call, and one that repeats its sub-agent.
    files = [
        written(tmp_path / "a.jsonl", line("msg_1", output=1), line("msg_1", output=400, stop="end_turn")),
        written(tmp_path / "b.jsonl", line("msg_1", output=1, sessionId="s2"), line("msg_2", output=2)),
        written(tmp_path / "c.jsonl", progress(line("msg_2", output=1)), line("msg_3", output=7, stop="end_turn")),
    ]

    def figures(order: tuple[Path, ...]) -> set[tuple[str, int, bool]]:
        events = events_of(read, *order)
        return {(e["idempotency_key"], e["usage"]["output_tokens"], "estimated" in e) for e in events}

    found = [figures(order) for order in itertools.permutations(files)]

    assert found[0] == {("msg_1/req_1", 400, False), ("msg_2/req_1", 2, True), ("msg_3/req_1", 7, False)}
    assert all(each == found[0] for each in found)


def test_reading_again_gives_the_same_events() -> None:
    assert events_of(read, *CLAUDE_CODE) == events_of(read, *CLAUDE_CODE)


def test_however_few_calls_are_held_none_is_lost_or_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claude_code_file, "MOST_OPEN", 3)
    monkeypatch.setattr(claude_code, "MOST_UNFINISHED", 5)

    events = events_of(read, *CLAUDE_CODE)

    assert {**sums_of(events), "calls": len(events)} == independent_sums(CLAUDE_CODE)


@pytest.mark.parametrize(("stop", "held"), [("end_turn", 3), (None, 3 + 5)])
def test_of_a_long_file_only_the_last_calls_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str | None, held: int
) -> None:
    monkeypatch.setattr(claude_code_file, "MOST_OPEN", 3)
    monkeypatch.setattr(claude_code, "MOST_UNFINISHED", 5)
    lines = [line(f"msg_{number}", stop=stop) for number in range(40)]
    rows = read([written(tmp_path / "s.jsonl", *lines, "broken")], ADA)

    yielded = [*itertools.islice(rows, 40 - held)]

    assert len(yielded) == 40 - held
    with pytest.raises(UnreadableFile):
        next(rows)


def test_a_last_line_that_is_still_written_is_skipped(tmp_path: Path) -> None:
    log = written(tmp_path / "s.jsonl", line("msg_1"))
    for cut in ('{"type":"assistant","message":{"id":"msg_2","usa', '{"type":"user","mess', json.dumps(line("m"))[:-9]):
        unfinished = tmp_path / "cut.jsonl"
        unfinished.write_text(log.read_text() + cut)

        assert len(events_of(read, unfinished)) == 1
        assert skipped_in(read, unfinished) == {"UNFINISHED_LINE": 1}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ('{"type":"assistant","message":{"id":"msg_2","usa', "no JSON"),
        ('{"type":"user"', "no JSON"),
        ("[1, 2]", "a list; each line must be a JSON object"),
        ('"usage"', "a text"),
        (json.dumps(line()).replace('"input_tokens": 3', '"input_tokens": NaN'), "NaN is no number"),
        ("[" * 100_000, "nested too deep"),
        ({**line(), "message": ["usage"]}, "message is a list; it must be an object"),
        (line(usage={"input_tokens": -1}), "input_tokens is out of range"),
        (line(usage={"output_tokens": "12"}), "output_tokens is a text"),
        (line(usage={"cache_read_input_tokens": True}), "cache_read_input_tokens is true or false"),
        (line(usage={"input_tokens": 10**30}), "input_tokens is out of range"),
        ({**line(), "message": {"id": "m", "model": "x", "usage": [1]}}, "usage is a list"),
        (line(timestamp="yesterday"), "timestamp is 'yesterday'; write an instant"),
        (line(timestamp=None), "timestamp is null"),
        (line(timestamp="2026-02-21T03:56:21"), "without a time zone"),
        (line(model="a\u200bb"), "U+200B"),
        ({**line(), "message": {"id": "m", "usage": USAGE}}, "model is missing"),
        (line(None, None), "no message.id, requestId or uuid"),
        (line(cwd=5), "cwd is a number; it must be a text"),
    ],
)  # fmt: skip
def test_a_line_that_is_wrong_is_named_with_what_would_be_right(tmp_path: Path, wrong: object, says: str) -> None:
    log = written(tmp_path / "s.jsonl", line("msg_0"), "", wrong, line("msg_3"))

    problem = problem_of(read, log)

    assert (problem.place.file, problem.place.line) == (str(log), 3)
    assert says in problem.problem


def test_half_a_character_in_a_text_makes_no_line_unreadable(tmp_path: Path) -> None:
    text = json.dumps(line()).replace('"/srv/ada/code/app"', '"/srv/ada/\\ud83d"')

    (event,) = events_of(read, written(tmp_path / "s.jsonl", text))

    assert "project" not in event["tags"]


def test_without_a_user_the_file_is_refused(tmp_path: Path) -> None:
    problem = problem_of(read, written(tmp_path / "s.jsonl", line()), defaults=Defaults())

    assert "does not say for which user" in problem.problem


def test_ids_that_the_ledger_does_not_take_become_keys_of_their_digest(tmp_path: Path) -> None:
    log = written(tmp_path / "s.jsonl", line("m" * 300), line("m\u0000"), line("m\ud83d"))

    keys = [event["idempotency_key"] for event in events_of(read, log)]

    assert len(set(keys)) == 3
    assert all(len(key) == 32 for key in keys)
