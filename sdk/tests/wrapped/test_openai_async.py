"""The asynchronous client, wrapped: the same as the synchronous one, and tasks besides."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from itertools import count

import openai
import pytest
from openai import AsyncOpenAI

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded

from .conftest import KEY, GrantingLedger
from .provider import Provider
from .test_openai_calls import MESSAGES, chat_body
from .test_openai_streams import chat_stream, text_tokens


@pytest.fixture
async def async_bare(provider: Provider) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=provider.url, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def client(async_bare: AsyncOpenAI, async_ledger: AsyncTokenLedger) -> AsyncOpenAI:
    return async_ledger.wrap(async_bare, user="ada", agent_type="data_agent")


async def test_a_call_is_held_and_booked(client: AsyncOpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    answer = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=300)
    assert answer.choices[0].message.content == "Paris"
    assert isinstance(client, AsyncOpenAI)
    assert (granting.reserved["user"], granting.reserved["max_output_tokens"]) == ("ada", 300)
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_a_stream_is_booked(client: AsyncOpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("Lon", "don"))
    stream = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (21, 9)
    assert "first_token_ms" in settled["measured"]


async def test_the_stream_helper_is_booked(client: AsyncOpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("Lon", "don"))
    async with client.chat.completions.stream(model="gpt-5.4", messages=MESSAGES) as stream:
        assert (await stream.get_final_completion()).choices[0].message.content == "London"
    assert granting.settled["usage"]["output_tokens"] == 9


async def test_a_stream_that_is_closed_early_is_counted(
    client: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("London", " is", " the", " capital"))
    async with await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True) as stream:
        async for chunk in stream:
            if chunk.choices[0].delta.content == " is":
                break
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert 2 <= settled["usage"]["output_tokens"] <= text_tokens("London is the capital")


async def test_a_stream_that_is_cut_is_counted(
    client: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("London", " is"), cut_after=2)
    with pytest.raises(openai.APIConnectionError):
        async for _ in await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True):
            pass
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert settled["usage"]["output_tokens"] == 1


async def test_a_call_that_is_cancelled_after_sending_is_an_estimate(
    client: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    provider.replies[0].withheld = True
    calling = asyncio.ensure_future(
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=300)
    )
    while not provider.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    settled = granting.settled
    assert (settled["estimated"], settled["usage"]["output_tokens"]) == (True, 300)
    assert settled["measured"]["error_kind"] == "cancelled"


async def test_a_stream_that_is_cancelled_is_counted(
    client: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    may_go_on = threading.Event()
    provider.stream(chat_stream("London", " is"))
    begun = asyncio.Event()

    async def read() -> None:
        async for chunk in await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True):
            if chunk.choices[0].delta.content:
                begun.set()

    sent = count()
    provider.replies[0].between = lambda: next(sent) and may_go_on.wait(60)  # after the first word, which is part 1
    reading = asyncio.ensure_future(read())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    may_go_on.set()
    settled = granting.settled
    assert (settled["estimated"], settled["measured"]["error_kind"]) == (True, "cancelled")
    assert settled["usage"]["output_tokens"] == 1


async def test_a_stream_that_is_left_lying_is_counted(
    client: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("London", " is"))
    async for _ in await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True):
        break
    async with asyncio.timeout(60):
        while not granting.sent("/settle"):
            gc.collect()  # a stream of the library refers to itself; the loop then closes it
            await asyncio.sleep(0.01)
    assert granting.settled["estimated"]


async def test_a_stream_that_nobody_began_to_read_is_an_estimate(
    client: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("London", " is"))
    await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
    async with asyncio.timeout(60):
        while not granting.sent("/settle"):
            gc.collect()  # a stream of the library refers to itself
            await asyncio.sleep(0.01)
    assert granting.settled["estimated"]


async def test_a_denial_is_raised_at_once(client: AsyncOpenAI, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 64
    with pytest.raises(BudgetExceeded):
        await client.with_options(max_retries=3).chat.completions.create(
            model="gpt-5.4", messages=MESSAGES, max_completion_tokens=65
        )
    assert (len(granting.requests), provider.asked) == (1, [])


async def test_two_users_at_once_share_a_client(
    async_ledger: AsyncTokenLedger, async_bare: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    client = async_ledger.wrap(async_bare, agent_type="chat")

    async def ask(user: str) -> None:
        with async_ledger.context(user=user):
            for number in range(5):
                with async_ledger.context(tags={"number": str(number)}):
                    await client.chat.completions.create(
                        model="gpt-5.4", messages=[{"role": "user", "content": user}], max_completion_tokens=10
                    )

    await asyncio.gather(*(ask(user) for user in ("ada", "bob")))
    reserved = [(each["user"], each["tags"]["number"]) for each in granting.sent("/reservations")]
    assert sorted(reserved) == [(user, str(number)) for user in ("ada", "bob") for number in range(5)]
    assert sorted({each.body["messages"][0]["content"] for each in provider.asked}) == ["ada", "bob"]


async def test_what_is_sent_is_the_same_to_the_byte(
    provider: Provider, async_ledger: AsyncTokenLedger, async_bare: AsyncOpenAI
) -> None:
    provider.json(chat_body())
    for client in (async_bare, async_ledger.wrap(async_bare, user="ada", agent_type="a")):
        await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, temperature=0.5)
    plain, guarded = provider.asked
    assert (guarded.content, guarded.headers) == (plain.content, plain.headers)
