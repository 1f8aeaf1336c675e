"""Counting requests: what OpenAI's own answers say of their input, and texts that are made to hurt."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from token_ledger_sdk.image_tokens import image_tokens
from token_ledger_sdk.request_tokens import characters_of, count_chat, count_responses, texts_within
from token_ledger_sdk.tokens import count_tokens, count_tokens_async

DATA = Path(__file__).parent / "data" / "counted_requests.jsonl.gz"
OFF = {"195": 4, "250": 1, "283": 4}
"""By how many tokens the count is above what was charged: 21 tools; a call of a tool and a tool in Responses."""


def requests() -> list[dict[str, Any]]:
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("request_", requests(), ids=lambda each: each["file"][:3])
def test_recorded_requests_are_counted_to_the_token(request_: dict[str, Any]) -> None:
    body, model = request_["body"], request_["model"]

    def count(text: str) -> int:
        return count_tokens(text, model)[0]

    tools = body.get("tools", [])
    if request_["api"] == "chat":
        counted = count_chat(body["messages"], tools, count, model)
    else:
        counted = count_responses(body["input"], body.get("instructions"), tools, count, model)
    assert counted.tokens - request_["input_tokens"] == OFF.get(request_["file"][:3], 0)


MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "What is 5 + 3?"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look something up.\n",
        "parameters": {
            "type": "object",
            "required": ["kind"],
            "properties": {
                "kind": {"enum": ["a", "b"], "description": "what"},
                "many": {"type": "array", "items": {"type": "integer"}},
                "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "deep": {"type": "object", "properties": {"x": {"type": ["number", "null"]}}},
                "any": {},
            },
        },
    },
}


def test_messages_and_tools_are_counted_as_they_are_given() -> None:
    assert count_tokens(MESSAGES, "gpt-5-nano") == (14, True)
    assert count_tokens(MESSAGES, "claude-sonnet-4-6")[1] is False
    with_tool, _ = count_tokens(MESSAGES, "gpt-5-nano", tools=[TOOL])
    assert 14 + 40 < with_tool < 14 + 80
    assert count_tokens(MESSAGES, "gpt-5-nano", tools=[{"type": "web_search"}]) == (10_014, False)


def test_what_is_not_of_the_format_does_not_raise() -> None:
    strange: list[Any] = [None, 5, "x", {"content": {"a": [1, None, {"b": "c"}]}}, {"role": 3, "content": [[["x"]]]}]
    tools: list[Any] = [
        None,
        {"function": {"name": "x", "parameters": 7}},
        {"name": "y", "parameters": {"properties": []}},
    ]
    assert count_tokens(strange, "gpt-5", tools=tools)[0] > 0


def endless() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"again": schema}
    return schema


def test_a_schema_without_an_end_is_counted_to_some_depth() -> None:
    assert count_tokens(MESSAGES, "gpt-5", tools=[{"name": "x", "parameters": endless()}])[0] < 1_000


def deep(inner: Any, levels: int, wrap: Any) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


@pytest.mark.parametrize(
    "wrap", [lambda x: [x], lambda x: {"a": x}, lambda x: {"type": "tool_result", "content": [x]}, lambda x: (x,)]
)
def test_what_is_deep_is_counted_like_what_is_not(wrap: Any) -> None:
    """What a tool has answered may be as deep as it likes."""
    text = "What is the capital of the United Kingdom?"
    counted, exact = count_tokens([{"role": "user", "content": deep(text, 2_000, wrap)}], "gpt-5")
    assert counted >= count_tokens([{"role": "user", "content": text}], "gpt-5")[0]
    assert not exact
    assert characters_of(deep(text, 2_000, wrap)) >= len(text)


def test_what_is_within_itself_has_an_end() -> None:
    content: list[Any] = ["word"]
    content.append(content)
    assert characters_of(content) < 100
    assert 0 < count_tokens([{"role": "user", "content": content}], "gpt-5")[0] < 100
    assert [*texts_within([content] * 3)] == ["word"] * 3, "what stands beside it is another time"


@pytest.mark.parametrize("text", [" ", "\t", "\u3000", "\n", "a", "\U0001f469\u200d", "\u0301"])
def test_hostile_texts_are_counted(text: str) -> None:
    tokens, exact = count_tokens(text * 1_000_000, "gpt-5")
    assert 100 < tokens <= 10_000_000
    assert not exact


async def test_hostile_messages_are_counted_in_a_thread() -> None:
    messages = [{"role": "user", "content": " " * 1_000_000}]
    assert await count_tokens_async(messages, "gpt-5") == count_tokens(messages, "gpt-5")


# --- images ---


def png(width: int, height: int) -> str:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunk).decode()


def jpeg(width: int, height: int) -> str:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"note"
    return "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8" + comment + frame).decode()


def gif(width: int, height: int) -> str:
    return "data:image/gif;base64," + base64.b64encode(b"GIF89a" + struct.pack("<HH", width, height)).decode()


@pytest.mark.parametrize("made", [png, jpeg, gif])
def test_the_size_of_an_image_decides(made: Any) -> None:
    # The examples of OpenAI's documentation: one of 1024 x 1024 is 4 tiles, one of 2048 x 4096 is 6.
    assert image_tokens(made(1024, 1024), "high", "gpt-4o") == (765, True)
    assert image_tokens(made(2048, 4096), "auto", "gpt-4o-2024-11-20") == (1105, True)
    assert image_tokens(made(1024, 1024), "low", "gpt-4o") == (85, True)
    assert image_tokens(made(1024, 1024), "high", "gpt-4.1-mini") == (1_659, True)  # 1,024 patches


@pytest.mark.parametrize(
    "address",
    ["https://example.org/a.png", "data:image/png;base64,!!!", "data:text/plain,x", "", "data:image/png;base64,"],
)
def test_an_image_that_can_not_be_seen_is_a_large_one(address: str) -> None:
    assert image_tokens(address, "high", "gpt-4o") == (765, False)


def test_an_image_in_a_message_is_counted_once() -> None:
    parts = [
        {"type": "text", "text": "x"},
        {"type": "image_url", "image_url": {"url": png(512, 512), "detail": "high"}},
    ]
    plain, _ = count_tokens([{"role": "user", "content": "x"}], "gpt-4o")
    assert count_tokens([{"role": "user", "content": parts}], "gpt-4o") == (plain + 255, True)
