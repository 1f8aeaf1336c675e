"""Images and audio of a wrapped client of the openai library: what is held, sent and booked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from token_ledger_sdk import AsyncTokenLedger

from .conftest import KEY, GrantingLedger, plain_connections
from .provider import Provider, Reply
from .recordings import recording

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # of methods that are to go

IMAGES_BY_TOKENS: dict[str, Any] = {
    "created": 1,
    "data": [{"b64_json": "eA=="}],
    "usage": {
        "input_tokens": 50, "output_tokens": 1_060, "total_tokens": 1_110,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens_details": {"text_tokens": 4, "image_tokens": 1_056},
    },
}  # fmt: skip
IMAGES_BY_PIECE = {"created": 1, "data": [{"url": "https://example.org/1"}, {"url": "https://example.org/2"}]}
SECONDS = {"text": "Hello", "usage": {"type": "duration", "seconds": 3}}
HEARD = {
    "text": "Hello",
    "usage": {
        "type": "tokens", "input_tokens": 35, "output_tokens": 8, "total_tokens": 43,
        "input_token_details": {"text_tokens": 5, "audio_tokens": 30},
    },
}  # fmt: skip


def image(client: OpenAI, **said: Any) -> Any:
    return client.images.generate(
        **{"model": "gpt-image-1.5", "prompt": "a cat", "quality": "medium", "size": "1024x1024", **said}
    )


def transcribe(client: OpenAI, **said: Any) -> Any:
    return client.audio.transcriptions.create(
        **{"model": "whisper-1", "file": ("a.wav", recording(3), "audio/wav"), **said}
    )


def speak(client: OpenAI, **said: Any) -> Any:
    return client.audio.speech.create(**{"model": "tts-1", "input": "Grüße!", "voice": "alloy", **said})


CASES: dict[str, tuple[Callable[[OpenAI], Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # how it is called, what the provider answers, what is held, what is booked
    "images by tokens": (
        image,
        IMAGES_BY_TOKENS,
        {"request_type": "image", "input_tokens": 2, "max_output_tokens": 1_067,
         "max_usage": {"image_output_tokens": 1_067}},
        {"input_tokens": 50, "output_tokens": 1_060, "image_input_tokens": 40, "image_output_tokens": 1_056},
    ),
    "images by the piece": (
        lambda client: image(client, model="dall-e-3", n=2),
        IMAGES_BY_PIECE,
        {"request_type": "image", "input_tokens": 0, "max_output_tokens": 0, "max_usage": {"images": 2}},
        {"input_tokens": 0, "output_tokens": 0, "images": 2},
    ),
    "an edit of images": (
        lambda client: client.images.edit(model="gpt-image-1-mini", prompt="a hat", image=[b"one", b"two"], n=2),
        IMAGES_BY_TOKENS,
        {"request_type": "image", "input_tokens": 13_002, "max_output_tokens": 12_606,
         "max_usage": {"image_input_tokens": 13_000, "image_output_tokens": 12_606}},
        {"input_tokens": 50, "image_input_tokens": 40},
    ),
    "variations": (
        lambda client: client.images.create_variation(model="dall-e-2", image=b"one", n=2),
        IMAGES_BY_PIECE,
        {"max_usage": {"images": 2}},
        {"images": 2},
    ),
    "a recording by the second": (
        transcribe,
        SECONDS,
        {"request_type": "transcription", "input_tokens": 0, "max_usage": {"audio_seconds": 3}},
        {"audio_seconds": 3},
    ),
    "a recording by tokens": (
        lambda client: transcribe(client, model="gpt-4o-transcribe"),
        HEARD,
        {"input_tokens": 30, "max_output_tokens": 30, "max_usage": {"audio_input_tokens": 30}},
        {"input_tokens": 35, "output_tokens": 8, "audio_input_tokens": 30},
    ),
    "a recording of no known kind": (
        lambda client: transcribe(client, file=io.BytesIO(b"ID3" + bytes(9_997))),
        SECONDS,
        {"max_usage": {"audio_seconds": 5}},
        {"audio_seconds": 3},
    ),
    "a translation": (
        lambda client: client.audio.translations.create(model="whisper-1", file=("a.wav", recording(3))),
        SECONDS,
        {"request_type": "translation", "max_usage": {"audio_seconds": 3}},
        {"audio_seconds": 3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_held_and_booked(name: str, client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    call, answer, held, booked = CASES[name]
    provider.json(answer)
    call(client)
    assert held.items() <= granting.reserved.items()
    assert booked.items() <= granting.settled["usage"].items()
    assert "estimated" not in granting.settled


@pytest.mark.parametrize("name", CASES)
def test_what_is_sent_is_the_same(
    name: str, bare: OpenAI, client: OpenAI, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.urandom", lambda size: bytes(size))  # the boundary between the parts of a body
    call, answer, _, _ = CASES[name]
    provider.json(answer)
    call(bare)
    call(client)
    plain, guarded = provider.asked
    assert (guarded.content, guarded.path, guarded.headers) == (plain.content, plain.path, plain.headers)


def test_speech_by_the_character_costs_what_is_asked(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.replies.append(Reply([b"ID3", b"\x00"], content_type="audio/mpeg"))
    assert speak(client).read() == b"ID3\x00"
    assert granting.reserved["max_usage"] == {"characters": 6}
    assert (granting.settled["usage"]["characters"], "estimated" in granting.settled) == (6, False)


def test_speech_that_is_streamed_is_booked(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.replies.append(Reply([b"ID3", b"\x00"], content_type="audio/mpeg"))
    with client.audio.speech.with_streaming_response.create(model="tts-1-hd", input="Hello", voice="alloy") as made:
        assert b"".join(made.iter_bytes()) == b"ID3\x00"
    assert (granting.settled["usage"]["characters"], "estimated" in granting.settled) == (5, False)


def test_speech_by_tokens_is_an_estimate_unless_it_says_what_it_used(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.replies.append(Reply([b"ID3"], content_type="audio/mpeg"))
    speak(client, model="gpt-4o-mini-tts", input="Say it", instructions="slowly")
    held = granting.reserved
    assert held["max_usage"] == {"audio_output_tokens": held["max_output_tokens"]}
    assert held["max_output_tokens"] == 15
    assert granting.settled["estimated"]
    assert granting.settled["usage"]["audio_output_tokens"] == 15


def test_speech_by_events_is_booked_as_they_say(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    done = {"type": "speech.audio.done", "usage": {"input_tokens": 4, "output_tokens": 60, "total_tokens": 64}}
    provider.stream(f'data: {{"type": "speech.audio.delta", "audio": "eA=="}}\n\ndata: {json.dumps(done)}')
    speak(client, model="gpt-4o-mini-tts", stream_format="sse")
    usage = granting.settled["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], "estimated" in granting.settled) == (4, 60, False)


@pytest.mark.parametrize("quality", ["auto", None])
def test_the_best_is_held_unless_the_quality_is_said(
    quality: str | None, client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(IMAGES_BY_TOKENS)
    image(client, quality=quality, size="auto", n=2)
    assert granting.reserved["max_output_tokens"] == 2 * 6_303


def test_a_stream_of_images_is_booked_at_its_end_and_held_in_full_if_it_is_cut(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    partial = {"type": "image_generation.partial_image", "b64_json": "eA==", "partial_image_index": 0}
    done = {"type": "image_generation.completed", "b64_json": "eA==", "usage": IMAGES_BY_TOKENS["usage"]}
    events = f"data: {json.dumps(partial)}\n\ndata: {json.dumps(done)}"
    provider.stream(events)
    provider.stream(events, cut_after=1)
    assert [each.type for each in image(client, stream=True, partial_images=1)][-1] == "image_generation.completed"
    with pytest.raises(Exception, match="Connection error"):
        list(image(client, stream=True, partial_images=1))
    whole, cut = granting.sent("/settle")
    assert whole["usage"]["output_tokens"] == 1_060
    assert (cut["usage"]["output_tokens"], cut["estimated"]) == (1_167, True)


def test_a_stream_of_a_transcript_that_is_cut_is_counted(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    said = {"type": "transcript.text.delta", "delta": "Hello there"}
    provider.stream(f"data: {json.dumps(said)}\n\ndata: {{}}", cut_after=1)
    with pytest.raises(Exception, match="Connection error"):
        list(transcribe(client, model="gpt-4o-transcribe", stream=True))
    usage = granting.settled["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["audio_input_tokens"]) == (30, 2, 30)


def test_what_an_author_of_svg_used_is_booked_besides(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    author = {"model": "gpt-5.5", "input_tokens": 9, "output_tokens": 90, "reasoning_tokens": 20, "total_tokens": 99}
    provider.json(IMAGES_BY_TOKENS | {"svg_usage": author})
    image(client, output_format="svg")
    (other,) = granting.settled["other_models"]
    assert (other["model"], other["usage"]["output_tokens"], other["usage"]["reasoning_tokens"]) == ("gpt-5.5", 90, 20)


@pytest.mark.parametrize(("status", "is_free"), [(400, True), (429, True), (500, False)])
def test_a_failed_call_costs_what_any_other_does(
    status: int, is_free: bool, client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": {"message": "no"}}, status)
    with pytest.raises(openai.APIStatusError):
        transcribe(client)
    if is_free:
        assert granting.released["reason"] == f"the provider answered {status}"
    else:
        assert (granting.settled["usage"]["audio_seconds"], granting.settled["estimated"]) == (3, True)


def test_a_call_of_no_model_is_refused(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    with pytest.raises(TypeError, match="names no model"):
        client.images.generate(prompt="a cat")
    with pytest.raises(TypeError, match="names no model"):
        client.responses.create(prompt={"id": "pmpt_1"})
    assert (provider.asked, granting.requests) == ([], [])


def test_a_request_by_its_whole_address_is_the_same(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(IMAGES_BY_PIECE)
    body = {"model": "dall-e-3", "prompt": "a cat"}
    client.post(f"{provider.url}/images/generations?x=1", body=body, cast_to=object)
    client.post("images/generations", body=body, cast_to=object)
    assert len(granting.sent("/reservations")) == 2
    with pytest.raises(TypeError, match="POST /rerank may cost money"):
        client.post("/rerank", body=body, cast_to=object)


async def test_awaited_calls_are_held_and_booked(
    async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(IMAGES_BY_TOKENS)
    provider.json(SECONDS)
    provider.replies.append(Reply([b"ID3"], content_type="audio/mpeg"))
    bare = AsyncOpenAI(base_url=provider.url, api_key=KEY, max_retries=0, http_client=plain_connections())
    async with async_ledger.wrap(bare, user="ada", agent_type="a") as client:
        await client.images.generate(model="gpt-image-1.5", prompt="a cat")
        await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", recording(3)))
        async with client.audio.speech.with_streaming_response.create(model="tts-1", input="Hi", voice="ash") as made:
            await made.read()
    used = [each["usage"] for each in granting.sent("/settle")]
    assert (used[0]["output_tokens"], used[1]["audio_seconds"], used[2]["characters"]) == (1_060, 3, 2)
