"""Streams through a wrapped client: nothing but the asked for reaches the caller, and what was used is booked."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI

from token_ledger_sdk.tokens import count_tokens

from .conftest import GrantingLedger
from .provider import Provider
from .test_openai_calls import MESSAGES, TOOL

Recorded = Callable[[str], str]
WITHOUT_THE_END = 3
"""So many events before the end of a recorded stream have been cut: its last chunk, its usage, [DONE]."""


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and "[DONE]" not in line]


def chat_stream(*words: str, usage: bool = True) -> str:
    base = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5.4-2026-03-05"}
    chunks = [{**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": None}]
    chunks += [{**base, "choices": [{"index": 0, "delta": {"content": word}}], "usage": None} for word in words]
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
    if usage:
        used = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
        chunks.append({**base, "choices": [], "usage": used})
    lines = [f"data: {json.dumps(chunk, separators=(',', ':'))}" for chunk in chunks]
    return "\n\n".join([*lines, "data: [DONE]"])


def test_the_usage_is_asked_for_and_kept_from_the_caller(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("Lon", "don"))
    chunks = [*client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)]
    assert provider.asked[0].body["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "London"
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (21, 9)
    assert settled["response_id"] == "chatcmpl-9"
    measured = settled["measured"]
    assert (measured["finish_reason"], "estimated" in settled) == ("stop", False)
    assert 0 <= measured["first_token_ms"] <= measured["latency_ms"]


def test_a_caller_who_asks_for_the_usage_gets_it(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("London"))
    stream = client.chat.completions.create(
        model="gpt-5.4", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert [chunk.usage.completion_tokens for chunk in stream if chunk.usage] == [9]
    assert granting.settled["usage"]["output_tokens"] == 9


def test_other_stream_options_are_kept(client: OpenAI, provider: Provider) -> None:
    provider.stream(chat_stream("London"))
    [
        *client.chat.completions.create(
            model="gpt-5.4", messages=MESSAGES, stream=True, stream_options={"include_obfuscation": False}
        )
    ]
    assert provider.asked[0].body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_the_bytes_may_come_in_any_pieces(
    size: int, client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    content = chat_stream("Lon", "don").encode() + b"\n\n"
    provider.stream(chat_stream("x"))
    provider.replies[0].parts = [content[start : start + size] for start in range(0, len(content), size)]
    chunks = [*client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "London"
    assert granting.settled["usage"]["output_tokens"] == 9


@pytest.mark.parametrize(("number", "expected"), [("196", (53, 15)), ("203", None), ("184", None)])
def test_recorded_chat_streams_are_booked(
    number: str, expected: Any, client: OpenAI, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.stream(recorded(number))
    chunks = [*client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True, tools=[TOOL])]
    assert chunks
    usage = granting.settled["usage"]
    assert expected in (None, (usage["input_tokens"], usage["output_tokens"]))
    assert usage["output_tokens"] > 0
    assert "estimated" not in granting.settled


def test_a_recorded_responses_stream_is_booked(
    client: OpenAI, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.stream(recorded("284"))
    events = [*client.responses.create(model="gpt-4.1", input="x", stream=True)]
    assert [event.type for event in events] == [event["type"] for event in events_of(recorded("284"))]
    assert (granting.settled["usage"]["input_tokens"], granting.settled["usage"]["output_tokens"]) == (21, 3)


def test_the_stream_helpers_are_booked(
    client: OpenAI, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.stream(chat_stream("Lon", "don"))
    with client.chat.completions.stream(model="gpt-5.4", messages=MESSAGES) as stream:
        assert stream.get_final_completion().choices[0].message.content == "London"
    provider.replies.clear()
    provider.stream(recorded("284"))
    with client.responses.stream(model="gpt-4.1", input="x") as events:
        assert events.get_final_response().usage is not None
    assert [each["usage"]["output_tokens"] for each in granting.sent("/settle")] == [9, 3]


def test_a_stream_read_as_lines_is_booked(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("London"))
    with client.chat.completions.with_streaming_response.create(
        model="gpt-5.4", messages=MESSAGES, stream=True
    ) as response:
        lines = [*response.iter_lines()]
    assert not any('"choices":[]' in line for line in lines)
    assert granting.settled["usage"]["output_tokens"] == 9


# --- streams that end before their end ---


def text_tokens(text: str) -> int:
    return count_tokens(text, "gpt-5.4")[0]


def test_a_stream_that_is_closed_early_is_counted(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("London", " is", " the", " capital"))
    with client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content == " is":
                break
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert 2 <= settled["usage"]["output_tokens"] <= text_tokens("London is the capital")
    assert settled["usage"]["input_tokens"] == granting.reserved["input_tokens"]
    assert settled["measured"]["estimate_rule"] == "input counted, output from text (tiktoken)"


def test_a_stream_that_is_left_lying_is_counted(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("London", " is"))
    for _ in client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True):
        break
    gc.collect()  # a stream of the library refers to itself
    assert granting.settled["estimated"]


@pytest.mark.parametrize("is_raw", [False, True])
def test_a_stream_that_nobody_began_to_read_is_an_estimate(
    is_raw: bool, client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("London", " is"))
    completions: Any = client.chat.completions
    (completions.with_raw_response if is_raw else completions).create(model="gpt-5.4", messages=MESSAGES, stream=True)
    while not granting.sent("/settle"):
        gc.collect()  # a stream of the library refers to itself
        time.sleep(0.001)
    assert granting.settled["estimated"]


@pytest.mark.parametrize("number", ["196", "284"])
def test_a_stream_that_is_cut_is_counted(
    number: str, client: OpenAI, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.stream(recorded(number), cut_after=len(events_of(recorded(number))) - WITHOUT_THE_END)
    with pytest.raises(openai.APIConnectionError):
        if number == "196":
            [*client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)]
        else:
            [*client.responses.create(model="gpt-4.1", input="x", stream=True)]
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert 0 < settled["usage"]["output_tokens"] < 100
    assert settled["measured"]["error_kind"] == "cut_connection"
    assert settled["measured"]["estimate_rule"] == "input counted, output from text (tiktoken)"


def test_a_stream_without_figures_is_counted(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("London", usage=False))
    [*client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)]
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert settled["usage"]["output_tokens"] == text_tokens("London")


def test_an_error_event_in_a_stream_is_counted(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    begun = "\n\n".join(chat_stream("London").split("\n\n")[:2])
    provider.stream(begun + '\n\ndata: {"error": {"message": "overloaded", "type": "server_error"}}')
    with pytest.raises(openai.APIError, match="overloaded"):
        [*client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)]
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert settled["usage"]["output_tokens"] == text_tokens("London")
    assert settled["measured"]["error_kind"] == "error_event"


def test_what_the_text_speaks_of_is_no_error(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream('{"error": {"usage": {"prompt_tokens": 9}}}', "data: [DONE]\n\n"))
    chunks = [*client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)]
    assert len(chunks) == 4
    assert granting.settled["usage"]["output_tokens"] == 9
