"""LiteLLM's spend logs, in each of the forms in which the table is exported."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.imports.reading import Event, a_file, accepted, events, quarantined, skipped
from token_ledger.core.model.details import Kind
from token_ledger.imports.litellm import read
from token_ledger.imports.rows import Defaults, Row, SkipReason, UnreadableFile
from token_ledger.imports.stated_costs import StatedCosts

ALL = Defaults()
A_LOG: Event = {
    "request_id": "chatcmpl-1", "call_type": "acompletion", "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05",
    "spend": 0.00365, "total_tokens": 1460, "prompt_tokens": 1200, "completion_tokens": 260,
    "startTime": "2026-11-21T09:29:58.000Z", "endTime": "2026-11-21T09:30:00.412Z",
    "completionStartTime": "2026-11-21T09:29:58.380Z", "model": "gpt-5.4", "model_id": "", "model_group": "main",
    "custom_llm_provider": "openai", "api_base": "https://api.openai.com/v1", "user": "ada", "cache_hit": "False",
    "cache_key": "Cache OFF", "team_id": "team-7", "end_user": "", "requester_ip_address": None, "messages": {},
    "response": {}, "session_id": "s1", "status": "success",
    "request_tags": ["job:nightly", "prod", "User-Agent: curl"],
    "metadata": {
        "user_api_key_alias": "laptop", "user_api_key_team_alias": "research", "user_api_key_user_id": "ada",
        "additional_usage_values": {"prompt_tokens_details": {"cached_tokens": 1024}},
        "usage_object": {
            "prompt_tokens": 1200, "completion_tokens": 260, "total_tokens": 1460,
            "prompt_tokens_details": {"cached_tokens": 1024}, "completion_tokens_details": {"reasoning_tokens": 64},
        },
    },
}  # fmt: skip
COLUMNS = [*A_LOG]


def a_log(**changes: Any) -> Event:
    return {**A_LOG, **changes}


def rows(folder: Path, content: str | bytes, defaults: Defaults = ALL, stated: StatedCosts | None = None) -> list[Row]:
    return [*read(a_file(folder, content), defaults, stated)]


def one(folder: Path, log: Event, defaults: Defaults = ALL) -> Event:
    [event] = events(rows(folder, json.dumps(log), defaults))
    return event


def as_csv(*logs: Event) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for log in logs:
        writer.writerow([_cell(log[name]) for name in COLUMNS])
    return text.getvalue()


def _cell(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else "" if value is None else str(value)


def as_dump(*logs: Event) -> str:
    quoted = ", ".join(f'"{name}"' if name != name.lower() or name == "user" else name for name in COLUMNS)
    lines = ["--", "-- PostgreSQL database dump", "--", "", "SET statement_timeout = 0;", ""]
    lines += ['COPY public."LiteLLM_UserTable" (user_id, spend) FROM stdin;', "ada\t1", "\\.", ""]
    lines.append(f'COPY public."LiteLLM_SpendLogs" ({quoted}) FROM stdin;')
    for log in logs:
        cells = (log[name] for name in COLUMNS)
        lines.append("\t".join("\\N" if cell is None else _cell(cell).replace("\\", "\\\\") for cell in cells))
    return "\n".join([*lines, "\\.", "", "-- PostgreSQL database dump complete", ""])


def test_a_call_is_an_event_that_the_ledger_takes(tmp_path: Path) -> None:
    event = one(tmp_path, A_LOG)
    assert event == {
        "source": "import-litellm", "idempotency_key": "chatcmpl-1", "response_id": "chatcmpl-1",
        "occurred_at": "2026-11-21T09:30:00.412000+00:00", "agent_type": "litellm", "request_type": "chat",
        "user": "ada", "cost_center": "research", "provider": "openai", "model": "gpt-5.4",
        "service_tier": "standard", "tags": {"key": "laptop", "job": "nightly", "prod": "yes"},
        "measured": {"latency_ms": 2412, "first_token_ms": 380},
        "usage": {
            "input_tokens": 1200, "output_tokens": 260, "cache_read_tokens": 1024, "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0, "reasoning_tokens": 64,
        },
    }  # fmt: skip
    assert accepted(event).user == "ada"


ALIAS = 'Bo\'s "lap\\top"'
OTHER = a_log(
    request_id="chatcmpl-2", user="bo", endTime="2026-11-22 00:00:00", messages={"text": 'a "\t\\ b\n'},
    metadata={**A_LOG["metadata"], "user_api_key_alias": ALIAS},
)  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(json.dumps([A_LOG, OTHER]), id="as /spend/logs answers"),
        pytest.param(json.dumps([A_LOG, OTHER], indent=2), id="printed"),
        pytest.param(f"{json.dumps(A_LOG)}\n{json.dumps(OTHER)}\n", id="a log a line"),
        pytest.param(json.dumps({"data": [A_LOG, OTHER], "total": 2, "page": 1}), id="a page"),
        pytest.param(as_csv(A_LOG, OTHER), id="CSV"),
        pytest.param(as_csv(A_LOG, OTHER).replace("True", "t").replace("False", "f"), id="CSV of PostgreSQL"),
        pytest.param(as_dump(A_LOG, OTHER), id="pg_dump"),
    ],
)
def test_however_it_is_exported_they_are_the_same_calls(content: str, tmp_path: Path) -> None:
    stated = StatedCosts()
    first, second = events(rows(tmp_path, content, ALL, stated))
    assert first == one(tmp_path, A_LOG)
    assert (second["user"], second["occurred_at"]) == ("bo", "2026-11-22T00:00:00+00:00")
    assert second["tags"]["key"] == ALIAS
    assert stated.by_day_and_model == {
        ("2026-11-21", "gpt-5.4"): Decimal("0.00365"), ("2026-11-22", "gpt-5.4"): Decimal("0.00365"),
    }  # fmt: skip


def test_a_hit_of_litellms_cache_called_nobody(tmp_path: Path) -> None:
    for hit in ("True", "true", True, "t"):
        event = one(tmp_path, a_log(request_id="chatcmpl-1_cache_hit17", cache_hit=hit, spend=0))
        assert event["type"] == "cache_hit"
        assert accepted(event).event_kind is Kind.CACHE_HIT


FAILED = {
    "status": "failure", "error_information": {"error_class": "RateLimitError", "error_message": "too many"},
}  # fmt: skip


def test_a_failure_counts_if_it_used_something(tmp_path: Path) -> None:
    event = one(tmp_path, a_log(metadata=FAILED, status="failure", spend=0))
    assert (event["outcome"], event["measured"]["error_kind"]) == ("error", "RateLimitError")
    assert "response_id" not in event
    assert accepted(event).failed
    nothing = a_log(metadata=FAILED, prompt_tokens=0, completion_tokens=0, total_tokens=0, spend=0)
    assert skipped(rows(tmp_path, json.dumps(nothing))) == [(1, SkipReason.NO_USAGE)]
    free = {**nothing, "metadata": {}, "status": "success"}
    assert skipped(rows(tmp_path, json.dumps(free))) == [(1, SkipReason.NO_USAGE)]


def test_a_call_that_was_charged_by_other_things_than_tokens_is_kept(tmp_path: Path) -> None:
    image = a_log(call_type="aimage_generation", prompt_tokens=0, completion_tokens=0, total_tokens=0, metadata={})
    assert one(tmp_path, image)["request_type"] == "image"
    pages = {"pages_processed": 3, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    event = one(tmp_path, a_log(call_type="aocr", metadata={"usage_object": pages}))
    assert event["usage"]["pages"] == 3
    accepted(event)


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        pytest.param({}, (1200, 260, 0, 0), id="the table's counts"),
        pytest.param({"additional_usage_values": {"cache_read_input_tokens": 800, "cache_creation_input_tokens": 200}},
                     (1200, 260, 800, 200), id="what it keeps besides"),
        pytest.param({"usage_object": {"prompt_tokens": 1500, "completion_tokens": 7, "total_tokens": 1507,
                                       "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 100}},
                     (1500, 7, 1000, 100), id="the provider's"),
        pytest.param({"usage_object": None, "additional_usage_values": None}, (1200, 260, 0, 0), id="none of these"),
    ],
)  # fmt: skip
def test_usage_is_taken_from_what_says_most(metadata: Event, usage: tuple[int, ...], tmp_path: Path) -> None:
    used = one(tmp_path, a_log(metadata=metadata))["usage"]
    kinds = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens")
    assert tuple(used[kind] for kind in kinds) == usage


@pytest.mark.parametrize(
    ("changes", "provider", "model"),
    [
        ({"model": "azure/gpt-4o", "custom_llm_provider": "azure"}, "azure", "gpt-4o"),
        ({"model": "openrouter/anthropic/claude-opus-4.8", "custom_llm_provider": "openrouter"}, "openrouter",
         "anthropic/claude-opus-4.8"),
        ({"model": "gpt-4o-mini", "custom_llm_provider": ""}, "openai", "gpt-4o-mini"),
        ({"model": "vertex_ai/gemini-2.5-pro", "custom_llm_provider": None}, "vertex_ai", "gemini-2.5-pro"),
        ({"model": "house-model", "custom_llm_provider": ""}, "house", "house-model"),
    ],
)  # fmt: skip
def test_provider_and_model(changes: Event, provider: str, model: str, tmp_path: Path) -> None:
    event = one(tmp_path, a_log(**changes), Defaults(provider="house"))
    assert (event["provider"], event["model"]) == (provider, model)


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"end_user": "customer-9"}, ("customer-9", "research", "litellm")),
        ({"user": "", "metadata": {}}, ("nobody", "team-7", "litellm")),
        ({"user": None, "metadata": {}, "team_id": None, "agent_id": "planner"}, ("nobody", "lab", "planner")),
    ],
)
def test_who_called(changes: Event, who: tuple[str, str, str], tmp_path: Path) -> None:
    event = one(tmp_path, a_log(**changes), Defaults(user="nobody", cost_center="lab"))
    assert (event["user"], event["cost_center"], event["agent_type"]) == who


def test_a_row_without_a_user_is_left_to_the_quarantine(tmp_path: Path) -> None:
    assert quarantined(one(tmp_path, a_log(user=""))) == "user"


def test_tags_that_the_ledger_would_refuse_are_left_out(tmp_path: Path) -> None:
    tags = ["x" * 300, "a:", "b:1", "b:2", 5, "line\nend", *(f"t{number}" for number in range(9))]
    event = one(tmp_path, a_log(request_tags=json.dumps(tags)))
    assert len(event["tags"]) == 8
    assert event["tags"]["b"] == "1"
    accepted(event)


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        pytest.param("", 0, "the file is empty", id="empty"),
        pytest.param(json.dumps([{"startTime": "2026-11-21", "spend": 1, "users": {}, "models": {}}]), 1,
                     "summarize=false", id="sums by day"),
        pytest.param(json.dumps([{"id": 1}]), 1, "the row has no request_id", id="something else"),
        pytest.param(json.dumps([a_log(endTime="soon")]), 1, "endTime: 'soon' is no instant", id="no instant"),
        pytest.param(json.dumps([a_log(endTime=None, startTime=None)]), 1, "endTime: the cell is blank", id="none"),
        pytest.param("time,model\n1,2\n", 1, "there is no column 'request_id'", id="another table"),
        pytest.param(as_csv(A_LOG)[:-30], 2, "a quote that opens in this row", id="CSV that is cut off"),
        pytest.param(as_dump(A_LOG).partition("\\.\n\n--")[0], 12, "the dump ends within a table", id="a cut dump"),
        pytest.param(as_dump(A_LOG).replace("LiteLLM_SpendLogs", "other"), 0, "pg_dump --data-only", id="other"),
        pytest.param(as_dump(A_LOG).replace("\tgpt-5.4\t", "gpt"), 12, "the row has 25 cells, but COPY", id="tab"),
    ],
)  # fmt: skip
def test_what_is_no_spend_log_is_refused(content: str, line: int, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile) as refused:
        rows(tmp_path, content)
    assert problem in refused.value.problem
    assert refused.value.place.line == line
