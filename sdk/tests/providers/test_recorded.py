"""Every recorded response: what it used, derived from the index of the recordings by a rule for each API.

The index has the provider's own figures, taken from the bodies by others. The rules say what they mean, and `BESIDES`
says what the index leaves out, read in the bodies by eye.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from token_ledger_sdk import (
    AnthropicStreamUsage,
    AnyStreamUsage,
    GeminiStreamUsage,
    OpenAIStreamUsage,
    Reading,
    StreamUsage,
    Usage,
    UsageMissing,
    reading_of,
)

DATA = Path(__file__).resolve().parent.parent / "data"
with (DATA / "index.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))
STREAMS = [row for row in ROWS if row["stream"] == "1"]
NAMES = [row["file"] for row in ROWS]

BESIDES: dict[str, dict[str, int]] = {
    # Charged units of Cohere; the index has the tokens that the model read and wrote.
    "048": {"input_tokens": 8, "output_tokens": 8},
    "049": {"input_tokens": 5, "output_tokens": 10},
    "050": {"input_tokens": 12, "output_tokens": 10},
    # Modalities of Gemini: promptTokensDetails, cacheTokensDetails.
    "065": {"audio_input_tokens": 1917, "video_input_tokens": 15780 - 15483, "audio_cache_read_tokens": 1881},
    "066": {"image_input_tokens": 258, "image_cache_read_tokens": 143},
    "067": {"image_input_tokens": 258, "image_cache_read_tokens": 143},
    # OpenRouter's prompt_tokens_details.cache_write_tokens.
    "165": {"cache_write_5m_tokens": 329},
    "167": {"cache_write_5m_tokens": 79},
    "168": {"cache_write_5m_tokens": 115},
    "169": {"cache_write_5m_tokens": 2161},
    # Searches of the web: OpenRouter's server_tool_use_details, OpenAI's tool_usage or items of the output.
    "200": {"web_searches": 1},
    "252": {"web_searches": 1},
    "255": {"web_searches": 1},
    "263": {"web_searches": 1},
    "264": {"web_searches": 1},
    "265": {"web_searches": 1},
    "266": {"web_searches": 2},
    "286": {"web_searches": 1},
    "289": {"web_searches": 1},
}
TIERS = {"085": "flex", "151": "priority"}
"""The recordings that were not of the standard tier: trafficType ON_DEMAND_FLEX, and service_tier priority."""
WITHOUT_USAGE = {"051", "068", "296", "297", "298", "299", "300", "301", "302", "303"}
"""Cached content, streams without `include_usage`, errors."""
FORMATS = {
    "anthropic_messages": "anthropic",
    "bedrock_converse": "bedrock",
    "cohere": "cohere",
    "cohere_v2": "cohere",
    "gemini_generate": "gemini",
    "openai_chat": "openai_chat",
    "openai_completions": "openai_chat",
    "openai_embeddings": "openai_chat",
    "openai_responses": "openai_responses",
}


def expected_usage(row: dict[str, str]) -> Usage:
    """Convert the provider's own figures by the rule of its API."""

    def raw(name: str) -> int:
        return int(row[f"{name}_raw"] or 0)

    tokens, output, reasoning = raw("input"), raw("output"), raw("reasoning")
    if row["api"] in ("anthropic_messages", "bedrock_converse"):
        tokens += raw("cached") + raw("cache_write")  # both are outside of the input
    elif row["api"] == "gemini_generate":
        output += reasoning  # thoughts are outside of the candidates
    elif row["api"] == "openai_chat" and raw("total") > tokens + output:
        reasoning = output = raw("total") - tokens  # Gemini counts thoughts in the total only
        reasoning -= raw("output")
    figures = {
        "input_tokens": tokens,
        "output_tokens": output,
        "cache_read_tokens": raw("cached"),
        "cache_write_5m_tokens": raw("cache_write"),  # no recording wrote for an hour
        "reasoning_tokens": reasoning,
    }
    return Usage(**(figures | BESIDES.get(row["file"][:3], {})))


def events_of(text: str) -> list[dict[str, Any]]:
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def streams_for(row: dict[str, str]) -> Iterator[StreamUsage]:
    yield AnyStreamUsage()
    if row["api"] == "anthropic_messages":
        yield AnthropicStreamUsage()
    elif row["api"] == "gemini_generate":
        yield GeminiStreamUsage()
    else:
        yield OpenAIStreamUsage()


def readings(row: dict[str, str], text: str) -> Iterator[Reading]:
    if row["stream"] == "0":
        yield reading_of(json.loads(text))
        return
    for stream in streams_for(row):
        for event in events_of(text):
            stream.add(event)
        yield reading_of(stream)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_recorded_response_is_read(row: dict[str, str], recorded: Callable[[str], str]) -> None:
    number = row["file"][:3]
    text = recorded(number)
    if number in WITHOUT_USAGE:
        with pytest.raises(UsageMissing):
            next(readings(row, text))
        return
    for reading in readings(row, text):
        assert reading.usage == expected_usage(row)
        assert (reading.model or "") == row["model"]
        assert reading.service_tier == TIERS.get(number, "standard")
        assert reading.provider_format == FORMATS[row["api"]]
        assert reading.others == ()


def test_the_recordings_are_all_there() -> None:
    assert len(ROWS) == 303
    assert sum(1 for row in ROWS if not row["input_raw"]) == len(WITHOUT_USAGE)
    assert {row["file"][:3] for row in ROWS if not row["input_raw"]} == WITHOUT_USAGE


