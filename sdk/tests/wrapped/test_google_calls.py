"""A wrapped client of the google-genai library against a provider's wire format: what is sent, held and booked."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import pytest
from google import genai
from google.auth.credentials import Credentials
from google.genai import types
from pydantic import BaseModel

from token_ledger_sdk import BudgetExceeded, TokenLedger

from .conftest import KEY, GrantingLedger
from .provider import Provider

Recorded = Callable[[str], str]
MODEL = "gemini-2.5-flash"
QUESTION = "What is the capital of the UK?"
LIMITED = types.GenerateContentConfig(max_output_tokens=300)


class City(BaseModel):
    name: str


def get_capital(country: str) -> str:
    """Say the capital of a country."""
    return {"UK": "London"}[country]


def content(*parts: dict[str, Any], finish_reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [*parts]}, "index": 0}
    if finish_reason is not None:
        candidate["finishReason"] = finish_reason
    used = {"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 27}
    return {
        "candidates": [candidate], "usageMetadata": used, "modelVersion": MODEL, "responseId": "resp_1", **more,
    }  # fmt: skip


def answer(words: str = "Paris", **more: Any) -> dict[str, Any]:
    return content({"text": words}, **more)


@pytest.fixture
def client(bare_google: genai.Client, ledger: TokenLedger) -> genai.Client:
    """The client with one changed line."""
    return ledger.wrap(bare_google, user="ada", agent_type="data_agent")


def test_a_call_is_held_and_booked(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(answer())
    response = client.models.generate_content(model=MODEL, contents=QUESTION, config=LIMITED)
    assert response.text == "Paris"
    reserved = granting.reserved
    assert (reserved["user"], reserved["agent_type"], reserved["provider"]) == ("ada", "data_agent", "google")
    assert (reserved["model"], reserved["max_output_tokens"]) == (MODEL, 300)
    assert 7 <= reserved["input_tokens"] <= 12
    assert "requires" not in reserved
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert (settled["response_id"], settled["measured"]["finish_reason"]) == ("resp_1", "STOP")
    assert ("estimated" in settled, settled["measured"]["latency_ms"] >= 0) == (False, True)


def test_the_type_stays(client: genai.Client, bare_google: genai.Client) -> None:
    assert isinstance(client, genai.Client)
    assert type(client).__name__ == "Client"
    assert type(bare_google) is genai.Client


@pytest.mark.parametrize("number", ["054", "063", "069"])
def test_recorded_answers_are_booked(
    number: str, client: genai.Client, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.json(recorded(number))
    client.models.generate_content(model=MODEL, contents=QUESTION)
    said = json.loads(recorded(number))["usageMetadata"]
    usage = granting.settled["usage"]
    assert usage["input_tokens"] == said["promptTokenCount"]
    assert usage["output_tokens"] == said["candidatesTokenCount"] + said.get("thoughtsTokenCount", 0)
    assert usage["cache_read_tokens"] == said.get("cachedContentTokenCount", 0)


def test_what_the_request_requires(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(answer('{"name": "Paris"}'))
    image = types.Part.from_bytes(data=b"x" * 9, mime_type="image/png")
    sound = types.Part.from_uri(file_uri="gs://house/a.mp3", mime_type="audio/mpeg")
    config = types.GenerateContentConfig(
        tools=[types.Tool(google_search=types.GoogleSearch())],
        response_mime_type="application/json",
        response_schema=City,
    )
    client.models.generate_content(model=MODEL, contents=[QUESTION, image, sound], config=config)
    assert granting.reserved["requires"] == ["tools", "structured_output", "vision", "audio"]
    client.models.generate_content(
        model=MODEL, contents=QUESTION, config=types.GenerateContentConfig(max_output_tokens=128_000)
    )
    assert granting.reserved["requires"] == ["long_context"]


def test_calls_of_tools_that_the_library_makes_are_calls_of_their_own(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(content({"functionCall": {"name": "get_capital", "args": {"country": "UK"}}}))
    provider.json(answer("London", responseId="resp_2"))
    config = types.GenerateContentConfig(tools=[get_capital])
    assert client.models.generate_content(model=MODEL, contents=QUESTION, config=config).text == "London"
    first, second = granting.sent("/reservations")
    assert (first["requires"], second["requires"]) == (["tools"], ["tools"])
    assert first["input_tokens"] < second["input_tokens"]
    assert [each["response_id"] for each in granting.sent("/settle")] == ["resp_1", "resp_2"]


def test_a_parsed_answer_is_booked(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(answer('{"name": "Paris"}'))
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    assert client.models.generate_content(model=MODEL, contents=QUESTION, config=config).parsed == City(name="Paris")
    assert granting.reserved["requires"] == ["structured_output"]
    assert granting.settled["usage"]["output_tokens"] == 7


def test_chats_are_booked(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(answer())
    chat = client.chats.create(model=MODEL)
    assert [chat.send_message(QUESTION).text for _ in range(2)] == ["Paris", "Paris"]
    first, second = granting.sent("/reservations")
    assert second["input_tokens"] > 2 * first["input_tokens"]
    assert len(granting.sent("/settle")) == 2


def test_embeddings_hold_no_output(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"embeddings": [{"values": [0.1, 0.2]}]})
    client.models.embed_content(model="gemini-embedding-001", contents=["one two", "three"])
    assert (granting.reserved["max_output_tokens"], granting.reserved["request_type"]) == (0, "embedding")
    settled = granting.settled
    # This answer tells no figures.
    assert (settled["estimated"], settled["outcome"]) == (True, "ok")
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (5, 0)
    assert settled["measured"]["estimate_rule"] == "input counted, output limit"


def test_embeddings_that_tell_their_figures_are_booked(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"embeddings": [{"values": [0.1]}], "usageMetadata": {"promptTokenCount": 6, "totalTokenCount": 6}})
    client.models.embed_content(model="gemini-embedding-2", contents=QUESTION)
    assert (granting.settled["usage"]["input_tokens"], "estimated" in granting.settled) == (6, False)


def test_an_answer_without_figures_is_counted(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    body = answer("It is Paris")
    del body["usageMetadata"]
    provider.json(body)
    client.models.generate_content(model=MODEL, contents=QUESTION, config=LIMITED)
    settled = granting.settled
    assert (settled["usage"]["output_tokens"], settled["estimated"], settled["outcome"]) == (3, True, "ok")
    assert settled["measured"]["estimate_rule"] == "input counted, output from text (tiktoken)"


def test_a_refused_prompt_is_booked(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    used = {"promptTokenCount": 20, "totalTokenCount": 20}
    provider.json({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": used, "modelVersion": MODEL})
    client.models.generate_content(model=MODEL, contents=QUESTION)
    assert (granting.settled["usage"]["input_tokens"], granting.settled["usage"]["output_tokens"]) == (20, 0)


def test_other_requests_pass(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"totalTokens": 14, "models": []})
    assert client.models.count_tokens(model=MODEL, contents=QUESTION).total_tokens == 14
    assert [*client.models.list()] == []
    assert granting.requests == []


def test_the_bare_client_stays_unguarded(
    bare_google: genai.Client, client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(answer())
    bare_google.models.generate_content(model=MODEL, contents=QUESTION)
    assert granting.requests == []


def test_connections_live_as_long_as_one_of_the_two(
    ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(answer())
    options: Any = {"base_url": provider.root}
    guarded = ledger.wrap(genai.Client(api_key=KEY, http_options=options), user="ada", agent_type="a")
    gc.collect()  # the library closes the connections of a client that is forgotten
    guarded.models.generate_content(model=MODEL, contents=QUESTION)
    bare = genai.Client(api_key=KEY, http_options=options)
    ledger.wrap(bare, user="ada", agent_type="a")
    gc.collect()
    bare.models.generate_content(model=MODEL, contents=QUESTION)
    assert len(granting.sent("/settle")) == 1
    bare.close()
    guarded.close()


def test_the_asynchronous_side_is_not_left_unguarded(client: genai.Client) -> None:
    with pytest.raises(TypeError, match="for asynchronous calls, wrap the client with the ledger's AsyncTokenLedger"):
        client.aio.models.generate_content  # noqa: B018
    assert not hasattr(client.aio.models, "__deepcopy__")
    with pytest.raises(TypeError, match="can't be wrapped here"):
        TokenLedger("http://ledger.test", "tl_test_1_secret").wrap(client.aio)


# --- byte for byte ---


CALLS: dict[str, Callable[[genai.Client], object]] = {
    "plain": lambda client: client.models.generate_content(model=MODEL, contents="Grüße 🙂"),
    "config": lambda client: client.models.generate_content(
        model=f"models/{MODEL}", contents=[QUESTION], config={"temperature": 0.5, "max_output_tokens": 9}
    ),
    "own headers and body": lambda client: client.models.generate_content(
        model=MODEL, contents=QUESTION, config={"http_options": {"headers": {"X-Own": "1"}, "extra_body": {"own": 1}}}
    ),
    "tool": lambda client: client.models.generate_content(
        model=MODEL, contents=QUESTION, config={"tools": [get_capital], "response_schema": City}
    ),
    "stream": lambda client: [*client.models.generate_content_stream(model=MODEL, contents=QUESTION)],
    "chat": lambda client: client.chats.create(model=MODEL).send_message(QUESTION),
    "embeddings": lambda client: client.models.embed_content(model="gemini-embedding-001", contents="x"),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_sent_is_the_same_to_the_byte(
    name: str, bare_google: genai.Client, client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({**answer(), "embeddings": []})
    CALLS[name](bare_google)
    CALLS[name](client)
    plain, guarded = provider.asked
    assert guarded.content == plain.content
    assert (guarded.path, guarded.headers) == (plain.path, plain.headers)
    assert len(granting.sent("/reservations")) == 1


# --- the output limit and directives ---


def test_the_models_limit_is_held_and_not_sent(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    granting.model_limit = 65_536
    provider.json(answer())
    client.models.generate_content(model=MODEL, contents=QUESTION, config={"candidate_count": 2})
    assert granting.reserved["max_output_tokens"] == 131_072
    assert "maxOutputTokens" not in provider.asked[0].body["generationConfig"]


def test_what_fits_is_held_and_sent(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 1_000
    provider.json(answer())
    client.models.generate_content(model=MODEL, contents=QUESTION)
    client.models.generate_content(model=MODEL, contents=QUESTION, config={"temperature": 0.5})
    assert [each["max_output_tokens"] for each in granting.sent("/reservations")] == [128_000, 1_000] * 2
    sent = [each.body["generationConfig"] for each in provider.asked]
    assert sent == [{"maxOutputTokens": 1_000}, {"temperature": 0.5, "maxOutputTokens": 1_000}]


def test_switched_off_it_is_denied(
    ledger: TokenLedger, bare_google: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 1_000
    client = ledger.wrap(bare_google, user="ada", agent_type="a", limit_output=False)
    with pytest.raises(BudgetExceeded) as denied:
        client.models.generate_content(model=MODEL, contents=QUESTION)
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 1_000
    assert provider.asked == []


def test_a_limit_of_the_callers_own_is_never_cut(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 100
    with pytest.raises(BudgetExceeded):
        client.models.generate_content(model=MODEL, contents=QUESTION, config=LIMITED)
    assert (len(granting.sent("/reservations")), provider.asked) == (1, [])


def test_a_stand_in_is_called(
    ledger: TokenLedger, bare_google: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    granting.stand_in = "gemini-2.5-flash-lite"
    provider.json(answer())
    client = ledger.wrap(bare_google, user="ada", agent_type="a", apply=["model_downgrade"])
    client.models.generate_content(model=MODEL, contents=QUESTION, config=LIMITED)
    [*client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=LIMITED)]
    assert granting.reserved["apply"] == ["model_downgrade"]
    assert [each.path.rpartition("/")[2] for each in provider.asked] == [
        "gemini-2.5-flash-lite:generateContent",
        "gemini-2.5-flash-lite:streamGenerateContent?alt=sse",
    ]


# --- cached contents ---


CACHE = "cachedContents/a"
CACHED = types.GenerateContentConfig(max_output_tokens=300, cached_content=CACHE)


def test_a_cached_content_is_held_as_what_it_was_made_of(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"name": CACHE, "model": f"models/{MODEL}", "usageMetadata": {"totalTokenCount": 5_000}})
    provider.json(answer())
    client.caches.create(model=MODEL, config={"contents": QUESTION})
    assert granting.requests == []
    client.models.generate_content(model=MODEL, contents=QUESTION, config=CACHED)
    assert 5_007 <= granting.reserved["input_tokens"] <= 5_012


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_cached_content_of_others_is_held_as_what_the_answer_before_said_of_it(
    is_stream: bool, client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    used = {"promptTokenCount": 9_010, "cachedContentTokenCount": 9_000, "candidatesTokenCount": 5}
    provider.json(answer(usageMetadata=used))
    if is_stream:
        provider.replies.clear()
        provider.stream(f"data: {json.dumps(answer(usageMetadata=used))}")
        assert [*client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=CACHED)]
        provider.replies.clear()
        provider.json(answer())
    client.models.generate_content(model=MODEL, contents=QUESTION, config=CACHED)
    client.models.generate_content(model=MODEL, contents=QUESTION, config=CACHED)
    first, *_, last = [each["input_tokens"] for each in granting.sent("/reservations")]
    assert 4_103 <= first <= 4_108
    assert 9_007 <= last <= 9_012


# --- Vertex AI ---


class FixedToken(Credentials):
    """Credentials that always have the same token, or never one."""

    def __init__(self, token: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token = token

    def refresh(self, request: object) -> None:
        raise PermissionError("no token today")


@pytest.mark.parametrize("token", ["t", None])
def test_a_call_on_vertex_ai_begins_when_it_has_a_token(
    token: str | None, ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream("data: x", cut_after=0)
    options: Any = {"base_url": provider.root}
    with genai.Client(
        vertexai=True, project="p", location="l", credentials=FixedToken(token), http_options=options
    ) as bare:
        client = ledger.wrap(bare, user="ada", agent_type="a")
        with pytest.raises(Exception, match="no token today" if token is None else "disconnected"):
            client.models.generate_content(model=MODEL, contents=QUESTION, config=LIMITED)
    assert granting.reserved["model"] == MODEL
    if token is None:
        assert (granting.released["reason"], provider.asked) == ("not sent", [])
    else:
        assert provider.asked[0].path == (
            f"/v1beta1/projects/p/locations/l/publishers/google/models/{MODEL}:generateContent"
        )
        assert granting.settled["measured"]["error_kind"] == "cut_connection"
