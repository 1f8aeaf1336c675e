"""Formats of which there is no recording, each as its provider documents it or somebody found it in use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from token_ledger_sdk import (
    AnthropicStreamUsage,
    AnyStreamUsage,
    BedrockStreamUsage,
    CohereStreamUsage,
    GeminiStreamUsage,
    OpenAIStreamUsage,
    Reading,
    StreamUsage,
    Usage,
    reading_of,
    usage_from,
)
from token_ledger_sdk.providers import served_model

ADVISED = {
    "type": "message",
    "id": "msg_1",
    "model": "claude-sonnet-5",
    "usage": {
        "input_tokens": 2_390,
        "output_tokens": 121,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "service_tier": "standard",
        "iterations": [
            {"type": "message", "input_tokens": 1_100, "output_tokens": 60},
            {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2_500, "output_tokens": 20},
            {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 18, "output_tokens": 2},
            {"type": "message", "input_tokens": 1_290, "output_tokens": 61},
        ],
    },
}


def test_what_an_advisor_used_is_another_models() -> None:
    reading = reading_of(ADVISED)
    assert (reading.model, reading.usage) == ("claude-sonnet-5", Usage(2_390, 121))
    (advisor,) = reading.others
    assert (advisor.model, advisor.usage) == ("claude-opus-4-8", Usage(2_518, 22))
    assert usage_from(ADVISED) == Usage(2_390, 121)


def test_what_an_advisor_used_in_a_stream() -> None:
    usage: Any = ADVISED["usage"]
    stream = AnthropicStreamUsage()
    stream.add({"type": "message_start", "message": {**ADVISED, "usage": {"input_tokens": 1_100, "output_tokens": 1}}})
    stream.add({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
    assert stream.reading() == reading_of(ADVISED)


def anthropic_stream(start: dict[str, int], *deltas: dict[str, int]) -> StreamUsage:
    stream = AnthropicStreamUsage()
    stream.add({"type": "message_start", "message": {"id": "m", "usage": start}})
    for delta in deltas:
        stream.add({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": delta})
    return stream


@pytest.mark.parametrize(
    ("start", "delta", "usage"),
    [
        # The whole prompt first, its split at the end.
        (
            {"input_tokens": 20_000, "cache_read_input_tokens": 0, "output_tokens": 0},
            {"input_tokens": 500, "cache_read_input_tokens": 19_500, "output_tokens": 40},
            Usage(20_000, 40, cache_read_tokens=19_500),
        ),
        (
            {"input_tokens": 8_834, "output_tokens": 0},
            {
                "input_tokens": 18,
                "output_tokens": 426,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 8_831,
            },
            Usage(8_849, 426, cache_read_tokens=8_831),
        ),
        (
            {"input_tokens": 20_000, "output_tokens": 0},
            {"input_tokens": 0, "cache_creation_input_tokens": 20_000, "output_tokens": 40},
            Usage(20_000, 40, cache_write_5m_tokens=20_000),
        ),
        # A server tool makes the prompt grow.
        (
            {"input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 1},
            {"input_tokens": 95, "cache_read_input_tokens": 300, "output_tokens": 40},
            Usage(395, 40, cache_read_tokens=300),
        ),
        # Counts repeated as 0 take nothing back.
        (
            {"input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 1},
            {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 40},
            Usage(120, 40, cache_read_tokens=100),
        ),
    ],
)
def test_the_prompt_of_an_anthropic_stream(start: dict[str, int], delta: dict[str, int], usage: Usage) -> None:
    assert anthropic_stream(start, delta).usage() == usage
    assert anthropic_stream(start, delta, {"output_tokens": usage.output_tokens}).usage() == usage
    assert anthropic_stream(start, delta, delta).usage() == usage


LITELLM = {
    "prompt_tokens": 4_818,
    "completion_tokens": 47,
    "total_tokens": 4_865,
    "cache_creation_input_tokens": 4_803,
    "cache_read_input_tokens": 0,
    "prompt_tokens_details": {
        "cached_tokens": 0,
        "cache_creation_tokens": 4_803,
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 4_803},
    },
}
LANGCHAIN = {
    "input_tokens": 350,
    "output_tokens": 240,
    "total_tokens": 590,
    "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
    "output_token_details": {"audio": 12, "reasoning": 200},
}
REALTIME = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 0,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}
READ: list[tuple[str, dict[str, Any], Usage]] = [
    ("LiteLLM, written for 1 hour", {"usage": LITELLM}, Usage(4_818, 47, cache_write_1h_tokens=4_803)),
    (
        "LiteLLM, only at the top",
        {"usage": {"prompt_tokens": 900, "completion_tokens": 5, "cache_creation_input_tokens": 300,
                   "cache_read_input_tokens": 500}},
        Usage(900, 5, 500, cache_write_5m_tokens=300),
    ),
    (
        "a prompt that the total shows to be without its cached part",
        {"usage": {"prompt_tokens": 15, "completion_tokens": 5, "total_tokens": 4_823,
                   "cache_creation_input_tokens": 4_803}},
        Usage(4_818, 5, cache_write_5m_tokens=4_803),
    ),
    (
        "DeepSeek",
        {"usage": {"prompt_tokens": 100_011, "completion_tokens": 300, "total_tokens": 100_311,
                   "prompt_cache_hit_tokens": 100_000, "prompt_cache_miss_tokens": 11}},
        Usage(100_011, 300, cache_read_tokens=100_000),
    ),
    ("Moonshot", {"usage": {"prompt_tokens": 90, "completion_tokens": 3, "cached_tokens": 64}}, Usage(90, 3, 64)),
    (
        "Perplexity's deep research: citations and reasoning are outside",
        {"usage": {"prompt_tokens": 33, "completion_tokens": 7_163, "total_tokens": 7_196, "citation_tokens": 20_016,
                   "num_search_queries": 30, "reasoning_tokens": 73_694}},
        Usage(20_049, 80_857, reasoning_tokens=73_694, web_searches=30),
    ),
    (
        "audio of chat",
        {"usage": {"prompt_tokens": 60, "completion_tokens": 40, "prompt_tokens_details": {"audio_tokens": 50},
                   "completion_tokens_details": {"audio_tokens": 30}}},
        Usage(60, 40, audio_input_tokens=50, audio_output_tokens=30),
    ),
    (
        "images of chat",
        {"usage": {"prompt_tokens": 600, "completion_tokens": 1_300,
                   "prompt_tokens_details": {"image_tokens": 500, "video_tokens": 20},
                   "completion_tokens_details": {"image_tokens": 1_290}}},
        Usage(600, 1_300, image_input_tokens=500, video_input_tokens=20, image_output_tokens=1_290),
    ),
    (
        "Mistral, audio by the second, whose tokens are in the total only",
        {"usage": {"prompt_tokens": 4, "completion_tokens": 635, "total_tokens": 3_264, "prompt_audio_seconds": 203}},
        Usage(4, 635, audio_seconds=203),
    ),
    (
        "Anthropic, searches and thinking",
        {"type": "message", "usage": {"input_tokens": 10, "output_tokens": 90,
                                      "output_tokens_details": {"thinking_tokens": 40},
                                      "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1}}},
        Usage(10, 90, reasoning_tokens=40, web_searches=3),
    ),
    ("LangChain", {"usage_metadata": LANGCHAIN}, Usage(350, 240, 100, 200, 0, 200, audio_input_tokens=10,
                                                       audio_output_tokens=12)),
    ("LangChain, only its usage", LANGCHAIN, Usage(350, 240, 100, 200, 0, 200, audio_input_tokens=10,
                                                   audio_output_tokens=12)),
    (
        "LangChain, writes with their time",
        {"usage_metadata": {"input_tokens": 15_000, "output_tokens": 50, "input_token_details": {
            "cache_read": 9_000, "cache_creation": 0, "ephemeral_5m_input_tokens": 1_000,
            "ephemeral_1h_input_tokens": 4_000}}},
        Usage(15_000, 50, 9_000, 1_000, 4_000),
    ),
    ("Realtime", {"usage": REALTIME}, Usage(132, 121, 64, audio_input_tokens=13, audio_cache_read_tokens=4,
                                            audio_output_tokens=91)),
    (
        "Realtime, an image that was read from the cache",
        {"usage": {"input_tokens": 900, "output_tokens": 20, "input_token_details": {
            "image_tokens": 700, "cached_tokens": 576,
            "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 512}}}},
        Usage(900, 20, 576, image_input_tokens=700, image_cache_read_tokens=512),
    ),
    (
        "Responses, written for 12 hours",
        {"object": "response", "usage": {"input_tokens": 100, "output_tokens": 5, "input_tokens_details": {
            "cached_tokens": 10, "cache_write_tokens": 80,
            "cache_write_tokens_details": {"ttl_30m_tokens": 30, "ttl_12h_tokens": 50}}}},
        Usage(100, 5, 10, 30, 50),
    ),
    (
        "Codex",
        {"input_tokens": 900, "cached_input_tokens": 700, "output_tokens": 50, "reasoning_output_tokens": 20,
         "total_tokens": 950},
        Usage(900, 50, 700, reasoning_tokens=20),
    ),
    (
        "xAI, searches",
        {"object": "response", "output": [{"type": "web_search_call", "status": "completed"}],
         "usage": {"input_tokens": 9, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1},
                   "server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 1}}},
        Usage(9, 2, reasoning_tokens=1, web_searches=3),
    ),
    (
        "Gemini, tools and audio",
        {"usageMetadata": {"promptTokenCount": 40, "toolUsePromptTokenCount": 60, "candidatesTokenCount": 7,
                           "thoughtsTokenCount": 5, "totalTokenCount": 112,
                           "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
                           "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}]}},
        Usage(100, 12, reasoning_tokens=5, audio_input_tokens=30, audio_output_tokens=6),
    ),
    (
        "Gemini Live",
        {"usageMetadata": {"promptTokenCount": 40, "responseTokenCount": 7, "totalTokenCount": 47,
                           "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}]}},
        Usage(40, 7, audio_output_tokens=7),
    ),
    (
        "Gemini, images and video of which a part was read from the cache",
        {"usageMetadata": {"promptTokenCount": 1_000, "cachedContentTokenCount": 700, "candidatesTokenCount": 900,
                           "totalTokenCount": 1_900,
                           "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40},
                                                   {"modality": "IMAGE", "tokenCount": 560},
                                                   {"modality": "VIDEO", "tokenCount": 400}],
                           "cacheTokensDetails": [{"modality": "IMAGE", "tokenCount": 310},
                                                  {"modality": "VIDEO", "tokenCount": 390}],
                           "candidatesTokensDetails": [{"modality": "VIDEO", "tokenCount": 880}]}},
        Usage(1_000, 900, 700, image_input_tokens=560, image_cache_read_tokens=310, video_input_tokens=10,
              video_output_tokens=880),
    ),
    ("Gemini, wrapped", {"response": {"usageMetadata": {"promptTokenCount": 4}}}, Usage(4, 0)),
    (
        "Vertex AI embeddings",
        {"predictions": [{"embeddings": {"values": [0.1], "statistics": {"token_count": 6, "truncated": False}}},
                         {"embeddings": {"values": [0.2], "statistics": {"token_count": 5, "truncated": False}}}]},
        Usage(11, 0),
    ),
    (
        "Bedrock, written for 1 hour",
        {"usage": {"inputTokens": 10, "outputTokens": 4, "totalTokens": 144, "cacheReadInputTokens": 30,
                   "cacheWriteInputTokens": 100, "cacheDetails": [{"ttl": "1h", "inputTokens": 80},
                                                                  {"ttl": "5m", "inputTokens": 20}]}},
        Usage(140, 4, 30, 20, 80),
    ),
    ("Titan", {"inputTextTokenCount": 5, "results": [{"tokenCount": 30}, {"tokenCount": 2}]}, Usage(5, 32)),
    ("Titan embeddings", {"embedding": [0.1], "inputTextTokenCount": 5}, Usage(5, 0)),
    ("Llama on Bedrock", {"generation": "", "prompt_token_count": 9, "generation_token_count": 3}, Usage(9, 3)),
    (
        "Cohere embeddings",
        {"id": "e", "embeddings": [[0.1]], "meta": {"billed_units": {"input_tokens": 4, "images": 2}}},
        Usage(4, 0, images=2),
    ),
    ("Cohere without charged units", {"usage": {"tokens": {"input_tokens": 9, "output_tokens": 2}, "cached_tokens": 4}},
     Usage(9, 2, cache_read_tokens=4)),
    ("Cohere rerank", {"results": [], "meta": {"billed_units": {"search_units": 3}}}, Usage(0, 0, requests=2)),
    ("images", {"created": 1, "data": [{"b64_json": "aa"}, {"b64_json": "bb"}]}, Usage(0, 0, images=2)),
    (
        "images by tokens",
        {"created": 1, "data": [{"b64_json": "aa"}], "usage": {
            "input_tokens": 50, "output_tokens": 4_160, "total_tokens": 4_210,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            "output_tokens_details": {"image_tokens": 4_160, "text_tokens": 0}}},
        Usage(50, 4_160, image_input_tokens=40, image_output_tokens=4_160),
    ),
    ("Imagen", {"predictions": [{"bytesBase64Encoded": "aa", "mimeType": "image/png"}]}, Usage(0, 0, images=1)),
    ("pages", {"pages": [{}], "usage_info": {"pages_processed": 3, "doc_size_bytes": 9}}, Usage(0, 0, pages=3)),
    ("seconds", {"text": "", "usage": {"type": "duration", "seconds": 60.2}}, Usage(0, 0, audio_seconds=61)),
    ("seconds as text", {"task": "transcribe", "duration": "8.47", "text": ""}, Usage(0, 0, audio_seconds=9)),
    (
        "transcription by tokens",
        {"text": "", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59,
                               "input_token_details": {"text_tokens": 0, "audio_tokens": 14}}},
        Usage(14, 45, audio_input_tokens=14),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "usage"), [each[1:] for each in READ], ids=[each[0] for each in READ])
def test_a_shape_is_read_as_what_it_is(body: dict[str, Any], usage: Usage) -> None:
    assert usage_from(body) == usage
    assert usage_from(as_object(body)) == usage


def as_object(value: Any) -> Any:
    """Turn JSON into objects with attributes, as the SDKs of providers have them."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(each) for name, each in value.items()})
    return [as_object(each) for each in value] if isinstance(value, list) else value


