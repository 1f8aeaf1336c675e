"""What calls are announced to use besides text: searches of the provider, and output that is images or speech."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anthropic import Anthropic
from google import genai
from google.genai import types
from openai import OpenAI

from token_ledger_sdk import TokenLedger

from .conftest import KEY, GrantingLedger
from .provider import LateAnswers, Provider

pytestmark = pytest.mark.filterwarnings("ignore:The generate_images method is deprecated")

MESSAGES: list[Any] = [{"role": "user", "content": "What is new?"}]
SEARCH = types.Tool(google_search=types.GoogleSearch())


def gemini(client: genai.Client, model: str, **config: Any) -> Any:
    return client.models.generate_content(
        model=model, contents="What is new?", config={"max_output_tokens": 9, **config}
    )


def response(client: OpenAI, **said: Any) -> Any:
    tools: Any = [{"type": "web_search"}, {"type": "file_search", "vector_store_ids": ["vs_1"]}]
    return client.responses.create(
        **{"model": "gpt-5.4", "input": "x", "tools": tools, "max_output_tokens": 16, **said}
    )


GEMINI: dict[str, tuple[Callable[[genai.Client], Any], dict[str, int] | None]] = {
    "charged once for a prompt": (
        lambda client: gemini(client, "gemini-2.5-flash", tools=[SEARCH]), {"web_searches": 1},
    ),
    "charged for each query": (lambda client: gemini(client, "gemini-3-flash", tools=[SEARCH]), None),
    "images": (lambda client: gemini(client, "gemini-2.5-flash-image"), {"image_output_tokens": 9}),
    "speech": (
        lambda client: gemini(client, "gemini-2.5-flash-tts", response_modalities=["AUDIO"]),
        {"audio_output_tokens": 9},
    ),
    "text": (lambda client: gemini(client, "gemini-2.5-flash"), None),
}  # fmt: skip
OPENAI: dict[str, tuple[Callable[[OpenAI], Any], dict[str, int] | None]] = {
    "so many calls of tools": (
        lambda client: response(client, max_tool_calls=3), {"web_searches": 3, "file_searches": 3},
    ),
    "any number of them": (response, None),
    "calls of the caller's own tools": (lambda client: response(client, max_tool_calls=3, tools=[]), None),
    "speech": (
        lambda client: client.chat.completions.create(
            model="gpt-audio", messages=MESSAGES, modalities=["text", "audio"], max_completion_tokens=9,
            audio={"voice": "ash", "format": "wav"},
        ),
        {"audio_output_tokens": 9},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GEMINI)
def test_of_gemini(
    name: str, bare_google: genai.Client, ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    call, announced = GEMINI[name]
    provider.json({"candidates": []})
    call(ledger.wrap(bare_google, user="ada", agent_type="a"))
    assert granting.reserved.get("max_usage") == announced


@pytest.mark.parametrize("name", OPENAI)
def test_of_openai(name: str, client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    call, announced = OPENAI[name]
    provider.json({"choices": [], "output": []})
    call(client)
    assert granting.reserved.get("max_usage") == announced


@pytest.mark.parametrize(("more", "announced"), [({"max_uses": 4}, {"web_searches": 4}), ({}, None)])
def test_of_anthropic(
    more: dict[str, Any],
    announced: dict[str, int] | None,
    bare_anthropic: Anthropic,
    ledger: TokenLedger,
    provider: Provider,
    granting: GrantingLedger,
) -> None:
    provider.json({"type": "message", "role": "assistant", "content": []})
    search: Any = {"type": "web_search_20250305", "name": "web_search", **more}
    client = ledger.wrap(bare_anthropic, user="ada", agent_type="a")
    client.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=MESSAGES, tools=[search])
    assert granting.reserved.get("max_usage") == announced


@pytest.fixture
def vertex(provider: Provider, ledger: TokenLedger) -> genai.Client:
    options: Any = {"base_url": provider.root, "client_args": {"transport": LateAnswers(provider)}}
    bare = genai.Client(vertexai=True, api_key=KEY, http_options=options)
    return ledger.wrap(bare, user="ada", agent_type="a")


@pytest.mark.parametrize(("said", "held"), [({"number_of_images": 2}, 2), ({}, 4)])
def test_images_of_vertex_ai_are_held_and_booked_by_the_piece(
    said: Any, held: int, vertex: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"predictions": [{"bytesBase64Encoded": "eA==", "mimeType": "image/png"}]})
    vertex.models.generate_images(model="imagen-4.0-generate-001", prompt="a cat", config=said)
    assert (granting.reserved["max_usage"], granting.reserved["max_output_tokens"]) == ({"images": held}, 0)
    assert (granting.settled["usage"]["images"], "estimated" in granting.settled) == (1, False)
    vertex.close()


def test_images_that_were_all_filtered_are_an_estimate(
    vertex: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"predictions": [{"raiFilteredReason": "no"}]})
    vertex.models.generate_images(model="imagen-4.0-generate-001", prompt="a cat", config={"number_of_images": 2})
    assert (granting.settled["usage"]["images"], granting.settled["estimated"]) == (2, True)
    vertex.close()


def test_decisions_and_compactions_are_held_and_booked(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    usage = {
        "input_tokens": 30, "output_tokens": 2, "total_tokens": 32, "output_tokens_details": {"reasoning_tokens": 0},
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    }  # fmt: skip
    provider.json({"model": "gpt-5.5", "answers": [], "output": [], "usage": usage})
    question: Any = {"type": "predicate", "question": "Is it spam?"}
    client.decisions.create(model="gpt-5.5", input="Buy now!", questions=[question])
    client.responses.compact(model="gpt-5.5", input="A long story.")
    client.beta.responses.create(model="gpt-5.5", input="x")
    assert [each["usage"]["input_tokens"] for each in granting.sent("/settle")] == [30, 30, 30]
    assert [each["max_output_tokens"] for each in granting.sent("/reservations")] == [128_000] * 3
    assert all("max_output_tokens" not in asked.body for asked in provider.asked)
