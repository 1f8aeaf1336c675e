"""Streams of the google-genai library, wrapped: all chunks reach the caller, and what was used is booked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors

from token_ledger_sdk import TokenLedger

from .conftest import GrantingLedger
from .provider import Provider
from .test_google_calls import LIMITED, MODEL, QUESTION, content
from .test_openai_streams import text_tokens

Recorded = Callable[[str], str]
GIVEN: Any = {"model": MODEL, "contents": QUESTION, "config": LIMITED}


def content_stream(*words: str, ends: bool = True) -> str:
    last = len(words) - 1 if ends else None
    chunks = [
        content({"text": word}, finish_reason="STOP" if number == last else None) for number, word in enumerate(words)
    ]
    return "\n\n".join(f"data: {json.dumps(chunk)}" for chunk in chunks)


@pytest.fixture
def client(bare_google: genai.Client, ledger: TokenLedger) -> genai.Client:
    return ledger.wrap(bare_google, user="ada", agent_type="data_agent")


def test_a_stream_is_booked(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(content_stream("Lon", "don"))
    assert [chunk.text for chunk in client.models.generate_content_stream(**GIVEN)] == ["Lon", "don"]
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert (settled["response_id"], "estimated" in settled) == ("resp_1", False)
    measured = settled["measured"]
    assert measured["finish_reason"] == "STOP"
    assert 0 <= measured["first_token_ms"] <= measured["latency_ms"]


def test_a_stream_of_a_chat_is_booked(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(content_stream("Lon", "don"))
    chat = client.chats.create(model=MODEL)
    assert "".join(chunk.text or "" for chunk in chat.send_message_stream(QUESTION)) == "London"
    assert granting.settled["usage"]["output_tokens"] == 7


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_the_bytes_may_come_in_any_pieces(
    size: int, client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    whole = content_stream("Lon", "don").encode() + b"\n\n"
    provider.stream("x")
    provider.replies[0].parts = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert "".join(chunk.text or "" for chunk in client.models.generate_content_stream(**GIVEN)) == "London"
    assert granting.settled["usage"]["output_tokens"] == 7


@pytest.mark.parametrize(("number", "expected"), [("076", (52, 5)), ("079", (6, 36)), ("081", (29, 212))])
def test_recorded_streams_are_booked(
    number: str,
    expected: tuple[int, int],
    client: genai.Client,
    provider: Provider,
    granting: GrantingLedger,
    recorded: Recorded,
) -> None:
    provider.stream(recorded(number))
    assert [*client.models.generate_content_stream(**GIVEN)]
    usage = granting.settled["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == expected
    assert "estimated" not in granting.settled


# --- streams that end before their end ---


def test_a_stream_that_is_closed_early_is_counted(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(content_stream("London", " is", " the", " capital"))
    stream = client.models.generate_content_stream(**GIVEN)
    for chunk in stream:
        if chunk.text == " is":
            break
    stream.close()  # type: ignore[attr-defined]
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    # Each chunk repeats the figures so far, which are more than its text.
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert settled["measured"]["estimate_rule"] == "figures of the stream so far"


def test_a_stream_that_is_cut_is_counted(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    begun = [json.dumps({"candidates": [{"content": {"parts": [{"text": word}]}}]}) for word in ("London", " is", "x")]
    provider.stream("\n\n".join(f"data: {each}" for each in begun), cut_after=2)
    with pytest.raises(httpx2.RemoteProtocolError):
        [*client.models.generate_content_stream(**GIVEN)]
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert settled["usage"]["input_tokens"] == granting.reserved["input_tokens"]
    assert settled["usage"]["output_tokens"] == text_tokens("London is")
    assert settled["measured"]["error_kind"] == "cut_connection"
    assert settled["measured"]["estimate_rule"] == "input counted, output from text (tiktoken)"


def test_a_stream_that_ends_without_its_end_is_an_estimate(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(content_stream("Lon", "don", ends=False))
    [*client.models.generate_content_stream(**GIVEN)]
    assert (granting.settled["estimated"], granting.settled["usage"]["output_tokens"]) == (True, 7)


def test_an_error_event_in_a_stream_is_counted(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    begun = json.dumps({"candidates": [{"content": {"parts": [{"text": "London"}]}}]})
    provider.stream(f"data: {begun}\n\ndata: {json.dumps(error)}")
    with pytest.raises(errors.ServerError, match="overloaded"):
        [*client.models.generate_content_stream(**GIVEN)]
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert settled["usage"]["output_tokens"] == text_tokens("London")
    assert settled["measured"]["error_kind"] == "error_event"


def test_calls_of_tools_are_counted_in_a_cut_stream(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    called = {"functionCall": {"name": "get_capital", "args": {"country": "UK"}}}
    provider.stream("data: " + json.dumps({"candidates": [{"content": {"parts": [called]}}]}))
    [*client.models.generate_content_stream(**GIVEN)]
    assert granting.settled["usage"]["output_tokens"] == text_tokens('get_capital{"country": "UK"}')
