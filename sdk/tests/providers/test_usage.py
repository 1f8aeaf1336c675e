"""Usage: valid counts, and what is left of a usage once parts of it are booked."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from token_ledger_sdk import Usage
from token_ledger_sdk.providers.usage import PARTS, UNITS


@pytest.mark.parametrize("wrong", [-1, 1.0, "1", None, True])
def test_a_usage_takes_whole_counts_only(wrong: Any) -> None:
    with pytest.raises(ValueError, match="reasoning_tokens"):
        Usage(1, 1, reasoning_tokens=wrong)


@pytest.mark.parametrize(
    ("use", "booked", "rest"),
    [
        (Usage(7, 1, 163), Usage(0, 0), Usage(7, 1, 163)),
        (Usage(600, 40), Usage(600, 10), Usage(0, 30)),
        (Usage(600, 40), Usage(700, 50), Usage(0, 0)),
        (Usage(900, 40, 800, 30, 20, 10), Usage(300, 30, 200, 20, 10, 5), Usage(600, 10, 600, 0, 0, 5)),
        (Usage(900, 40, 100, 30, 20, 10), Usage(300, 30, 0, 10, 10, 5), Usage(600, 10, 100, 20, 10, 5)),
        # Told only once the whole was booked: it is input, or output, of another kind already.
        (Usage(600, 40, 500, reasoning_tokens=30), Usage(600, 30), Usage(0, 10, reasoning_tokens=10)),
        (Usage(600, 40, 0, 300, 200), Usage(500, 40), Usage(100, 0, 0, 0, 100)),
    ],
)
def test_what_is_not_booked_yet(use: Usage, booked: Usage, rest: Usage) -> None:
    assert use.less(booked) == rest
    assert use.less(booked + rest) == Usage(0, 0)


def test_every_kind_is_a_whole_or_a_part_of_one_or_a_unit() -> None:
    wholes, parts = {whole for whole, _ in PARTS}, {part for _, parts in PARTS for part in parts}
    assert {field.name for field in fields(Usage)} == wholes | parts | {*UNITS}


def test_audio_that_was_cached_is_cut_to_the_audio_that_is_left() -> None:
    use = Usage(900, 0, 500, audio_input_tokens=400, audio_cache_read_tokens=300)
    rest = use.less(Usage(800, 0, 0, audio_input_tokens=390))
    assert rest == Usage(100, 0, 100, audio_input_tokens=10, audio_cache_read_tokens=10)


def test_units_are_booked_once() -> None:
    use = Usage(900, 40, web_searches=3, images=1, pages=2, audio_seconds=61, requests=1)
    assert use.less(Usage(900, 40, web_searches=2, audio_seconds=60)) == Usage(
        0, 0, web_searches=1, images=1, pages=2, audio_seconds=1, requests=1
    )


def test_kinds_that_a_call_has_not_are_not_sent() -> None:
    text = {
        "input_tokens": 7, "output_tokens": 1, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0, "reasoning_tokens": 0,
    }  # fmt: skip
    assert Usage(7, 1).to_json() == text
    assert Usage(7, 1, web_searches=2).to_json() == {**text, "web_searches": 2}
