"""What is read of a request of the anthropic library, and how near its counted input is to what Anthropic charged."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import anthropic
import pytest

from token_ledger_sdk.adapters.anthropic_requests import ask_of, batch_of, body_of, provider_at
from token_ledger_sdk.adapters.earlier_responses import EarlierResponses
from token_ledger_sdk.guard.ask import Ask
from token_ledger_sdk.text_tokens import count_text
from token_ledger_sdk.vocabularies import bare_model

DATA = Path(__file__).parents[1] / "data" / "counted_anthropic.jsonl.gz"


def requests() -> list[dict[str, Any]]:
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def asked(body: dict[str, Any]) -> Ask:
    return ask_of(body, "anthropic", EarlierResponses(), count_text)


@pytest.mark.parametrize("request_", requests(), ids=lambda each: each["file"][:3])
def test_recorded_requests_are_counted_from_5_percent_below_to_30_percent_above(request_: dict[str, Any]) -> None:
    counted = asked({**request_["body"], "model": request_["model"]}).input_tokens
    assert 0.95 <= counted / request_["input_tokens"] <= 1.3


def test_a_newer_model_counts_more_tokens_of_the_same_text() -> None:
    text = {"messages": [{"role": "user", "content": "word " * 1_000}]}
    earlier = ("claude-sonnet-4-6", "claude-haiku-4-5-20251001", "claude-opus-4-1", "us.anthropic.claude-3-haiku")
    counted = {model: asked({**text, "model": model}).input_tokens for model in (*earlier, "claude-opus-4-8", "house")}
    assert len({counted[model] for model in earlier}) == 1
    assert counted["house"] == counted["claude-opus-4-8"] > 1.2 * counted["claude-opus-4-1"]


def test_signatures_and_thoughts_that_are_encrypted_count_nothing() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln" * 1_000}
    hidden = {"type": "redacted_thinking", "data": "ZGF0YQ" * 1_000}
    body = {"model": "claude-sonnet-4-6", "messages": [{"role": "assistant", "content": [thought, hidden]}]}
    assert asked(body).input_tokens < 20


def test_results_of_tools_within_each_other_are_counted_however_deep() -> None:
    part: dict[str, Any] = {"type": "text", "text": "word " * 1_000}
    for _ in range(1_000):
        part = {"type": "tool_result", "content": [part]}
    body = {"model": "claude-sonnet-4-6", "messages": [{"role": "user", "content": [part]}]}
    assert asked(body).input_tokens > 1_000


@pytest.mark.parametrize(
    ("method", "url", "body", "is_call"),
    [
        ("post", "/v1/messages", {"model": "m"}, True),
        ("POST", "/v1/messages?beta=true", {"model": "m"}, True),
        ("get", "/v1/messages", {"model": "m"}, False),
        ("post", "/v1/messages/count_tokens", {"model": "m"}, False),
        ("post", "/v1/messages/batches", {"requests": []}, False),
    ],
)
def test_only_calls_of_models_are_guarded(method: str, url: str, body: Any, is_call: bool) -> None:
    assert (body_of(url, method, body) is not None) is is_call


@pytest.mark.parametrize("body", [{}, None, {"model": 1}])
def test_a_call_of_no_model_is_refused(body: Any) -> None:
    with pytest.raises(TypeError, match="names no model"):
        body_of("/v1/messages", "post", body)


@pytest.mark.parametrize(
    ("method", "url", "batch"),
    [
        ("get", "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results", "msgbatch_1"),
        ("get", "/v1/messages/batches/msgbatch_1/results?beta=true", "msgbatch_1"),
        ("get", "/v1/messages/batches/msgbatch_1", None),
        ("post", "/v1/messages/batches/msgbatch_1/results", None),
    ],
)
def test_results_of_batches_are_known_by_their_address(method: str, url: str, batch: str | None) -> None:
    assert batch_of(url, method) == batch


def test_the_provider_is_known_by_the_kind_of_client_or_the_address() -> None:
    assert provider_at("https://api.anthropic.com", ["Anthropic"]) == "anthropic"
    assert provider_at("https://house.services.ai.azure.com/anthropic", ["Anthropic"]) == "azure"
    assert provider_at("https://gateway.house", ["AnthropicFoundry", "BaseFoundryClient", "Anthropic"]) == "azure"


def test_clients_of_clouds_say_whose_prices_count() -> None:
    given = {"api_key": "k", "base_url": "http://x", "region": "r", "project_id": "p", "aws_region": "us-east-1"}
    made: dict[type, tuple[str, ...]] = {
        anthropic.AnthropicBedrock: ("api_key", "base_url", "aws_region"),
        anthropic.AsyncAnthropicBedrockMantle: ("api_key", "base_url", "aws_region"),
        anthropic.AsyncAnthropicVertex: ("base_url", "region", "project_id"),
        anthropic.AnthropicFoundry: ("api_key", "base_url"),
        anthropic.Anthropic: ("api_key", "base_url"),
    }
    found = []
    for kind, names in made.items():
        client: Any = kind(**{name: given[name] for name in names})
        found.append(provider_at(str(client.base_url), [each.__name__ for each in type(client).__mro__]))
    assert found == ["aws", "aws", "google", "azure", "anthropic"]


@pytest.mark.parametrize(
    ("model", "bare"),
    [
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic.claude-3-sonnet-20240229-v1:0:200k", "claude-3-sonnet-20240229"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-haiku-4-5-v1:0", "claude-haiku-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-6@default", "claude-sonnet-4-6"),
    ],
)
def test_what_clouds_put_around_a_name_is_left_out(model: str, bare: str) -> None:
    assert bare_model(model) == bare
