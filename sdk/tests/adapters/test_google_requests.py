"""What is read of a request of the google-genai library, in each of the shapes in which it is sent."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from token_ledger_sdk.adapters.google_requests import ask_of, body_for, call_of, url_for
from token_ledger_sdk.text_tokens import count_text

DATA = Path(__file__).parents[1] / "data" / "counted_gemini.jsonl.gz"
HERE = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
VERTEX = "https://l-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models/text-embedding-005"
HELLO: dict[str, Any] = {"contents": [{"parts": [{"text": "one two three"}]}]}


def tokens(body: dict[str, Any], url: str = f"{HERE}:generateContent") -> int:
    call = call_of(url, "post", body)
    assert call is not None
    return ask_of(call, "google", count_text).input_tokens


@pytest.mark.parametrize(
    ("method", "url", "body", "model"),
    [
        ("post", f"{HERE}:generateContent", HELLO, "gemini-2.5-flash"),
        ("POST", f"{HERE}:streamGenerateContent?alt=sse", HELLO, "gemini-2.5-flash"),
        ("post", f"{HERE}:batchEmbedContents", {"requests": []}, "gemini-2.5-flash"),
        ("post", f"{VERTEX}:predict", {"instances": [{"content": "x"}]}, "text-embedding-005"),
        ("post", "https://x/v1/tunedModels/mine:generateContent", HELLO, "mine"),
        ("post", "https://x/v1/projects/p/locations/l/endpoints/7:generateContent", HELLO, "7"),
        ("post", f"{VERTEX}:predict", {"instances": [{"prompt": "a cat"}]}, None),
        ("post", f"{HERE}:countTokens", HELLO, None),
        ("get", f"{HERE}:generateContent", HELLO, None),
        ("post", f"{HERE}:generateContent", b"bytes", None),
        ("post", "https://x/v1beta/cachedContents", HELLO, None),
    ],
)
def test_only_calls_of_models_are_guarded(method: str, url: str, body: Any, model: str | None) -> None:
    call = call_of(url, method, body)
    assert (None if call is None else call.model) == model


def test_a_stand_in_and_a_limit_change_nothing_else() -> None:
    call = call_of(f"{HERE}:streamGenerateContent?alt=sse", "post", HELLO)
    assert call is not None
    assert url_for(call, "other") == f"{HERE.replace('gemini-2.5-flash', 'other')}:streamGenerateContent?alt=sse"
    assert body_for(call, None) is HELLO
    assert body_for(call, 5) == {**HELLO, "generationConfig": {"maxOutputTokens": 5}}


def requests() -> list[dict[str, Any]]:
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("request_", requests(), ids=lambda each: each["file"][:3])
def test_recorded_texts_are_counted_from_15_percent_below_to_20_percent_above(request_: dict[str, Any]) -> None:
    assert 0.85 <= tokens(request_["body"]) / request_["input_tokens"] <= 1.2


def test_texts_are_counted_wherever_they_are() -> None:
    assert tokens(HELLO) == 4
    assert tokens({**HELLO, "systemInstruction": {"parts": [{"text": "one two three"}]}}) == 8
    instances = {"instances": [{"content": "one two three"}, {"content": "four"}]}
    assert tokens(instances, f"{VERTEX}:predict") == 4
    requests = {"requests": [{"content": {"parts": [{"text": "one two three"}]}}]}
    assert tokens(requests, f"{HERE}:batchEmbedContents") == 4
    assert tokens({"content": {"parts": [{"text": "one two three"}]}}, f"{HERE}:embedContent") == 4


@pytest.mark.parametrize("names", [("inlineData", "mimeType"), ("inline_data", "mime_type"), ("fileData", "mimeType")])
def test_what_is_no_text_counts_for_what_it_is_at_most(names: tuple[str, str]) -> None:
    def part(kind: str) -> dict[str, Any]:
        return {"contents": [{"parts": [{names[0]: {names[1]: kind, "data": "eHh4" * 10_000}}]}]}

    assert (tokens(part("image/png")), tokens(part("application/pdf"))) == (1_121, 1_501)


def test_calls_of_tools_count_and_signatures_of_thoughts_do_not() -> None:
    called = {"functionCall": {"name": "get_capital", "args": {"of": "UK"}}, "thoughtSignature": "c2ln" * 1_000}
    assert 5 < tokens({"contents": [{"parts": [called]}]}) < 30
    declared = {"name": "get_capital", "description": "Say the capital of a country."}
    for name in ("functionDeclarations", "function_declarations"):
        assert tokens({**HELLO, "tools": [{name: [declared]}]}) > 20
