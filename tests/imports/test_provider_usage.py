"""Usage as OpenAI and Anthropic report it for an organization: sums by bucket."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.imports.reading import Event, a_file, accepted, events, keys, quarantined, skipped
from token_ledger.imports import anthropic_usage, openai_usage
from token_ledger.imports.aggregates import LONG_PROMPT
from token_ledger.imports.rows import Defaults, Row, SkipReason, UnreadableFile

ALL = Defaults(user="unknown")
OPENAI: Event = {
    "object": "organization.usage.completions.result", "input_tokens": 100_000, "output_tokens": 20_000,
    "input_cached_tokens": 80_000, "input_cache_write_tokens": 1_000, "input_uncached_tokens": 19_000,
    "input_text_tokens": 95_000, "output_text_tokens": 20_000, "input_cached_text_tokens": 79_000,
    "input_audio_tokens": 4_000, "input_cached_audio_tokens": 1_000, "output_audio_tokens": 500,
    "input_image_tokens": 0, "input_cached_image_tokens": 0, "output_image_tokens": 0, "num_model_requests": 40,
    "project_id": "proj_1", "user_id": "user-ada", "api_key_id": "key_1", "model": "gpt-5.4-2026-03-05", "batch": False,
    "service_tier": "default",
}  # fmt: skip
ANTHROPIC: Event = {
    "uncached_input_tokens": 1_500,
    "cache_creation": {"ephemeral_1h_input_tokens": 1_000, "ephemeral_5m_input_tokens": 500},
    "cache_read_input_tokens": 20_000, "output_tokens": 5_000, "server_tool_use": {"web_search_requests": 10},
    "api_key_id": "apikey_1", "workspace_id": "wrkspc_1", "model": "claude-opus-4-8", "service_tier": "standard",
    "context_window": "0-200k", "inference_geo": "global", "account_id": "user_ada",
}  # fmt: skip


def openai_page(*results: Event, begin: Any = 1_795_219_200) -> Event:
    bucket = {"object": "bucket", "start_time": begin, "end_time": 1_795_305_600, "results": [*results]}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


def anthropic_page(*results: Event, begin: Any = "2026-11-21T00:00:00Z") -> Event:
    bucket = {"starting_at": begin, "ending_at": "2026-11-22T00:00:00Z", "results": [*results]}
    return {"data": [bucket], "has_more": False, "next_page": None}


def of_openai(folder: Path, *pages: Event, defaults: Defaults = ALL) -> list[Row]:
    return [*openai_usage.read(a_file(folder, "\n".join(map(json.dumps, pages))), defaults)]


def of_anthropic(folder: Path, *pages: Event, defaults: Defaults = ALL) -> list[Row]:
    return [*anthropic_usage.read(a_file(folder, "\n".join(map(json.dumps, pages))), defaults)]


def total(found: list[Event]) -> Counter[str]:
    tokens: Counter[str] = Counter()
    for event in found:
        tokens.update(event["usage"])
    return tokens


def test_a_result_of_openai_is_an_event(tmp_path: Path) -> None:
    [event] = events(of_openai(tmp_path, openai_page(OPENAI)))
    assert len(event.pop("idempotency_key")) == 32
    assert event == {
        "source": "import-openai-usage", "agent_type": "openai-usage", "provider": "openai", "user": "user-ada",
        "model": "gpt-5.4-2026-03-05", "occurred_at": "2026-11-21T00:00:00+00:00", "request_type": "chat",
        "service_tier": "standard", "tags": {"project": "proj_1", "api_key": "key_1", "requests": "40"},
        "usage": {
            "input_tokens": 100_000, "output_tokens": 20_000, "cache_read_tokens": 80_000,
            "cache_write_5m_tokens": 1_000, "audio_input_tokens": 5_000, "audio_cache_read_tokens": 1_000,
            "audio_output_tokens": 500,
        },
    }  # fmt: skip
    accepted({**event, "idempotency_key": "k"})


def test_a_result_of_anthropic_is_an_event(tmp_path: Path) -> None:
    [event] = events(of_anthropic(tmp_path, anthropic_page(ANTHROPIC)))
    assert len(event.pop("idempotency_key")) == 32
    assert event == {
        "source": "import-anthropic-usage", "agent_type": "anthropic-usage", "provider": "anthropic",
        "user": "user_ada", "model": "claude-opus-4-8", "occurred_at": "2026-11-21T00:00:00+00:00",
        "service_tier": "standard",
        "tags": {"workspace": "wrkspc_1", "api_key": "apikey_1", "context_window": "0-200k", "inference_geo": "global"},
        "usage": {
            "input_tokens": 23_000, "output_tokens": 5_000, "cache_read_tokens": 20_000,
            "cache_write_5m_tokens": 500, "cache_write_1h_tokens": 1_000, "web_searches": 10,
        },
    }  # fmt: skip
    accepted({**event, "idempotency_key": "k"})


def test_the_key_is_what_a_sum_is_of_and_not_how_much_it_is(tmp_path: Path) -> None:
    grown = {**OPENAI, "input_tokens": 150_000, "num_model_requests": 41}
    other = {**OPENAI, "project_id": "proj_2"}
    first, second, third = keys(of_openai(tmp_path, openai_page(OPENAI, grown, other)))
    assert first == second != third
    [later] = keys(of_openai(tmp_path, openai_page(OPENAI, begin=1_795_305_600)))
    assert later != first
    grown = {**ANTHROPIC, "output_tokens": 9}
    others = [{**ANTHROPIC, name: "other"} for name in ("model", "speed", "context_window", "service_account_id")]
    first, second, *rest = keys(of_anthropic(tmp_path, anthropic_page(ANTHROPIC, grown, *others)))
    assert first == second
    assert len({first, *rest}) == 5


@pytest.mark.parametrize(
    ("requests", "parts"),
    [pytest.param(10_000, 6, id="short calls"), pytest.param(4, 4, id="long calls"), pytest.param(0, 6, id="unknown")],
)
def test_a_sum_is_booked_in_parts_that_are_no_longer_than_its_calls(requests: int, parts: int, tmp_path: Path) -> None:
    large = {**OPENAI, "input_tokens": 1_111_111, "input_cached_tokens": 999_999, "num_model_requests": requests}
    found = events(of_openai(tmp_path, openai_page(large)))
    assert len({event["idempotency_key"] for event in found}) == len(found) == parts
    assert total(found) == total(events(of_openai(tmp_path, openai_page({**large, "num_model_requests": 1}))))
    for event in found:
        usage = event["usage"]
        assert usage["cache_read_tokens"] + usage["cache_write_5m_tokens"] <= usage["input_tokens"]
        accepted(event)
    assert (max(event["usage"]["input_tokens"] for event in found) <= LONG_PROMPT) == (parts == 6)
    assert ["requests" in event["tags"] for event in found] == [bool(requests)] + [False] * (parts - 1)


def test_very_long_prompts_of_anthropic_stay_very_long(tmp_path: Path) -> None:
    long = {**ANTHROPIC, "context_window": "200k-1M", "uncached_input_tokens": 1_000_000}
    found = events(of_anthropic(tmp_path, anthropic_page(long)))
    assert len(found) == 5
    assert all(event["usage"]["input_tokens"] > LONG_PROMPT for event in found)
    short = events(of_anthropic(tmp_path, anthropic_page({**long, "context_window": "0-200k"})))
    assert all(event["usage"]["input_tokens"] <= LONG_PROMPT for event in short)
    assert total(found) == total(short)


def test_other_results_of_openai(tmp_path: Path) -> None:
    kind = "organization.usage.{}.result".format
    found = of_openai(
        tmp_path,
        openai_page(
            {
                "object": kind("embeddings"),
                "input_tokens": 7,
                "num_model_requests": 1,
                "model": "text-embedding-3-small",
            },
            {
                "object": kind("images"),
                "images": 3,
                "num_model_requests": 2,
                "model": "gpt-image-1",
                "size": "1024x1024",
            },
            {"object": kind("audio_speeches"), "characters": 45, "num_model_requests": 1, "model": "tts-1"},
            {"object": kind("audio_transcriptions"), "seconds": 20, "num_model_requests": 1, "model": "whisper-1"},
            {"object": kind("vector_stores"), "usage_bytes": 20, "project_id": "p"},
            {"object": kind("completions"), "input_tokens": 0, "output_tokens": 0, "num_model_requests": 0},
        ),
    )
    usages = [event["usage"] for event in events(found[:4])]
    assert usages == [
        {"input_tokens": 7, "output_tokens": 0},
        {"input_tokens": 0, "output_tokens": 0, "images": 3},
        {"input_tokens": 0, "output_tokens": 0, "characters": 45},
        {"input_tokens": 0, "output_tokens": 0, "audio_seconds": 20},
    ]
    assert [reason for _, reason in skipped(found)] == [SkipReason.NO_CALL, SkipReason.NO_USAGE]


def test_pages_stand_in_one_file_in_any_form(tmp_path: Path) -> None:
    pages = [openai_page(OPENAI), openai_page(OPENAI, begin=1_795_305_600)]
    expected = keys(of_openai(tmp_path, *pages))
    assert len({*expected}) == 2
    buckets = [bucket for page in pages for bucket in page["data"]]
    for content in (
        "\n".join(json.dumps(page, indent=2) for page in pages), json.dumps(pages), json.dumps(buckets, indent=2),
        json.dumps({**pages[0], "data": buckets}, indent=1),
    ):  # fmt: skip
        assert keys(openai_usage.read(a_file(tmp_path, content), ALL)) == expected


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({"batch": True}, "batch"), ({"service_tier": "flex"}, "flex"), ({"service_tier": "priority"}, "priority"),
        ({"service_tier": None, "batch": None}, "standard"),
    ],
)  # fmt: skip
def test_how_calls_were_served(changes: Event, tier: str, tmp_path: Path) -> None:
    [event] = events(of_openai(tmp_path, openai_page({**OPENAI, **changes})))
    assert event["service_tier"] == tier
    if "batch" not in changes:
        [event] = events(of_anthropic(tmp_path, anthropic_page({**ANTHROPIC, **changes})))
        assert event["service_tier"] == tier
    [event] = events(of_anthropic(tmp_path, anthropic_page({**ANTHROPIC, "speed": "fast"})))
    assert event["service_tier"] == "fast"


def test_a_user_that_was_not_grouped_by_is_the_imports(tmp_path: Path) -> None:
    page = openai_page({**OPENAI, "user_id": None})
    [event] = events(of_openai(tmp_path, page))
    assert event["user"] == "unknown"
    [event] = events(of_openai(tmp_path, page, defaults=Defaults()))
    assert quarantined(event) == "user"


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (openai_page({**OPENAI, "model": None}), "ask for it with group_by=model"),
        (openai_page({**OPENAI, "input_tokens": -1}), "input_tokens is -1: it must be a number of 0 or more"),
        (openai_page({**OPENAI, "input_tokens": "5"}), "input_tokens is '5'"),
        (openai_page({**OPENAI, "object": "organization.costs.result"}), "these are costs, which say no tokens"),
        (openai_page({**OPENAI, "object": "chat.completion"}), "not 'chat.completion': save the answer as it came"),
        (openai_page(OPENAI, begin="yesterday"), "start_time is 'yesterday': it must be seconds since 1970"),
        ({"object": "page", "data": 5}, "'data' must be a list of objects"),
        ({"object": "page", "data": [{"start_time": 1, "results": [5]}]}, "'results' must be a list of objects"),
        (anthropic_page(ANTHROPIC), "a bucket must have 'start_time' and 'results'"),
        ({"error": {"message": "no admin key"}}, "a bucket must have 'start_time' and 'results'"),
    ],
)
def test_what_is_no_usage_of_openai_is_refused(page: Event, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="line 1: ") as refused:
        of_openai(tmp_path, page)
    assert problem in refused.value.problem


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (anthropic_page({**ANTHROPIC, "model": None}), "ask for it with group_by=model"),
        (anthropic_page({**ANTHROPIC, "output_tokens": -1}), "output_tokens is -1"),
        (anthropic_page({**ANTHROPIC, "cache_creation": {"ephemeral_5m_input_tokens": "x"}}), "is 'x'"),
        (anthropic_page({"amount": "12.5", "currency": "USD"}), "these are costs, which say no tokens"),
        (anthropic_page(ANTHROPIC, begin="yesterday"), "starting_at: 'yesterday' is no instant"),
        (openai_page(OPENAI), "a bucket must have 'starting_at' and 'results'"),
    ],
)
def test_what_is_no_usage_of_anthropic_is_refused(page: Event, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="line 1: ") as refused:
        of_anthropic(tmp_path, page)
    assert problem in refused.value.problem
