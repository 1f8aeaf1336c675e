"""What is read of a request of the google-genai library, in each of the shapes in which it is sent."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from token_ledger_sdk import Usage
from token_ledger_sdk.adapters.google_caches import KnownCaches
from token_ledger_sdk.adapters.google_requests import ask_of, body_for, call_of, url_for
from token_ledger_sdk.guard.ask import Ask
from token_ledger_sdk.providers import Reading
from token_ledger_sdk.text_tokens import count_text

DATA = Path(__file__).parents[1] / "data" / "counted_gemini.jsonl.gz"
HERE = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
VERTEX = "https://l-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models/text-embedding-005"
HELLO: dict[str, Any] = {"contents": [{"parts": [{"text": "one two three"}]}]}


def asked(body: dict[str, Any], url: str = f"{HERE}:generateContent", caches: KnownCaches | None = None) -> Ask:
    call = call_of(url, "post", body)
    assert call is not None
    return ask_of(call, "google", caches or KnownCaches(), count_text)


def tokens(body: dict[str, Any], url: str = f"{HERE}:generateContent") -> int:
    return asked(body, url).input_tokens


@pytest.mark.parametrize(
    ("method", "url", "body", "model"),
    [
        ("post", f"{HERE}:generateContent", HELLO, "gemini-2.5-flash"),
        ("POST", f"{HERE}:streamGenerateContent?alt=sse", HELLO, "gemini-2.5-flash"),
        ("post", f"{HERE}:batchEmbedContents", {"requests": []}, "gemini-2.5-flash"),
        ("post", f"{VERTEX}:predict", {"instances": [{"content": "x"}]}, "text-embedding-005"),
        ("post", "https://x/v1/tunedModels/mine:generateContent", HELLO, "mine"),
        ("post", "https://x/v1/projects/p/locations/l/endpoints/7:generateContent", HELLO, "7"),
        ("post", f"{VERTEX}:predict", {"instances": [{"prompt": "a cat"}]}, "text-embedding-005"),
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


def is_text_only(request: dict[str, Any]) -> bool:
    has_schema = "responseJsonSchema" in request["body"].get("generationConfig", {})
    return not has_schema and "tools" not in request["body"] and "cachedContent" not in request["body"]


TEXTS = [each for each in requests() if is_text_only(each)]
OTHERS = [each for each in requests() if not is_text_only(each)]


@pytest.mark.parametrize("request_", TEXTS, ids=lambda each: each["file"][:3])
def test_recorded_texts_are_counted_from_15_percent_below_to_20_percent_above(request_: dict[str, Any]) -> None:
    assert 0.85 <= tokens(request_["body"]) / request_["input_tokens"] <= 1.2


@pytest.mark.parametrize("request_", OTHERS, ids=lambda each: each["file"][:3])
def test_recorded_tools_and_schemas_are_never_counted_as_less_and_as_half_more_and_100_tokens_at_most(
    request_: dict[str, Any],
) -> None:
    caches = KnownCaches()
    if "cachedContent" in request_["body"]:
        usage = {"totalTokenCount": request_["cached_tokens"]}
        caches.note({"name": request_["body"]["cachedContent"], "usageMetadata": usage})
    counted = asked(request_["body"], caches=caches).input_tokens
    assert 0.99 * request_["input_tokens"] <= counted <= 1.5 * request_["input_tokens"] + 100


def test_a_cached_content_is_taken_for_4096_tokens_until_something_says_how_much_it_is() -> None:
    body, caches = {**HELLO, "cachedContent": "cachedContents/a"}, KnownCaches()
    first = asked(body, caches=caches)
    assert (first.input_tokens, first.known_tokens, first.is_counted) == (4_100, 0, False)
    caches.note_use(body, None)
    caches.note_use(HELLO, Reading(Usage(10, 1, cache_read_tokens=9)))
    assert asked(body, caches=caches).input_tokens == 4_100
    caches.note_use(body, Reading(Usage(10_000, 1, cache_read_tokens=9_000)))
    then = asked(body, caches=caches)
    assert (then.input_tokens, then.known_tokens, then.is_counted) == (9_004, 9_000, True)


def test_cached_contents_are_known_from_what_describes_them() -> None:
    caches = KnownCaches()
    one = {"name": "projects/p/locations/l/cachedContents/a", "usageMetadata": {"totalTokenCount": 5_000}}
    caches.note({"cachedContents": [one, {"name": "cachedContents/b", "usageMetadata": {}}, None]})
    caches.note(None)
    assert [caches.tokens_of(f"cachedContents/{name}") for name in ("a", "b", "c")] == [5_000, None, None]


@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ({"codeExecution": {}}, 1_600), ({"code_execution": {}}, 1_600), ({"urlContext": {}}, 10_000),
        ({"fileSearch": {}}, 10_000), ({"retrieval": {}}, 10_000), ({"googleSearch": {}}, 0),
    ],
)  # fmt: skip
def test_tools_that_run_at_google_count_for_what_they_usually_add(tool: dict[str, Any], more: int) -> None:
    assert tokens({**HELLO, "tools": [tool]}) == tokens(HELLO) + more


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


def test_calls_of_tools_count_and_earlier_thoughts_by_the_length_of_their_signatures() -> None:
    called = {"functionCall": {"name": "get_capital", "args": {"of": "UK"}}}
    alone = tokens({"contents": [{"parts": [called]}]})
    assert 5 < alone < 30
    for signature in ("c2ln" * 200, b"sign" * 200):
        assert tokens({"contents": [{"parts": [{**called, "thoughtSignature": signature}]}]}) == alone + 100
    declared = {"name": "get_capital", "description": "Say the capital of a country."}
    for name in ("functionDeclarations", "function_declarations"):
        assert tokens({**HELLO, "tools": [{name: [declared]}]}) > 20