def test_objects_of_google_genai_spell_names_in_their_own_way() -> None:
    modality = SimpleNamespace(value="AUDIO")
    usage = SimpleNamespace(
        prompt_token_count=40,
        candidates_token_count=7,
        thoughts_token_count=None,
        cached_content_token_count=20,
        prompt_tokens_details=[SimpleNamespace(modality=modality, token_count=30)],
    )
    response = SimpleNamespace(usage_metadata=usage, model_version="gemini-2.5-flash", response_id="r1")
    expected = Usage(40, 7, cache_read_tokens=20, audio_input_tokens=30)
    assert reading_of(response) == Reading(expected, "gemini-2.5-flash", "standard", "r1", "gemini")


CHAT = {"prompt_tokens": 4, "completion_tokens": 2}
MESSAGE = {"type": "message", "id": "msg_1", "model": "claude-opus-4-8"}
TIERS: list[tuple[dict[str, Any], str]] = [
    ({"usage": CHAT, "service_tier": "default"}, "standard"),
    ({"usage": CHAT, "service_tier": "auto"}, "standard"),
    ({"usage": CHAT, "service_tier": "on_demand"}, "standard"),
    ({"usage": CHAT, "service_tier": ""}, "standard"),
    ({"usage": CHAT, "service_tier": "flex"}, "flex"),
    ({"usage": CHAT, "service_tier": "priority"}, "priority"),
    ({"usage": {**CHAT, "service_tier": "batch"}}, "batch"),
    ({"object": "response", "service_tier": "flex", "usage": {"input_tokens": 4, "output_tokens": 2}}, "flex"),
    ({**MESSAGE, "usage": {"input_tokens": 4, "output_tokens": 2, "service_tier": "standard"}}, "standard"),
    ({**MESSAGE, "usage": {"input_tokens": 4, "output_tokens": 2, "service_tier": "priority"}}, "priority"),
    ({**MESSAGE, "usage": {"input_tokens": 4, "output_tokens": 2, "service_tier": "batch"}}, "batch"),
    ({**MESSAGE, "usage": {"input_tokens": 4, "output_tokens": 2, "speed": "fast"}}, "fast"),
    (
        {**MESSAGE, "usage": {"input_tokens": 4, "output_tokens": 2, "speed": "standard", "service_tier": "batch"}},
        "batch",
    ),
    (
        {"custom_id": "a", "result": {"type": "succeeded", "message": {**MESSAGE, "usage": {"input_tokens": 4}}}},
        "batch",
    ),
    (
        {"custom_id": "a", "response": {"status_code": 200, "body": {"usage": CHAT, "service_tier": "default"}}},
        "batch",
    ),
    ({"key": "a", "response": {"usageMetadata": {"promptTokenCount": 4}}}, "batch"),
    ({"response": {"usageMetadata": {"promptTokenCount": 4}}}, "standard"),
    ({"usageMetadata": {"promptTokenCount": 4, "serviceTier": "priority"}}, "priority"),
    ({"usageMetadata": {"promptTokenCount": 4, "trafficType": "ON_DEMAND_FLEX"}}, "flex"),
    ({"usage": {"inputTokens": 4, "outputTokens": 2}, "serviceTier": {"type": "flex"}}, "flex"),
    ({"usage_metadata": {"input_tokens": 4}, "response_metadata": {"service_tier": "flex"}}, "flex"),
    ({"usage_metadata": {"input_tokens": 4, "input_token_details": {"priority_cache_read": 3}}}, "priority"),
]


