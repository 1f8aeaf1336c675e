"""What has no usage that can be read is never guessed, and the error names what to use instead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from token_ledger_sdk import AnyStreamUsage, UsageMissing, reading_of, usage_from

UNKNOWN: list[Any] = [
    # Vercel's AI SDK has Bedrock's names, but its input includes the cache.
    {"usage": {"inputTokens": 900, "outputTokens": 4, "totalTokens": 904, "cachedInputTokens": 800}},
    {"usage": {"promptTokens": 4, "completionTokens": 2}},
    # Counts of an unknown meaning, beside names that two providers use for different things.
    {"usage": {"input_tokens": 900, "output_tokens": 4, "cached": 800}},
    {"usage": {"input_tokens": 900, "output_tokens": 4, "prompt_cache_tokens": 800}},
    SimpleNamespace(usage=SimpleNamespace(input_tokens=900, output_tokens=4, cache_hit_tokens=800)),
    {"usage": {"total_tokens": 904}},
    {"predictions": [{"embeddings": {"values": [0.1]}}]},
    {"data": [{"embedding": [0.1]}]},
    {"meta": {"api_version": {"version": "1"}}},
]


@pytest.mark.parametrize("response", UNKNOWN)
def test_what_nobody_knows_is_not_guessed(response: Any) -> None:
    with pytest.raises(UsageMissing, match=r"no usage that is known in this .* give Usage\(input_tokens"):
        usage_from(response)


def generated() -> Iterator[dict[str, Any]]:
    yield {"type": "ping"}


async def generated_later() -> AsyncIterator[dict[str, Any]]:
    yield {"type": "ping"}


ADVISED: list[tuple[Any, str]] = [
    ({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}, "AnthropicStreamUsage"),
    ({"type": "message_delta", "usage": {"input_tokens": 9, "output_tokens": 4}}, "AnthropicStreamUsage"),
    ({"type": "message_delta", "usage": {"input_tokens": 9, "cache_read_input_tokens": 4}}, "AnthropicStreamUsage"),
    ({"type": "content_block_delta", "delta": {}}, "AnthropicStreamUsage"),
    ({"object": "chat.completion.chunk", "choices": [{"finish_reason": None}]}, "OpenAIStreamUsage.*include_usage"),
    (
        {"object": "chat.completion.chunk", "choices": [{"finish_reason": ""}], "usage": {"prompt_tokens": 9}},
        "OpenAIStreamUsage",
    ),
    ({"type": "response.created", "response": {"usage": None}}, "OpenAIStreamUsage"),
    ({"type": "response.in_progress", "response": {"usage": {"input_tokens": 9}}}, "OpenAIStreamUsage"),
    ({"candidates": [{"content": {}}], "usageMetadata": {"trafficType": "ON_DEMAND"}}, "GeminiStreamUsage"),
    ({"contentBlockDelta": {"delta": {"text": "a"}}}, "BedrockStreamUsage"),
    ({"stream": [], "ResponseMetadata": {}}, "BedrockStreamUsage"),
    ({"body": SimpleNamespace(read=bytes), "contentType": "application/json"}, "InvokeModel.*json.loads"),
    ({"type": "content-delta", "delta": {}}, "CohereStreamUsage"),
    ({"event_type": "text-generation", "text": "a"}, "CohereStreamUsage"),
    ({"usageMetadata": {"totalTokenCount": 9602}, "name": "cachedContents/1"}, "Gemini's cache, not a call"),
    ([{"candidates": []}], "AnyStreamUsage"),
    ('{"usage": {}}', "json.loads"),
    (b"data: {}", "AnyStreamUsage"),
    (generated(), "AnyStreamUsage"),
    (generated_later(), "AnyStreamUsage"),
    (SimpleNamespace(usage_metadata=None, response_metadata={}), "stream_usage=True"),
    (httpx2.Response(200, json={"usage": {"prompt_tokens": 1}}), r"response.json\(\)"),
    (SimpleNamespace(parse=dict), r"response.parse\(\)"),
    ({"custom_id": "a", "result": {"type": "errored", "error": {"type": "error"}}}, r"release\(\)"),
    ({"custom_id": "a", "result": {"type": "expired"}}, r"release\(\)"),
    ({"custom_id": "a", "response": None, "error": {"code": "x"}}, r"release\(\)"),
    (
        {"custom_id": "a", "response": {"status_code": 400, "body": {"error": {"message": "x"}}}, "error": None},
        r"release\(\)",
    ),
]


@pytest.mark.parametrize(("response", "advice"), ADVISED)
def test_the_error_names_what_to_use(response: Any, advice: str) -> None:
    with pytest.raises(UsageMissing, match=advice) as raised:
        reading_of(response)
    if "Anthropic" in advice:
        assert "include_usage" not in str(raised.value)


def test_streams_of_provider_libraries_are_told_apart(recorded: Callable[[str], str]) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        number = "024" if request.url.path.endswith("messages") else "196"
        return httpx2.Response(200, content=recorded(number), headers={"Content-Type": "text/event-stream"})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with anthropic.Anthropic(api_key="none", base_url="http://provider.test", http_client=http) as provider:
        stream = provider.messages.create(model="any", max_tokens=9, messages=[], stream=True)
        with pytest.raises(UsageMissing, match="AnthropicStreamUsage") as raised:
            usage_from(stream)
        assert "include_usage" not in str(raised.value)
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with openai.OpenAI(api_key="none", base_url="http://provider.test", http_client=http) as provider:
        chunks = provider.chat.completions.create(model="any", messages=[], stream=True)
        with pytest.raises(UsageMissing, match=r"OpenAIStreamUsage.*include_usage"):
            usage_from(chunks)


def test_a_stream_whose_format_is_never_known() -> None:
    stream = AnyStreamUsage()
    for event in ({"type": "ping"}, "data: {}", None):
        stream.add(event)
    assert (stream.complete, stream.partial()) == (False, None)
    with pytest.raises(UsageMissing, match="known format"):
        stream.usage()
