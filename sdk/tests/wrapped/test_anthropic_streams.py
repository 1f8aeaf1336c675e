"""Streams of the anthropic library, wrapped: all events reach the caller, and what was used is booked."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from token_ledger_sdk import TokenLedger

from .conftest import GrantingLedger
from .provider import Provider
from .test_anthropic_calls import MESSAGES, MODEL, TOOL, City
from .test_openai_streams import text_tokens

Recorded = Callable[[str], str]
GIVEN: Any = {"model": MODEL, "messages": MESSAGES, "max_tokens": 300}


def event(kind: str, **more: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}"


def message_stream(*words: str, usage: dict[str, int] | None = None) -> str:
    begun = {
        "id": "msg_9", "type": "message", "role": "assistant", "model": MODEL, "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 21, "cache_read_input_tokens": 4, "output_tokens": 1},
    }  # fmt: skip
    events = [event("message_start", message=begun)]
    events.append(event("content_block_start", index=0, content_block={"type": "text", "text": ""}))
    events.append(event("ping"))
    events += [event("content_block_delta", index=0, delta={"type": "text_delta", "text": word}) for word in words]
    events.append(event("content_block_stop", index=0))
    events.append(event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage or {"output_tokens": 9}))
    events.append(event("message_stop"))
    return "\n\n".join(events)


BEFORE_THE_TEXT = 3
"""So many events come before the first word."""


@pytest.fixture
def client(bare_anthropic: Anthropic, ledger: TokenLedger) -> Anthropic:
    return ledger.wrap(bare_anthropic, user="ada", agent_type="data_agent")


def test_a_stream_is_booked(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(message_stream("Lon", "don"))
    kinds = [each.type for each in client.messages.create(**GIVEN, stream=True)]
    assert kinds == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (25, 9)
    assert (settled["usage"]["cache_read_tokens"], settled["response_id"]) == (4, "msg_9")
    measured = settled["measured"]
    assert (measured["finish_reason"], "estimated" in settled) == ("end_turn", False)
    assert 0 <= measured["first_token_ms"] <= measured["latency_ms"]


def test_the_stream_helper_is_booked(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(message_stream("Lon", "don"))
    with client.messages.stream(**GIVEN) as stream:
        assert [*stream.text_stream] == ["Lon", "don"]
        final = stream.get_final_message()
    assert (final.content[0].text, final.usage.output_tokens) == ("London", 9)  # type: ignore[union-attr]
    assert granting.settled["usage"]["output_tokens"] == 9


def test_the_stream_helper_of_a_structured_answer_is_booked(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(message_stream('{"name": ', '"Paris"}'))
    with client.messages.stream(**GIVEN, output_format=City) as stream:
        assert stream.get_final_message().parsed_output == City(name="Paris")
    assert granting.reserved["requires"] == ["structured_output"]
    assert granting.settled["usage"]["output_tokens"] == 9


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_the_bytes_may_come_in_any_pieces(
    size: int, client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    content = message_stream("Lon", "don").encode() + b"\n\n"
    provider.stream("x")
    provider.replies[0].parts = [content[start : start + size] for start in range(0, len(content), size)]
    with client.messages.stream(**GIVEN) as stream:
        assert stream.get_final_text() == "London"
    assert granting.settled["usage"]["output_tokens"] == 9


@pytest.mark.parametrize(("number", "expected"), [("021", (20, 5)), ("024", (1_169, 201)), ("026", (1_171, 256))])
def test_recorded_streams_are_booked(
    number: str,
    expected: tuple[int, int],
    client: Anthropic,
    provider: Provider,
    granting: GrantingLedger,
    recorded: Recorded,
) -> None:
    provider.stream(recorded(number))
    assert [*client.messages.create(**GIVEN, stream=True, tools=[TOOL])]
    usage = granting.settled["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == expected
    assert "estimated" not in granting.settled


def test_a_stream_read_as_lines_is_booked(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(message_stream("London"))
    with client.messages.with_streaming_response.create(**GIVEN, stream=True) as response:
        assert "event: message_stop" in [*response.iter_lines()]
    assert granting.settled["usage"]["output_tokens"] == 9


def test_a_middleware_may_read_the_stream_and_ask_again(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    """As the library's own fallback after a refusal: the second request is sent while the caller reads the first."""

    def again(request: Any, call_next: Any) -> Any:
        first = call_next(request)

        def both() -> Iterator[Any]:
            yield from first.parse()
            yield from call_next(request).parse()

        return both()

    provider.stream(message_stream("Lon", "don"))
    assert len([*client.with_middleware(again).messages.create(**GIVEN, stream=True)]) == 14
    assert [len(granting.sent(verb)) for verb in ("/reservations", "/settle")] == [2, 2]


# --- streams that end before their end ---


def test_a_stream_that_is_closed_early_is_counted(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(message_stream("London", " is", " the", " capital"))
    with client.messages.stream(**GIVEN) as stream:
        for word in stream.text_stream:
            if word == " is":
                break
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert 2 <= settled["usage"]["output_tokens"] <= text_tokens("London is the capital")
    assert (settled["usage"]["input_tokens"], settled["usage"]["cache_read_tokens"]) == (25, 4)
    assert settled["measured"]["estimate_rule"] == "input told by the stream, output from text (tiktoken)"


def test_a_stream_that_is_left_lying_is_counted(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(message_stream("London", " is"))
    for _ in client.messages.create(**GIVEN, stream=True):
        break
    gc.collect()
    assert granting.settled["estimated"]


def test_a_stream_that_is_cut_is_counted(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(message_stream("London", " is", " it"), cut_after=BEFORE_THE_TEXT + 2)
    with pytest.raises((anthropic.APIConnectionError, httpx2.RemoteProtocolError)):
        [*client.messages.create(**GIVEN, stream=True)]
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (25, text_tokens("London is"))
    assert settled["measured"]["error_kind"] == "cut_connection"


def test_a_stream_that_ends_without_its_figures_is_counted(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream("\n\n".join(message_stream("London").split("\n\n")[: BEFORE_THE_TEXT + 1]))
    [*client.messages.create(**GIVEN, stream=True)]
    settled = granting.settled
    assert (settled["estimated"], settled["usage"]["output_tokens"]) == (True, text_tokens("London"))


def test_an_error_event_in_a_stream_is_counted(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    begun = "\n\n".join(message_stream("London").split("\n\n")[: BEFORE_THE_TEXT + 1])
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    provider.stream(f"{begun}\n\n{error}")
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        [*client.messages.create(**GIVEN, stream=True)]
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (25, text_tokens("London"))
    assert settled["measured"]["error_kind"] == "error_event"


def test_what_the_text_speaks_of_is_no_error(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(message_stream('{"type": "error", "error": {"usage": {"output_tokens": 70}}}'))
    [*client.messages.create(**GIVEN, stream=True)]
    assert granting.settled["usage"]["output_tokens"] == 9


def test_calls_of_tools_are_counted_in_a_cut_stream(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "get_capital", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": '{"of": "United Kingdom"}'}
    start = message_stream("x").split("\n\n")[0]
    called = event("content_block_start", index=0, content_block=block)
    provider.stream("\n\n".join([start, called, event("content_block_delta", index=0, delta=delta)]))
    [*client.messages.create(**GIVEN, stream=True, tools=[TOOL])]
    assert granting.settled["usage"]["output_tokens"] == text_tokens('get_capital{"of": "United Kingdom"}')
