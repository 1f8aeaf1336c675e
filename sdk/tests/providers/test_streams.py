"""Streams: which figures are final, which were cut off, and events that pass unchanged."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from token_ledger_sdk import (
    AnthropicStreamUsage,
    OpenAIStreamUsage,
    StreamUsage,
    Usage,
    UsageMissing,
    usage_from,
)


def events_of(text: str) -> list[dict[str, Any]]:
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def fed(stream: StreamUsage, events: list[dict[str, Any]]) -> StreamUsage:
    for event in events:
        stream.add(event)
    return stream


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("021", AnthropicStreamUsage),
        ("024", AnthropicStreamUsage),
        ("184", OpenAIStreamUsage),
        ("196", OpenAIStreamUsage),
        ("277", OpenAIStreamUsage),
    ],
)
def test_a_stream_is_complete_only_at_its_last_figures(
    number: str, kind: type[StreamUsage], recorded: Callable[[str], str]
) -> None:
    events = events_of(recorded(number))
    carrying = [index for index, event in enumerate(events) if '"usage": {' in json.dumps(event)]
    cut = fed(kind(), events[: carrying[-1]])
    assert not cut.complete
    with pytest.raises(UsageMissing):
        cut.usage()
    whole = fed(kind(), events)
    assert whole.complete
    assert whole.usage() == whole.partial() == usage_from(whole)
    assert whole.response_id


def test_running_usage_is_final_with_the_finish_reason() -> None:
    def chunk(tokens: int, finish_reason: str | None) -> dict[str, Any]:
        usage = {"prompt_tokens": 10, "completion_tokens": tokens}
        return {"id": "a", "choices": [{"finish_reason": finish_reason}], "usage": usage}

    stream = fed(OpenAIStreamUsage(), [chunk(1, None), chunk(2, None)])
    assert not stream.complete
    assert stream.partial() == Usage(10, 2)
    stream.add(chunk(3, "stop"))
    assert stream.usage() == Usage(10, 3)


def test_usage_inside_the_last_choice() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 3}
    stream = fed(OpenAIStreamUsage(), [{"choices": [{"finish_reason": "stop", "usage": usage}]}])
    assert stream.usage() == Usage(10, 3)


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_responses_streams_end_in_three_ways(kind: str) -> None:
    response = {"id": "resp_1", "usage": {"input_tokens": 5, "output_tokens": 2}}
    stream = fed(OpenAIStreamUsage(), [{"type": "response.created", "response": {"usage": None}}])
    assert not stream.complete
    stream.add({"type": kind, "response": response})
    assert (stream.usage(), stream.response_id) == (Usage(5, 2), "resp_1")


def message_start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "usage": usage}}


def message_delta(**usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


def test_anthropic_input_grows_and_zeros_do_not_erase_it() -> None:
    grown = fed(
        AnthropicStreamUsage(),
        [message_start(input_tokens=20, output_tokens=1), message_delta(input_tokens=95, output_tokens=40)],
    )
    assert grown.usage() == Usage(95, 40)
    zeroed = fed(
        AnthropicStreamUsage(),
        [
            message_start(input_tokens=20, cache_read_input_tokens=7, output_tokens=4),
            message_delta(input_tokens=0, cache_read_input_tokens=0, output_tokens=2),
        ],
    )
    assert zeroed.usage() == Usage(27, 2, cache_read_tokens=7)


def test_a_cut_anthropic_stream_keeps_its_input() -> None:
    cut = fed(AnthropicStreamUsage(), [message_start(input_tokens=20, output_tokens=1)])
    assert (cut.complete, cut.partial()) == (False, Usage(20, 1))
    assert fed(AnthropicStreamUsage(), [message_delta(output_tokens=3)]).partial() is None


def test_a_compaction_in_a_stream_is_added_once() -> None:
    compaction = {"type": "compaction", "input_tokens": 900, "output_tokens": 80}
    message = {"type": "message", "input_tokens": 20, "output_tokens": 40}
    start = message_start(input_tokens=20, output_tokens=1)
    start["message"]["usage"]["iterations"] = [compaction]
    end = message_delta(output_tokens=40)
    end["usage"]["iterations"] = [compaction, message]
    stream = fed(AnthropicStreamUsage(), [start])
    assert stream.partial() == Usage(920, 81)
    assert fed(stream, [end]).usage() == Usage(920, 120)


def chat_chunk(identifier: str, tokens: int | None, **choice: str | None) -> dict[str, Any]:
    usage = None if tokens is None else {"prompt_tokens": 10, "completion_tokens": tokens}
    return {"id": identifier, "choices": [choice] if choice else [], "usage": usage}


@pytest.mark.parametrize(
    ("kind", "first", "cut"),
    [
        (
            OpenAIStreamUsage,
            [chat_chunk("a", None, finish_reason="stop"), chat_chunk("a", 40)],
            [chat_chunk("b", None, finish_reason=None)],
        ),
        (
            OpenAIStreamUsage,
            [{"type": "response.completed", "response": {"id": "a", "usage": {"input_tokens": 5, "output_tokens": 2}}}],
            [{"type": "response.created", "response": {"id": "b", "usage": None}}],
        ),
        (
            AnthropicStreamUsage,
            [message_start(input_tokens=20, output_tokens=1), message_delta(output_tokens=40)],
            [message_start(input_tokens=9, output_tokens=1)],
        ),
    ],
)
def test_a_second_stream_is_not_told_by_the_figures_of_the_first(
    kind: type[StreamUsage], first: list[dict[str, Any]], cut: list[dict[str, Any]]
) -> None:
    stream = fed(kind(), first)
    assert stream.complete
    fed(stream, cut)
    assert not stream.complete
    assert stream.partial() in (None, Usage(9, 1))
    with pytest.raises(UsageMissing):
        stream.usage()


def test_a_chunk_without_an_id_belongs_to_its_stream() -> None:
    chunks = [chat_chunk("", None), chat_chunk("a", 40, finish_reason="stop"), chat_chunk("", None)]
    stream = fed(OpenAIStreamUsage(), [*chunks, {"choices": []}])
    assert (stream.usage(), stream.response_id) == (Usage(10, 40), "a")


async def test_watching_passes_events_on(recorded: Callable[[str], str]) -> None:
    events = events_of(recorded("196"))

    async def arriving() -> AsyncIterator[dict[str, Any]]:
        for event in events:
            yield event

    stream, stream_async = OpenAIStreamUsage(), OpenAIStreamUsage()
    assert list(stream.watch(events)) == events
    assert [event async for event in stream_async.watch_async(arriving())] == events
    assert stream.usage() == stream_async.usage() == Usage(53, 15)
