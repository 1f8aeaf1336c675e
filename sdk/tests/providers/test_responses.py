"""Reading usage: every recorded response, and formats of which there is no recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types.beta import BetaUsage

from token_ledger_sdk import Usage, UsageMissing, usage_from, usage_from_anthropic, usage_from_openai


def test_cache_writes_of_chat_are_read(recorded: Callable[[str], str]) -> None:
    assert usage_from(json.loads(recorded("168"))) == Usage(3329, 53, 3211, cache_write_5m_tokens=115)


def test_contradictory_figures_are_passed_on(recorded: Callable[[str], str]) -> None:
    assert usage_from(json.loads(recorded("103"))) == Usage(7, 1, cache_read_tokens=163)
    written_and_read = usage_from(json.loads(recorded("169")))
    assert written_and_read.cache_read_tokens + written_and_read.cache_write_5m_tokens > 2168


def test_reasoning_outside_completion_tokens_is_output() -> None:
    grok = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 315,
        "completion_tokens_details": {"reasoning_tokens": 300},
    }
    assert usage_from({"usage": grok}) == Usage(10, 305, reasoning_tokens=300)


ANTHROPIC = {"input_tokens": 3, "output_tokens": 7, "cache_read_input_tokens": 100}


@pytest.mark.parametrize(
    ("writes", "expected_5m", "expected_1h"),
    [
        ({}, 0, 0),
        ({"cache_creation_input_tokens": 50}, 50, 0),
        ({"cache_creation_input_tokens": 50, "cache_creation": None}, 50, 0),
        (
            {
                "cache_creation_input_tokens": 50,
                "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
            },
            20,
            30,
        ),
        (
            {"cache_creation_input_tokens": 50, "cache_creation": {"ephemeral_1h_input_tokens": 30}},
            20,
            30,
        ),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}}, 20, 30),
    ],
)
def test_anthropic_cache_writes(writes: dict[str, Any], expected_5m: int, expected_1h: int) -> None:
    usage = usage_from_anthropic({"type": "message", "usage": ANTHROPIC | writes})
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (expected_5m, expected_1h)
    assert usage.input_tokens == 3 + 100 + expected_5m + expected_1h


def test_anthropic_thinking_is_reasoning() -> None:
    usage = usage_from({"usage": ANTHROPIC | {"output_tokens_details": {"thinking_tokens": 6}}})
    assert (usage.output_tokens, usage.reasoning_tokens) == (7, 6)


COMPACTED = ANTHROPIC | {
    "iterations": [
        {
            "type": "compaction",
            "input_tokens": 1_000,
            "output_tokens": 90,
            "cache_read_input_tokens": 150_000,
            "cache_creation_input_tokens": 40,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 40},
        },
        {
            "type": "message",
            "input_tokens": 3,
            "output_tokens": 7,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 0,
        },
    ]
}


def test_a_compaction_is_added_and_messages_are_not_counted_twice() -> None:
    expected = Usage(103 + 151_040, 97, cache_read_tokens=150_100, cache_write_1h_tokens=40)
    assert usage_from({"type": "message", "usage": COMPACTED}) == expected
    assert usage_from(BetaUsage.model_validate(COMPACTED)) == expected
    bare = {"input_tokens": 3, "output_tokens": 7, "iterations": COMPACTED["iterations"]}
    assert usage_from(bare) == Usage(3 + 151_040, 97, cache_read_tokens=150_000, cache_write_1h_tokens=40)
    assert usage_from_anthropic(COMPACTED | {"iterations": None}) == Usage(103, 7, cache_read_tokens=100)


def test_dispatch_by_shape_takes_objects_and_bare_usage() -> None:
    assert usage_from(SimpleNamespace(usage=SimpleNamespace(prompt_tokens=4, completion_tokens=2))) == Usage(4, 2)
    assert usage_from(SimpleNamespace(input_tokens=4, output_tokens=2)) == Usage(4, 2)
    assert usage_from({"prompt_tokens": 4.0, "completion_tokens": None, "cached_tokens": 1}) == Usage(4, 0, 1)
    assert usage_from(Usage(4, 2)) == Usage(4, 2)
    # The same counts mean something else in the two shapes with this name.
    responses = {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 5}}
    assert usage_from({"object": "response", "usage": responses}).input_tokens == 9
    assert usage_from({"type": "message", "usage": ANTHROPIC}).input_tokens == 103


def test_no_figure_is_negative() -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": -1, "prompt_tokens_details": {"cached_tokens": -9}}
    assert usage_from({"usage": usage}) == Usage(0, 0)


@pytest.mark.parametrize(
    "response",
    [
        None,
        {},
        "text",
        {"usage": None},
        {"usage": {}},
        {"usage": {"input_tokens": None, "output_tokens": 3}},
        {"usage": {"prompt_tokens": "12"}},
        {"usage": {"prompt_tokens": True}},
        {"usage": {"prompt_tokens": float("nan")}},
        {"usage": {"prompt_tokens": float("inf")}},
        SimpleNamespace(usage=None),
    ],
)
@pytest.mark.parametrize("read", [usage_from, usage_from_openai, usage_from_anthropic])
def test_usage_missing(read: Callable[[object], Usage], response: object) -> None:
    with pytest.raises(UsageMissing):
        read(response)


def test_an_error_body_is_named(recorded: Callable[[str], str]) -> None:
    with pytest.raises(UsageMissing, match="an error of the provider"):
        usage_from(json.loads(recorded("301")))