@pytest.mark.parametrize(("body", "tier"), TIERS)
def test_service_tiers(body: dict[str, Any], tier: str) -> None:
    assert reading_of(body).service_tier == tier


def test_the_tokens_of_a_tier_are_read_under_its_prefix() -> None:
    details = {"flex": 10, "flex_cache_read": 90}
    usage = {"input_tokens": 100, "output_tokens": 8, "input_token_details": details}
    reading = reading_of({"usage_metadata": {**usage, "output_token_details": {"flex": 3, "flex_reasoning": 5}}})
    assert (reading.usage, reading.service_tier) == (Usage(100, 8, 90, reasoning_tokens=5), "flex")


def test_an_image_that_a_response_made_is_another_models() -> None:
    made = {
        "input_tokens": 60,
        "output_tokens": 1_100,
        "total_tokens": 1_160,
        "input_tokens_details": {"image_tokens": 20, "text_tokens": 40},
        "output_tokens_details": {"image_tokens": 1_100, "text_tokens": 0},
    }
    body = {
        "object": "response",
        "model": "gpt-5.4",
        "tools": [{"type": "image_generation", "model": "gpt-image-1"}],
        "tool_usage": {"image_gen": made, "web_search": {"num_requests": 0}},
        "usage": {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 0}},
    }
    reading = reading_of(body)
    assert reading.usage == Usage(9, 2)
    (image,) = reading.others
    expected = Usage(60, 1_100, image_input_tokens=20, image_output_tokens=1_100)
    assert (image.model, image.usage) == ("gpt-image-1", expected)


