"""The real openai and anthropic SDKs, with recorded bodies in place of the network."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import anthropic
import httpx2
import openai
import pytest
from anthropic.types.beta import BetaUsage

from token_ledger_sdk import (
    AnthropicStreamUsage,
    OpenAIStreamUsage,
    Usage,
    UsageMissing,
    reading_of,
    usage_from,
)
from token_ledger_sdk.providers import response_id_of

Recorded = Callable[[str], str]
DATA = Path(__file__).resolve().parent.parent / "data"


def openai_answering(text: str, kind: str = "application/json") -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=text, headers={"Content-Type": kind})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="none", base_url="http://provider.test", http_client=http)


def anthropic_answering(text: str, kind: str = "application/json") -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=text, headers={"Content-Type": kind})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="none", base_url="http://provider.test", http_client=http)


@pytest.mark.parametrize(
    ("number", "usage"),
    [
        ("103", Usage(7, 1, cache_read_tokens=163)),
        ("119", Usage(12, 789, reasoning_tokens=415)),
        ("153", Usage(1149, 261, cache_read_tokens=1024)),
        ("168", Usage(3329, 53, cache_read_tokens=3211, cache_write_5m_tokens=115)),
        ("177", Usage(40, 300)),
    ],
)
def test_chat_objects(number: str, usage: Usage, recorded: Recorded) -> None:
    with openai_answering(recorded(number)) as provider:
        response = provider.chat.completions.create(model="any", messages=[])
    assert usage_from(response) == usage
    assert response_id_of(response) == response.id


@pytest.mark.parametrize(
    ("number", "usage"),
    [
        ("251", Usage(11, 327, reasoning_tokens=320)),
        ("254", Usage(4020, 5, cache_write_5m_tokens=4012)),
        ("258", Usage(4020, 5, cache_read_tokens=4012)),
    ],
)
def test_responses_objects(number: str, usage: Usage, recorded: Recorded) -> None:
    with openai_answering(recorded(number)) as provider:
        assert usage_from(provider.responses.create(model="any", input="")) == usage


@pytest.mark.parametrize(
    ("number", "usage"),
    [
        ("001", Usage(19, 22)),
        ("004", Usage(7361, 4, cache_write_5m_tokens=7351)),
        ("008", Usage(7361, 4, cache_read_tokens=7351)),
        ("020", Usage(11470, 44, cache_read_tokens=9511, cache_write_5m_tokens=1956)),
    ],
)
def test_message_objects(number: str, usage: Usage, recorded: Recorded) -> None:
    with anthropic_answering(recorded(number)) as provider:
        response = provider.messages.create(model="any", max_tokens=9, messages=[])
    assert usage_from(response) == usage


def test_chat_stream_objects(recorded: Recorded) -> None:
    stream = OpenAIStreamUsage()
    with openai_answering(recorded("196"), "text/event-stream") as provider:
        chunks = provider.chat.completions.create(model="any", messages=[], stream=True)
        assert sum(1 for _ in stream.watch(chunks)) > 1
    assert usage_from(stream) == Usage(53, 15)


def test_chat_stream_objects_without_usage(recorded: Recorded) -> None:
    stream = OpenAIStreamUsage()
    with openai_answering(recorded("297"), "text/event-stream") as provider:
        for chunk in provider.chat.completions.create(model="any", messages=[], stream=True):
            stream.add(chunk)
    with pytest.raises(UsageMissing, match="include_usage"):
        stream.usage()


def test_responses_stream_objects(recorded: Recorded) -> None:
    stream = OpenAIStreamUsage()
    with openai_answering(recorded("277"), "text/event-stream") as provider:
        for event in provider.responses.create(model="any", input="", stream=True):
            stream.add(event)
    assert stream.usage() == Usage(158, 32, cache_write_5m_tokens=43, reasoning_tokens=10)


def test_message_stream_objects(recorded: Recorded) -> None:
    stream = AnthropicStreamUsage()
    with anthropic_answering(recorded("024"), "text/event-stream") as provider:
        for event in provider.messages.create(model="any", max_tokens=9, messages=[], stream=True):
            stream.add(event)
    assert stream.usage() == Usage(1169, 201, cache_write_5m_tokens=1165)


def test_message_stream_helper(recorded: Recorded) -> None:
    stream = AnthropicStreamUsage()
    with (
        anthropic_answering(recorded("026"), "text/event-stream") as provider,
        provider.messages.stream(model="any", max_tokens=9, messages=[]) as events,
    ):
        for event in stream.watch(events):
            assert event.type
        assert usage_from(events.get_final_message()) == stream.usage()


OBJECTS = [
    row
    for row in csv.DictReader((DATA / "index.csv").read_text(encoding="utf-8").splitlines())
    if row["stream"] == "0" and row["input_raw"] and row["api"].startswith(("openai", "anthropic"))
]


@pytest.mark.parametrize("row", OBJECTS, ids=[row["file"] for row in OBJECTS])
def test_every_recorded_body_is_read_alike_as_an_object(row: dict[str, str], recorded: Recorded) -> None:
    text = recorded(row["file"][:3])
    if row["api"] == "anthropic_messages":
        with anthropic_answering(text) as messages:
            response: object = messages.messages.create(model="any", max_tokens=9, messages=[])
    else:
        with openai_answering(text) as provider:
            response = {
                "openai_chat": lambda: provider.chat.completions.create(model="any", messages=[]),
                "openai_completions": lambda: provider.completions.create(model="any", prompt=""),
                "openai_embeddings": lambda: provider.embeddings.create(model="any", input="", encoding_format="float"),
                "openai_responses": lambda: provider.responses.create(model="any", input=""),
            }[row["api"]]()
    assert reading_of(response) == reading_of(json.loads(text))


def test_an_advisor_in_an_object() -> None:
    advised = {
        "input_tokens": 9,
        "output_tokens": 2,
        "iterations": [
            {
                "type": "advisor_message",
                "model": "claude-opus-4-8",
                "input_tokens": 7,
                "output_tokens": 1,
                "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": 0,
            }
        ],
    }
    reading = reading_of(BetaUsage.model_validate(advised))
    assert (reading.usage, reading.others[0].model, reading.others[0].usage) == (
        Usage(9, 2),
        "claude-opus-4-8",
        Usage(7, 1),
    )
