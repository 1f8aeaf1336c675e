"""The asynchronous side of the google-genai library, wrapped: the same as the synchronous one, and tasks besides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from google.genai.client import AsyncClient

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded

from .conftest import KEY, GrantingLedger
from .provider import AsyncLateAnswers, Provider
from .test_google_calls import MODEL, QUESTION, City, answer, content, get_capital
from .test_google_failures import AGAIN, ERROR
from .test_google_streams import GIVEN, content_stream
from .test_openai_streams import text_tokens


@pytest.fixture
async def bare(provider: Provider) -> AsyncIterator[genai.Client]:
    options: Any = {"base_url": provider.root, "async_client_args": {"transport": AsyncLateAnswers(provider)}}
    made = genai.Client(api_key=KEY, http_options=options)
    async with made.aio:
        yield made
    made.close()


@pytest.fixture
def client(bare: genai.Client, async_ledger: AsyncTokenLedger) -> AsyncClient:
    return async_ledger.wrap(bare, user="ada", agent_type="data_agent").aio


async def test_a_call_is_held_and_booked(client: AsyncClient, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(answer())
    assert (await client.models.generate_content(**GIVEN)).text == "Paris"
    assert (granting.reserved["user"], granting.reserved["max_output_tokens"]) == ("ada", 300)
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_the_asynchronous_side_alone_is_wrapped(
    bare: genai.Client, async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(answer())
    client = async_ledger.wrap(bare.aio, user="ada", agent_type="data_agent")
    await client.models.generate_content(**GIVEN)
    assert type(client) is AsyncClient
    assert len(granting.sent("/settle")) == 1
    await bare.aio.models.generate_content(**GIVEN)
    assert len(granting.sent("/settle")) == 1


def test_the_synchronous_side_is_not_left_unguarded(bare: genai.Client, async_ledger: AsyncTokenLedger) -> None:
    client = async_ledger.wrap(bare, user="ada", agent_type="a")
    with pytest.raises(TypeError, match="for synchronous calls, wrap the client with the ledger's TokenLedger"):
        client.chats.create(model=MODEL).send_message(QUESTION)


async def test_a_stream_is_booked(client: AsyncClient, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(content_stream("Lon", "don"))
    stream = await client.models.generate_content_stream(**GIVEN)
    assert [chunk.text async for chunk in stream] == ["Lon", "don"]
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert "first_token_ms" in settled["measured"]


async def test_chats_and_tools_are_booked(client: AsyncClient, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(content({"functionCall": {"name": "get_capital", "args": {"country": "UK"}}}))
    provider.json(answer("London"))
    chat = client.chats.create(model=MODEL, config=types.GenerateContentConfig(tools=[get_capital]))
    assert (await chat.send_message(QUESTION)).text == "London"
    assert [len(granting.sent(verb)) for verb in ("/reservations", "/settle")] == [2, 2]


async def test_a_parsed_answer_is_booked(client: AsyncClient, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(answer('{"name": "Paris"}'))
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    response = await client.models.generate_content(model=MODEL, contents=QUESTION, config=config)
    assert response.parsed == City(name="Paris")
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_embeddings_are_booked(client: AsyncClient, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"embeddings": [{"values": [0.1, 0.2]}]})
    await client.models.embed_content(model="gemini-embedding-001", contents=["one two", "three"])
    assert granting.settled["usage"]["output_tokens"] == 0


async def test_a_stream_that_is_left_early_is_counted(
    client: AsyncClient, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(content_stream("London", " is", " the", " capital"))
    stream = await client.models.generate_content_stream(**GIVEN)
    async for chunk in stream:
        if chunk.text == " is":
            break
    await stream.aclose()  # type: ignore[attr-defined]
    while not granting.sent("/settle"):  # noqa: ASYNC110  # what the library leaves lying is ended by the loop
        await asyncio.sleep(0)
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert settled["usage"]["output_tokens"] == 7


async def test_a_stream_that_is_cut_is_counted(
    client: AsyncClient, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(content_stream("London", " is", ends=False), cut_after=1)
    with pytest.raises(Exception, match="peer closed"):
        [chunk async for chunk in await client.models.generate_content_stream(**GIVEN)]
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert settled["measured"]["error_kind"] == "cut_connection"


async def test_errors_release_and_retries_are_one_call(
    client: AsyncClient, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(ERROR, 503)
    with pytest.raises(errors.ServerError):
        await client.models.generate_content(**GIVEN)
    assert granting.released["reason"] == "the provider answered 503"
    granting.requests.clear()
    provider.json(answer())
    config = types.GenerateContentConfig(http_options=types.HttpOptions(retry_options=AGAIN))
    await client.models.generate_content(model=MODEL, contents=QUESTION, config=config)
    assert granting.settled["measured"]["retries"] == 1


async def test_a_call_that_is_cancelled_after_sending_is_an_estimate(
    client: AsyncClient, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(answer())
    provider.replies[0].withheld = True
    calling = asyncio.ensure_future(client.models.generate_content(**GIVEN))
    while not provider.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    settled = granting.settled
    assert (settled["estimated"], settled["usage"]["output_tokens"]) == (True, 300)
    assert settled["measured"]["error_kind"] == "cancelled"


async def test_a_stream_that_is_cancelled_is_counted(
    client: AsyncClient, provider: Provider, granting: GrantingLedger
) -> None:
    may_go_on = threading.Event()
    begun = asyncio.Event()
    words = "".join(f"{number} " for number in range(20))
    provider.stream(content_stream(words, " is"))

    async def read() -> None:
        async for _ in await client.models.generate_content_stream(**GIVEN):
            begun.set()

    sent = count()
    provider.replies[0].between = lambda: next(sent) or may_go_on.wait(60)  # after the first words
    reading = asyncio.ensure_future(read())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    may_go_on.set()
    settled = granting.settled
    assert (settled["estimated"], settled["measured"]["error_kind"]) == (True, "cancelled")
    assert settled["usage"]["output_tokens"] == text_tokens(words)


async def test_a_denial_is_raised_at_once(client: AsyncClient, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 64
    with pytest.raises(BudgetExceeded):
        await client.models.generate_content(**GIVEN)
    with pytest.raises(BudgetExceeded):
        async for _ in await client.models.generate_content_stream(**GIVEN):
            pass
    assert (len(granting.requests), provider.asked) == (2, [])


async def test_tasks_have_contexts_of_their_own(
    bare: genai.Client, async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(answer())
    client = async_ledger.wrap(bare, agent_type="chat").aio

    async def ask(user: str) -> None:
        with async_ledger.context(user=user):
            for number in range(5):
                with async_ledger.context(tags={"number": str(number)}):
                    await client.models.generate_content(**GIVEN)

    await asyncio.gather(ask("ada"), ask("bob"))
    reserved = [(each["user"], each["tags"]["number"]) for each in granting.sent("/reservations")]
    assert sorted(reserved) == [(user, str(number)) for user in ("ada", "bob") for number in range(5)]


async def test_what_is_sent_is_the_same_to_the_byte(
    bare: genai.Client, client: AsyncClient, provider: Provider
) -> None:
    provider.json(answer())
    for each in (bare.aio, client):
        await each.models.generate_content(**GIVEN)
    plain, guarded = provider.asked
    assert (guarded.content, guarded.headers) == (plain.content, plain.headers)