@pytest.mark.parametrize(
    ("items", "told", "searches"),
    [
        ([("search", "completed"), ("open_page", "completed"), ("find_in_page", "completed")], None, 1),
        ([("search", "completed"), ("search", "failed")], None, 1),
        ([(None, "completed")], None, 1),
        ([("search", "completed")], 0, 0),
        ([("search", "completed")], 4, 4),
        ([], None, 0),
    ],
)
def test_searches_that_are_charged(items: list[tuple[str | None, str]], told: int | None, searches: int) -> None:
    output = [
        {"type": "web_search_call", "status": status, "action": None if action is None else {"type": action}}
        for action, status in items
    ]
    body: dict[str, Any] = {"object": "response", "output": output, "usage": {"input_tokens": 9, "output_tokens": 2}}
    if told is not None:
        body["tool_usage"] = {"web_search": {"num_requests": told}}
    assert usage_from(body) == Usage(9, 2, web_searches=searches)


def test_searches_of_stored_files_that_are_charged() -> None:
    searches = [{"type": "file_search_call", "status": status} for status in ("completed", "failed", "completed")]
    body = {"id": "resp_1", "object": "response", "output": searches, "usage": {"input_tokens": 9, "output_tokens": 2}}
    assert usage_from(body) == Usage(9, 2, file_searches=2)
    stream = OpenAIStreamUsage()
    stream.add({"type": "response.completed", "response": {**body, "status": "completed"}})
    assert stream.reading().usage == Usage(9, 2, file_searches=2)


