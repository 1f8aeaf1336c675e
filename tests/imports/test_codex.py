"""Session logs of Codex: what a call used, by totals and by itself, and which lines repeat a call."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.imports.log_reading import ADA, events_of, problem_of, skipped_in, sums_of, written
from tests.imports.log_samples import CODEX, bytes_of, stated_rows
from token_ledger.imports.codex import UNKNOWN_MODEL, read
from token_ledger.imports.rows import Defaults, SkippedRow

Counts = tuple[int, int, int, int]
"""Input, of that cached, output, of that reasoning."""


def meta(session: str = "s1", **fields: Any) -> dict[str, Any]:
    payload = {"id": session, "cwd": "/srv/ada/app", "cli_version": "0.118.0", "model_provider": "openai", **fields}
    return {"timestamp": "2026-04-08T12:58:53Z", "type": "session_meta", "payload": payload}


def turn(model: str | None = "gpt-5.4", **fields: Any) -> dict[str, Any]:
    return {"timestamp": "2026-04-08T12:58:53Z", "type": "turn_context", "payload": {"model": model, **fields}}


def counts(total: Counts | None, last: Counts | None, second: int = 0) -> dict[str, Any]:
    def usage(used: Counts | None) -> dict[str, int] | None:
        if used is None:
            return None
        names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
        return {**dict(zip(names, used, strict=True)), "total_tokens": used[0] + used[2]}

    info = {"total_token_usage": usage(total), "last_token_usage": usage(last)}
    return {
        "timestamp": f"2026-04-08T12:59:{second:02}Z", "type": "event_msg",
        "payload": {"type": "token_count", "info": info, "rate_limits": None},
    }  # fmt: skip


def used(path: Path) -> list[tuple[int, int, int]]:
    """Return input, cached and output of each call."""
    usages = [event["usage"] for event in events_of(read, path)]
    return [(usage["input_tokens"], usage["cache_read_tokens"], usage["output_tokens"]) for usage in usages]


FIRST: Counts = (100, 0, 10, 4)
SECOND: Counts = (150, 90, 20, 0)
BOTH: Counts = (250, 90, 30, 4)


@pytest.mark.parametrize("sample", CODEX, ids=lambda sample: sample.name)
def test_every_session_adds_up_to_its_last_totals(sample: Path) -> None:
    infos = [json.loads(text)["payload"].get("info") for text in bytes_of(sample).splitlines() if b"last_token" in text]
    last = infos[-1]["total_token_usage"]
    distinct = {json.dumps(info["total_token_usage"]) for info in infos}

    events = events_of(read, sample)

    assert len(events) == len(distinct)
    assert sums_of(events) == {
        "input_tokens": last["input_tokens"],
        "output_tokens": last["output_tokens"],
        "cache_read_tokens": last["cached_input_tokens"],
        "reasoning_tokens": last["reasoning_output_tokens"],
    }
    assert {event["model"] for event in events} == {"gpt-5.4"}


def test_a_session_adds_up_to_what_others_counted_in_it() -> None:
    (stated,) = [row for row in stated_rows() if row["file"].startswith("codex")]
    (sample,) = [path for path in CODEX if path.name.startswith(stated["file"])]

    events = events_of(read, sample)

    sums = sums_of(events)
    assert len(events) == int(stated["calls"])
    assert sums["input_tokens"] == int(stated["prompt_total"])
    assert sums["cache_read_tokens"] == int(stated["cache_read_tokens"])
    assert sums["output_tokens"] == int(stated["output_tokens"])


def test_every_line_is_a_call_or_skipped_for_a_reason() -> None:
    lines = sum(len(bytes_of(sample).splitlines()) for sample in CODEX)

    rows = list(read(CODEX, ADA))

    assert sum(row.rows if isinstance(row, SkippedRow) else 1 for row in rows) == lines
    assert skipped_in(read, *CODEX) == {"NO_CALL": 115, "SAME_CALL": 119}


def test_what_an_event_says(tmp_path: Path) -> None:
    log = written(tmp_path / "s.jsonl", meta(), turn(service_tier="flex"), counts(SECOND, SECOND, 7))

    (event,) = events_of(read, log, defaults=Defaults(user="ada", cost_center="research"))

    assert event == {
        "source": "codex", "idempotency_key": "s1/150-90-20-0-170", "agent_type": "codex", "provider": "openai",
        "model": "gpt-5.4", "user": "ada", "cost_center": "research", "occurred_at": "2026-04-08T12:59:07+00:00",
        "service_tier": "flex", "tags": {"project": "app", "session": "s1", "version": "0.118.0"},
        "usage": {
            "input_tokens": 150, "output_tokens": 20, "cache_read_tokens": 90, "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0, "reasoning_tokens": 0,
        },
    }  # fmt: skip


def test_the_same_totals_again_are_the_same_call(tmp_path: Path) -> None:
    log = written(
        tmp_path / "s.jsonl", meta(), turn(),
        counts(FIRST, FIRST), counts(FIRST, FIRST, 1), counts(BOTH, SECOND, 2), counts(BOTH, SECOND, 3),
    )  # fmt: skip

    assert used(log) == [(100, 0, 10), (150, 90, 20)]
    assert skipped_in(read, log) == {"NO_CALL": 2, "SAME_CALL": 2}


def test_a_line_that_is_missing_loses_nothing(tmp_path: Path) -> None:
    third: Counts = (10, 0, 1, 0)
    log = written(tmp_path / "s.jsonl", meta(), turn(), counts(FIRST, FIRST), counts((260, 90, 31, 4), third))

    assert used(log) == [(100, 0, 10), (160, 90, 21)]


def test_totals_that_begin_anew_count_from_nothing(tmp_path: Path) -> None:
    larger: Counts = (1_000, 10, 50, 10)
    smaller: Counts = (120, 5, 40, 4)
    log = written(
        tmp_path / "s.jsonl", meta(), turn(),
        counts(BOTH, BOTH), counts(FIRST, FIRST), counts(larger, larger), counts(smaller, (20, 5, 2, 0)),
    )  # fmt: skip

    assert used(log) == [(250, 90, 30), (100, 0, 10), (1_000, 10, 50), (20, 5, 2)]


def test_a_history_that_is_replayed_after_a_resume_is_the_same_calls(tmp_path: Path) -> None:
    log = written(
        tmp_path / "s.jsonl", meta(), turn(),
        counts(FIRST, FIRST), counts(BOTH, SECOND, 1),
        meta(), counts(FIRST, FIRST, 30), counts(BOTH, SECOND, 30), counts((300, 90, 35, 4), (50, 0, 5, 0), 40),
    )  # fmt: skip

    assert used(log) == [(100, 0, 10), (150, 90, 20), (50, 0, 5)]


def test_totals_that_go_on_from_another_file_count_only_what_is_new(tmp_path: Path) -> None:
    log = written(tmp_path / "s.jsonl", meta(), turn(), counts((9_000, 0, 900, 0), FIRST))

    assert used(log) == [(100, 0, 10)]


def test_a_fork_of_a_fork_repeats_the_calls_of_both_with_other_instants(tmp_path: Path) -> None:
    third: Counts = (300, 90, 35, 4)
    first = [turn(), counts(FIRST, FIRST)]
    second = [turn(), counts(BOTH, SECOND, 20)]
    parent = written(tmp_path / "1.jsonl", meta("p"), *first, counts((101, 0, 11, 4), (1, 0, 1, 0), 2))
    child = written(tmp_path / "2.jsonl", meta("c", forked_from_id="p"), meta("p"), *first, *second)
    grandchild = written(
        tmp_path / "3.jsonl",
        meta("g", forked_from_id="c"), meta("c", forked_from_id="p"), meta("p"), turn(), counts(FIRST, FIRST, 50),
        *second, counts(third, (50, 0, 5, 0), 51),
    )  # fmt: skip

    orders = [events_of(read, *order) for order in ([parent, child, grandchild], [grandchild, child, parent])]

    for events in orders:
        assert len(events) == 4
        assert sums_of(events)["input_tokens"] == 100 + 1 + 150 + 50
    assert {e["idempotency_key"] for e in orders[0]} == {e["idempotency_key"] for e in orders[1]}
    assert {e["idempotency_key"] for e in events_of(read, grandchild)} < {e["idempotency_key"] for e in orders[0]}
    assert [e["tags"]["session"] for e in orders[0]] == ["p", "p", "c", "g"]


def test_a_fork_that_only_names_its_parent_repeats_its_calls(tmp_path: Path) -> None:
    written(tmp_path / "1.jsonl", meta("p"), turn(), counts(FIRST, FIRST))
    written(tmp_path / "2.jsonl", meta("c", forked_from_id="p"), turn(), counts(FIRST, FIRST), counts(BOTH, SECOND))

    assert len(events_of(read, tmp_path)) == 2


def test_what_is_said_of_a_session_after_its_first_call_changes_no_key(tmp_path: Path) -> None:
    log = written(tmp_path / "s.jsonl", meta("a"), turn(), counts(FIRST, FIRST), meta("b"), counts(BOTH, SECOND))

    assert [event["idempotency_key"].partition("/")[0] for event in events_of(read, log)] == ["a", "a"]


def test_two_sessions_with_equal_figures_are_two_calls(tmp_path: Path) -> None:
    for session in ("a", "b"):
        written(tmp_path / f"{session}.jsonl", meta(session), turn(), counts(FIRST, FIRST))

    assert len(events_of(read, tmp_path)) == 2


def test_the_model_is_that_of_the_turn(tmp_path: Path) -> None:
    log = written(tmp_path / "s.jsonl", meta(), counts(FIRST, FIRST), turn("gpt-5.5"), counts(BOTH, SECOND), turn(None))

    assert [event["model"] for event in events_of(read, log)] == [UNKNOWN_MODEL, "gpt-5.5"]


def test_a_sub_agent_and_another_provider_are_named(tmp_path: Path) -> None:
    about = meta(source={"subagent": "review"}, model_provider="azure")

    (event,) = events_of(read, written(tmp_path / "s.jsonl", about, turn(), counts(FIRST, FIRST)))

    assert (event["agent_type"], event["provider"]) == ("codex-subagent", "azure")


def test_what_is_no_call(tmp_path: Path) -> None:
    full = counts((0, 0, 0, 0), (0, 0, 0, 0))
    full["payload"]["info"]["total_token_usage"]["total_tokens"] = 258_400
    log = written(
        tmp_path / "s.jsonl", meta(), turn(),
        {"type": "event_msg", "payload": {"type": "token_count", "info": None}},
        {"type": "event_msg", "payload": {"type": "agent_message", "message": 'a "token_count" in a text'}},
        {"type": "response_item", "payload": {"type": "message", "text": "Hi"}},
        {"type": "event_msg", "payload": {"type": "token_count", "info": {}}},
        full,
    )  # fmt: skip

    assert events_of(read, log) == []
    assert skipped_in(read, log) == {"NO_CALL": 6, "NO_USAGE": 1}


def test_without_totals_the_call_counts_by_itself(tmp_path: Path) -> None:
    log = written(tmp_path / "s.jsonl", meta(), turn(), counts(None, FIRST, 1), counts(None, FIRST, 2))

    assert used(log) == [(100, 0, 10), (100, 0, 10)]


def test_a_session_without_its_first_line_is_known_by_its_file(tmp_path: Path) -> None:
    (event,) = events_of(read, written(tmp_path / "rollout-7.jsonl", turn(), counts(FIRST, FIRST)))

    assert event["idempotency_key"] == "rollout-7/100-0-10-4-110"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ('{"type":"event_msg","payload":{"type":"token_count"', "no JSON"),
        ({"type": "session_meta", "payload": ["id"]}, "payload is a list"),
        ({"type": "session_meta", "payload": {"id": 5}}, "id is a number; it must be a text"),
        ({"type": "turn_context", "payload": {"model": {}}}, "model is an object; it must be a text"),
        ({"type": "event_msg", "payload": {"type": "token_count", "info": []}}, "info is a list"),
        (counts((-1, 0, 0, 0), FIRST), "input_tokens is out of range"),
        ({**counts(BOTH, SECOND), "timestamp": 7}, "timestamp is a number"),
        ({**counts(BOTH, SECOND), "timestamp": "2026-04-08T12:59:00"}, "without a time zone"),
    ],
)
def test_a_line_that_is_wrong_is_named_with_what_would_be_right(tmp_path: Path, wrong: object, says: str) -> None:
    log = written(tmp_path / "s.jsonl", meta(), turn(), wrong, counts(BOTH, SECOND))

    problem = problem_of(read, log)

    assert (problem.place.file, problem.place.line) == (str(log), 3)
    assert says in problem.problem