BY_EYE: dict[str, Usage] = {
    "001": Usage(19, 22),
    "005": Usage(1167, 187, cache_write_5m_tokens=1163),
    "011": Usage(1114, 406, cache_read_tokens=1111),
    "017": Usage(18135, 50, cache_write_5m_tokens=18131),
    "019": Usage(9514, 1944, cache_read_tokens=9511),
    "020": Usage(11470, 44, cache_read_tokens=9511, cache_write_5m_tokens=1956),
    "024": Usage(1169, 201, cache_write_5m_tokens=1165),
    "026": Usage(1171, 256, cache_read_tokens=1167),
    "031": Usage(7361, 4, cache_write_5m_tokens=7351),
    "033": Usage(2556, 4, cache_write_5m_tokens=2492),
    "038": Usage(1517, 5, cache_read_tokens=1504),
    "043": Usage(2374, 61, cache_read_tokens=2074, cache_write_5m_tokens=297),
    "046": Usage(69, 16),
    "048": Usage(8, 8),
    "054": Usage(8, 28, reasoning_tokens=21),
    "057": Usage(859, 28, cache_read_tokens=594),
    "058": Usage(345, 37, cache_read_tokens=230),
    "062": Usage(9622, 171, cache_read_tokens=9609, reasoning_tokens=136),
    "063": Usage(3520, 44, cache_read_tokens=3512, reasoning_tokens=42),
    "065": Usage(
        17713,
        889,
        cache_read_tokens=17379,
        reasoning_tokens=821,
        audio_input_tokens=1917,
        video_input_tokens=297,
        audio_cache_read_tokens=1881,
    ),
    "066": Usage(
        345, 104, cache_read_tokens=191, reasoning_tokens=40, image_input_tokens=258, image_cache_read_tokens=143
    ),
    "071": Usage(7, 26, reasoning_tokens=21),
    "074": Usage(9613, 72, cache_read_tokens=9602, reasoning_tokens=39),
    "075": Usage(1344, 173, cache_read_tokens=1274, reasoning_tokens=74),
    "077": Usage(158, 8),
    "080": Usage(29, 81, reasoning_tokens=69),
    "085": Usage(5, 101, reasoning_tokens=100),
    "087": Usage(20, 118, reasoning_tokens=108),
    "092": Usage(198, 134, reasoning_tokens=122),
    "101": Usage(14, 139, reasoning_tokens=128),
    "104": Usage(7, 1, cache_read_tokens=161),
    "112": Usage(98, 47, reasoning_tokens=27),
    "119": Usage(12, 789, reasoning_tokens=415),
    "123": Usage(563, 116, cache_read_tokens=512, reasoning_tokens=60),
    "125": Usage(35, 74, reasoning_tokens=62),
    "132": Usage(336, 96, cache_read_tokens=256, reasoning_tokens=59),
    "136": Usage(22, 8),
    "140": Usage(268, 5, cache_read_tokens=224),
    "151": Usage(8, 82, reasoning_tokens=64),
    "153": Usage(1149, 261, cache_read_tokens=1024),
    "165": Usage(2572, 100, cache_read_tokens=2240, cache_write_5m_tokens=329),
    "166": Usage(2167, 99, cache_read_tokens=2161),
    "168": Usage(3329, 53, cache_read_tokens=3211, cache_write_5m_tokens=115),
    "170": Usage(687, 240, cache_read_tokens=682, reasoning_tokens=165),
    "179": Usage(13, 564, reasoning_tokens=561),
    "185": Usage(304, 49, reasoning_tokens=23),
    "200": Usage(8174, 30, web_searches=1),
    "201": Usage(43, 36, reasoning_tokens=13),
    "214": Usage(10, 0),
    "222": Usage(3, 0),
    "228": Usage(93, 17, reasoning_tokens=10),
    "234": Usage(18, 5),
    "243": Usage(200, 16, cache_read_tokens=128, reasoning_tokens=14),
    "252": Usage(8614, 95, reasoning_tokens=48, web_searches=1),
    "266": Usage(12594, 1150, cache_read_tokens=3200, reasoning_tokens=1088, web_searches=2),
    "269": Usage(4963, 45, cache_read_tokens=1024, reasoning_tokens=40),
    "277": Usage(158, 32, cache_write_5m_tokens=43, reasoning_tokens=10),
    "281": Usage(440, 14, cache_read_tokens=384),
    "286": Usage(8234, 79, reasoning_tokens=34, web_searches=1),
    "292": Usage(708, 24, cache_read_tokens=512, reasoning_tokens=16),
}
"""Usages written down from the bodies themselves, without the index or a rule."""


@pytest.mark.parametrize("number", BY_EYE)
def test_a_recorded_response_is_read_as_a_person_reads_it(number: str, recorded: Callable[[str], str]) -> None:
    (row,) = (row for row in ROWS if row["file"].startswith(number))
    assert expected_usage(row) == BY_EYE[number]
    assert next(readings(row, recorded(number))).usage == BY_EYE[number]


@pytest.mark.parametrize("row", STREAMS, ids=[row["file"] for row in STREAMS])
def test_wherever_a_stream_is_split_its_final_usage_is_the_same(
    row: dict[str, str], recorded: Callable[[str], str]
) -> None:
    """Looking at the figures in between, or handing the accumulator on, changes nothing; nor do repeated events."""
    events = events_of(recorded(row["file"][:3]))
    for kind in (type(stream) for stream in streams_for(row)):
        whole = kind()
        list(whole.watch(events))
        for split in range(len(events) + 1):
            stream = kind()
            list(stream.watch(events[:split]))
            early = stream.usage() if stream.complete else None
            stream.partial()
            list(stream.watch(events[max(0, split - 1) :]))
            assert (stream.complete, stream.partial()) == (whole.complete, whole.partial())
            # What was final once stays so, unless the provider repeats it with more.
            assert early is None or early == whole.usage()