@pytest.mark.parametrize(
    ("model", "queries", "searches"),
    [
        ("gemini-3-flash-preview", ["rain today", "wind today"], 2),
        ("gemini-3.1-pro-preview", ["rain today"], 1),
        # Up to 2.5 a prompt is charged once, however much it searched for.
        ("gemini-2.5-flash", ["rain today", "wind today"], 1),
        ("models/gemini-2.0-flash-001", ["rain today", "wind today", "sun"], 1),
        # A query without words is not charged, nor is grounding in something else.
        ("gemini-3-flash-preview", ["", "rain today"], 1),
        ("gemini-2.5-flash", [""], 0),
        ("gemini-3-flash-preview", None, 0),
    ],
)
def test_searches_of_gemini_that_are_charged(model: str, queries: list[str] | None, searches: int) -> None:
    grounding = {"groundingChunks": []} if queries is None else {"webSearchQueries": queries}
    body = {
        "responseId": "g1",
        "modelVersion": model,
        "candidates": [{"finishReason": "STOP", "groundingMetadata": grounding}],
        "usageMetadata": GEMINI,
    }
    assert usage_from(body) == Usage(4, 2, web_searches=searches)
    snake = {
        "model_version": model,
        "candidates": [{"grounding_metadata": {"web_search_queries": queries}}],
        "usage_metadata": {"prompt_token_count": 4, "candidates_token_count": 2},
    }
    assert usage_from(as_object(snake)) == Usage(4, 2, web_searches=searches)


