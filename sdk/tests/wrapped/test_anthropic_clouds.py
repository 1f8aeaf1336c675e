"""Clients of the anthropic library for Claude on Bedrock and on Vertex AI, wrapped, before a local server."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import (
    AnthropicBedrock,
    AnthropicVertex,
    AsyncAnthropicBedrock,
    AsyncAnthropicVertex,
)
from google.auth.credentials import Credentials

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded, TokenLedger

from .conftest import GrantingLedger
from .provider import Provider, Reply
from .test_anthropic_calls import MESSAGES, message
from .test_anthropic_streams import message_stream
from .test_openai_streams import text_tokens

MODELS = {"aws": "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "google": "claude-sonnet-4-5@20250929"}
GIVEN: Any = {"messages": MESSAGES, "max_tokens": 300}


def frame(payload: dict[str, Any], kind: str = "event") -> bytes:
    """Return a frame of Amazon's event streams, which botocore reads, and checks the checksums of."""
    named = {":message-type": kind, ":event-type" if kind == "event" else ":exception-type": "chunk"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
        for name, value in named.items()
    )
    body = json.dumps(payload).encode()
    prelude = (16 + len(headers) + len(body)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    whole = prelude + zlib.crc32(prelude).to_bytes(4, "big") + headers + body
    return whole + zlib.crc32(whole).to_bytes(4, "big")


def frames(*words: str) -> list[bytes]:
    """Return the stream of Claude's events in frames."""
    events = [each.partition("data: ")[2] for each in message_stream(*words).split("\n\n")]
    return [frame({"bytes": base64.b64encode(each.encode()).decode(), "p": "abcd"}) for each in events]


class Cloud:
    """One of the clouds, called by one of the two kinds of client."""

    def __init__(self, name: str, provider: Provider, ledger: Any, *, is_async: bool) -> None:
        self.name = name
        self.model = MODELS[name]
        self.provider = provider
        self.ledger = ledger
        self.is_async = is_async
        options: dict[str, Any] = {"base_url": provider.root, "max_retries": 0}
        if name == "aws":
            options |= {"aws_access_key": "AKID", "aws_secret_key": "s", "aws_region": "us-east-1"}
            self.bare: Any = (AsyncAnthropicBedrock if is_async else AnthropicBedrock)(**options)
        else:
            options |= {"region": "us-east5", "project_id": "house", "access_token": "t"}
            self.bare = (AsyncAnthropicVertex if is_async else AnthropicVertex)(**options)

    def client(self, **said: Any) -> Any:
        return self.ledger.wrap(self.bare, user="ada", agent_type="data_agent", **said)

    async def close(self) -> None:
        closed = self.bare.close()
        if self.is_async:
            await closed

    def answer_with(self, *words: str, count: int | None = None, cut: bool = False) -> None:
        """Let the provider answer with a stream, or with so many of its parts."""
        if self.name == "aws":
            parts, kind = frames(*words)[:count], "application/vnd.amazon.eventstream"
            self.provider.replies.append(Reply(parts, content_type=kind, cut=cut))
        else:
            self.provider.stream(message_stream(*words), cut_after=count)

    async def create(self, client: Any, **options: Any) -> Any:
        made = client.messages.create(**{"model": self.model, **GIVEN, **options})
        return await made if self.is_async else made

    async def words(self, stream: Any) -> str:
        return "".join([each.delta.text async for each in _each(stream) if each.type == "content_block_delta"])


async def _each(stream: Any) -> AsyncIterator[Any]:
    if hasattr(stream, "__aiter__"):
        async for each in stream:
            yield each
    else:
        for each in stream:
            yield each


@pytest.fixture(params=[(name, is_async) for name in MODELS for is_async in (False, True)], ids=str)
async def cloud(
    request: pytest.FixtureRequest, provider: Provider, ledger: TokenLedger, async_ledger: AsyncTokenLedger
) -> AsyncIterator[Cloud]:
    name, is_async = request.param
    made = Cloud(name, provider, async_ledger if is_async else ledger, is_async=is_async)
    yield made
    await made.close()


@pytest.fixture
async def bedrock(provider: Provider, ledger: TokenLedger) -> AsyncIterator[Cloud]:
    made = Cloud("aws", provider, ledger, is_async=False)
    yield made
    await made.close()


async def test_a_call_is_held_and_booked(cloud: Cloud, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    client = cloud.client()
    assert (await cloud.create(client)).content[0].text == "Paris"
    assert isinstance(client, type(cloud.bare))
    assert (granting.reserved["provider"], granting.reserved["model"]) == (cloud.name, cloud.model)
    assert granting.reserved["max_output_tokens"] == 300
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert settled["measured"]["finish_reason"] == "end_turn"


async def test_the_input_is_counted_as_at_anthropic(cloud: Cloud, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    text = {"messages": [{"role": "user", "content": "word " * 1_000}]}
    await cloud.create(cloud.client(), **text)
    await cloud.create(cloud.client(), **text, model="claude-sonnet-4-6")
    by_cloud, by_name = granting.sent("/reservations")
    assert by_cloud["input_tokens"] == by_name["input_tokens"]


async def test_what_is_sent_is_the_same_to_the_byte(cloud: Cloud, provider: Provider) -> None:
    provider.json(message())
    given = {"system": "Be brief.", "stop_sequences": ["x"]}
    await cloud.create(cloud.bare, **given)
    await cloud.create(cloud.client(), **given)
    plain, guarded = provider.asked
    assert (guarded.path, guarded.content) == (plain.path, plain.content)
    assert [name for name, _ in guarded.headers] == [name for name, _ in plain.headers]


async def test_a_stream_is_booked(cloud: Cloud, granting: GrantingLedger) -> None:
    cloud.answer_with("Lon", "don")
    assert await cloud.words(await cloud.create(cloud.client(), stream=True)) == "London"
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (25, 9)
    assert ("estimated" in settled, settled["measured"]["finish_reason"]) == (False, "end_turn")
    assert "first_token_ms" in settled["measured"]


async def test_the_stream_helper_is_booked(cloud: Cloud, granting: GrantingLedger) -> None:
    cloud.answer_with("Lon", "don")
    helper = cloud.client().messages.stream(model=cloud.model, **GIVEN)
    if cloud.is_async:
        async with helper as stream:
            assert [word async for word in stream.text_stream] == ["Lon", "don"]
    else:
        with helper as stream:
            assert [*stream.text_stream] == ["Lon", "don"]
    assert granting.settled["usage"]["output_tokens"] == 9


async def test_beta_messages_are_guarded(cloud: Cloud, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    made = cloud.client().beta.messages.create(model=cloud.model, **GIVEN)
    assert (await made if cloud.is_async else made).id == "msg_1"
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_a_stream_that_is_cut_is_counted(cloud: Cloud, granting: GrantingLedger) -> None:
    cloud.answer_with("London", " is", count=4, cut=True)
    with pytest.raises(Exception, match=r".*"):
        await cloud.words(await cloud.create(cloud.client(), stream=True))
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"], settled["usage"]["input_tokens"]) == (True, "error", 25)
    assert settled["usage"]["output_tokens"] == text_tokens("London")


async def test_an_error_in_a_stream_of_bedrock_is_an_estimate(
    bedrock: Cloud, provider: Provider, granting: GrantingLedger
) -> None:
    parts = [*frames("London")[:4], frame({"message": "Too many requests"}, "exception")]
    provider.replies.append(Reply(parts, content_type="application/vnd.amazon.eventstream"))
    with pytest.raises(anthropic.APIError):
        await bedrock.words(await bedrock.create(bedrock.client(), stream=True))
    settled = granting.settled
    assert (settled["estimated"], settled["measured"]["error_kind"]) == (True, "error_event")


async def test_frames_may_come_in_any_pieces(bedrock: Cloud, provider: Provider, granting: GrantingLedger) -> None:
    whole = b"".join(frames("Lon", "don"))
    parts = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    provider.replies.append(Reply(parts, content_type="application/vnd.amazon.eventstream"))
    assert await bedrock.words(await bedrock.create(bedrock.client(), stream=True)) == "London"
    assert granting.settled["usage"]["output_tokens"] == 9


async def test_a_refusal_releases(cloud: Cloud, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"error": {"message": "slow down"}}, 429)
    with pytest.raises(anthropic.RateLimitError):
        await cloud.create(cloud.client())
    assert granting.released["reason"] == "the provider answered 429"


async def test_what_the_library_tries_again_is_one_call(
    cloud: Cloud, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": {"message": "slow down"}}, 429)
    provider.json(message())
    await cloud.create(cloud.client().with_options(max_retries=1))
    assert (len(provider.asked), len(granting.sent("/reservations"))) == (2, 1)
    assert granting.settled["measured"]["retries"] == 1


async def test_a_denial_sends_nothing(cloud: Cloud, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 10
    with pytest.raises(BudgetExceeded):
        await cloud.create(cloud.client())
    assert provider.asked == []


async def test_a_stand_in_is_in_the_address(cloud: Cloud, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    granting.stand_in = "claude-haiku-4-5"
    await cloud.create(cloud.client(apply=["model_downgrade"]))
    assert "claude-haiku-4-5" in provider.asked[0].path


class NoToken(Credentials):  # type: ignore[misc]
    """Credentials of Google that can't be had."""

    def refresh(self, request: Any) -> None:
        """Refuse."""
        raise ValueError("no token")


def test_what_fails_before_it_is_sent_releases(
    provider: Provider, granting: GrantingLedger, ledger: TokenLedger
) -> None:
    options: Any = {"credentials": NoToken(), "base_url": provider.root, "max_retries": 0}
    with AnthropicVertex(region="us-east5", project_id="house", **options) as bare:
        client = ledger.wrap(bare, user="ada", agent_type="data_agent")
        with pytest.raises(ValueError, match="no token"):
            client.messages.create(model=MODELS["google"], **GIVEN)
    assert (granting.released["reason"], provider.asked) == ("not sent", [])


def test_the_other_kind_of_client_is_refused(ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> None:
    wrong: Any
    for wrong, bare in ((ledger, AsyncAnthropicBedrock), (async_ledger, AnthropicBedrock)):
        with pytest.raises(TypeError, match="can't be wrapped here"):
            wrong.wrap(bare(api_key="k", aws_region="us-east-1"))