@pytest.mark.parametrize("kind", [GeminiStreamUsage, AnyStreamUsage])
def test_searches_that_a_chunk_of_gemini_names(kind: type[StreamUsage]) -> None:
    def chunk(identifier: str, **candidate: Any) -> dict[str, Any]:
        usage = {"modelVersion": "gemini-3-flash-preview", "usageMetadata": GEMINI}
        return {"responseId": identifier, "candidates": [candidate], **usage}

    stream = kind()
    stream.add(chunk("g1", groundingMetadata={"webSearchQueries": ["rain today", "wind today"]}))
    assert stream.partial() == Usage(4, 2, web_searches=2)
    stream.add(chunk("g1", groundingMetadata={"webSearchQueries": ["wind today", "sun today"]}))
    stream.add(chunk("g1", finishReason="STOP"))
    assert stream.reading().usage == Usage(4, 2, web_searches=3)
    stream.add(chunk("g2", finishReason="STOP"))
    assert stream.reading().usage == Usage(4, 2)


@pytest.mark.parametrize(
    ("provider", "called", "named", "booked"),
    [
        ("openai", "gpt-5-mini", "gpt-5-mini-2025-08-07", "gpt-5-mini-2025-08-07"),
        ("anthropic", "claude-fable-5", "claude-opus-5", "claude-opus-5"),
        ("openrouter", "google/gemini-2.0-flash-exp:free", "x-ai/grok-4", "x-ai/grok-4"),
        ("google-gla", "gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-pro"),
        ("OpenAI", "gpt-5.6", "gpt-5.6-sol", "gpt-5.6-sol"),
        # The same model.
        ("openai", "gpt-5", "gpt-5", None),
        ("openrouter", "openai/text-embedding-3-small", "text-embedding-3-small", None),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro", None),
        # Names that say nothing about the price.
        ("azure", "my-deployment", "gpt-4.1-mini-2025-04-14", None),
        ("aws-bedrock", "arn:aws:sagemaker:endpoint", "/opt/ml/model", None),
        ("vllm", "llama", "/models/llama", None),
        # None, or none that can be booked.
        ("openai", "gpt-5", None, None),
        ("openai", "gpt-5", "x" * 201, None),
        ("openai", "gpt-5", "two\nlines", None),
        ("openai", "gpt-5", "\ud800", None),
    ],
)
def test_the_model_that_served(provider: str, called: str, named: str | None, booked: str | None) -> None:
    assert served_model(provider, called, Reading(Usage(1, 1), named)) == booked


def chat_chunk(*choices: tuple[int, str | None], tokens: int | None = None) -> dict[str, Any]:
    usage = None if tokens is None else {"prompt_tokens": 10, "completion_tokens": tokens}
    said = [{"index": index, "delta": {}, "finish_reason": reason} for index, reason in choices]
    return {"id": "a", "object": "chat.completion.chunk", "model": "m", "choices": said, "usage": usage}


def test_an_empty_finish_reason_is_none() -> None:
    stream = OpenAIStreamUsage()
    stream.add(chat_chunk((0, ""), tokens=1))
    stream.add(chat_chunk((0, ""), tokens=7))
    assert not stream.complete
    stream.add(chat_chunk((0, "stop"), tokens=9))
    assert stream.usage() == Usage(10, 9)


@pytest.mark.parametrize("together", [True, False])
def test_two_answers_with_running_usage_are_final_when_both_ended(together: bool) -> None:
    stream = OpenAIStreamUsage()
    for index in (0, 1):
        stream.add(chat_chunk((index, None), tokens=index))
    stream.add(chat_chunk((0, "stop"), tokens=20))
    assert (stream.complete, stream.partial()) == (False, Usage(10, 20))
    if not together:
        stream.add(chat_chunk((1, None), tokens=30))
    assert not stream.complete
    stream.add(chat_chunk((1, "stop"), tokens=40))
    assert stream.usage() == Usage(10, 40)


def test_an_answer_that_begins_after_the_first_ended() -> None:
    stream = OpenAIStreamUsage()
    stream.add(chat_chunk((0, "stop"), tokens=20))
    stream.add(chat_chunk((1, None), tokens=21))
    assert not stream.complete
    stream.add(chat_chunk((1, "length"), tokens=40))
    assert stream.usage() == Usage(10, 40)


def test_a_chunk_without_choices_has_the_whole_usage() -> None:
    stream = OpenAIStreamUsage()
    stream.add(chat_chunk((0, None)))
    stream.add(chat_chunk(tokens=40))
    assert stream.usage() == Usage(10, 40)


def test_tier_and_model_of_any_chunk_count() -> None:
    stream = OpenAIStreamUsage()
    stream.add({**chat_chunk((0, "stop")), "service_tier": "flex", "model": "gpt-5"})
    stream.add({"id": "a", "choices": [], "usage": CHAT})
    assert stream.reading() == Reading(Usage(4, 2), "gpt-5", "flex", "a", "openai_chat")


def test_a_realtime_session_is_settled_response_by_response() -> None:
    stream = OpenAIStreamUsage()
    stream.add({"type": "session.created", "session": {"model": "gpt-realtime"}})
    stream.add({"type": "response.created", "response": {"id": "r1", "status": "in_progress", "usage": None}})
    stream.add({"type": "conversation.item.input_audio_transcription.completed", "usage": {"input_tokens": 99}})
    assert not stream.complete
    done = {"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": REALTIME}}
    stream.add(done)
    first = stream.reading()
    assert (first.usage.cache_read_tokens, first.response_id, first.provider_format) == (64, "r1", "openai_realtime")
    assert reading_of(done) == first
    stream.add({"type": "response.created", "response": {"id": "r2", "status": "in_progress", "usage": None}})
    assert (stream.complete, stream.partial()) == (False, None)


GEMINI = {"promptTokenCount": 4, "candidatesTokenCount": 2}
GEMINI_ENDS: list[tuple[list[dict[str, Any]], bool]] = [
    ([{"candidates": [{"index": 0}], "usageMetadata": GEMINI}], False),
    ([{"candidates": [{"finishReason": "STOP"}], "usageMetadata": GEMINI}], True),
    ([{"candidates": [{"finishReason": "STOP"}]}, {"usageMetadata": GEMINI}], True),
    ([{"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}], "usageMetadata": GEMINI}], False),
    ([{"candidates": [{"finishReason": ""}], "usageMetadata": GEMINI}], False),
    ([{"candidates": [{"finishReason": "STOP"}, {"index": 1}], "usageMetadata": GEMINI}], False),
    ([{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}], True),
    ([{"response": {"candidates": [{"finishReason": "STOP"}], "usageMetadata": GEMINI}}], True),
]


@pytest.mark.parametrize(("chunks", "complete"), GEMINI_ENDS)
@pytest.mark.parametrize("kind", [GeminiStreamUsage, AnyStreamUsage])
def test_the_end_of_a_gemini_stream(kind: type[StreamUsage], chunks: list[dict[str, Any]], complete: bool) -> None:
    stream = kind()
    for chunk in chunks:
        stream.add(chunk)
    assert stream.complete == complete


BEDROCK: list[dict[str, Any]] = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"text": "4"}, "contentBlockIndex": 0}},
    {"messageStop": {"stopReason": "end_turn"}},
    {
        "metadata": {
            "usage": {"inputTokens": 10, "outputTokens": 4, "totalTokens": 64, "cacheReadInputTokens": 50},
            "metrics": {"latencyMs": 9},
        }
    },
]
COHERE: list[dict[str, Any]] = [
    {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "4"}}}},
    {
        "type": "message-end",
        "delta": {
            "finish_reason": "COMPLETE",
            "usage": {
                "billed_units": {"input_tokens": 8, "output_tokens": 3},
                "tokens": {"input_tokens": 500, "output_tokens": 5},
            },
        },
    },
]
COHERE_1: list[dict[str, Any]] = [
    {"event_type": "stream-start", "generation_id": "c1"},
    {"event_type": "text-generation", "text": "4"},
    {
        "event_type": "stream-end",
        "response": {"meta": {"billed_units": {"input_tokens": 8, "output_tokens": 3}}},
    },
]


@pytest.mark.parametrize(
    ("kind", "events", "usage"),
    [
        (BedrockStreamUsage, BEDROCK, Usage(60, 4, 50)),
        (CohereStreamUsage, COHERE, Usage(8, 3)),
        (CohereStreamUsage, COHERE_1, Usage(8, 3)),
    ],
)
def test_streams_with_the_usage_in_their_last_event(
    kind: type[StreamUsage], events: list[dict[str, Any]], usage: Usage
) -> None:
    for stream in (kind(), AnyStreamUsage()):
        for event in events[:-1]:
            stream.add(event)
            assert (stream.complete, stream.partial()) == (False, None)
        stream.add(events[-1])
        assert stream.usage() == stream.partial() == usage
        stream.add(events[0])
        assert not stream.complete


def test_the_ids_of_streams() -> None:
    stream = AnyStreamUsage()
    list(stream.watch(COHERE))
    assert (stream.response_id, stream.reading().response_id) == ("c1", "c1")
