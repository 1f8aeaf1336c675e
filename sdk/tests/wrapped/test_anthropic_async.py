"""The asynchronous client of the anthropic library, wrapped: the same as the synchronous one, and tasks besides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded

from .conftest import KEY, GrantingLedger
from .provider import Provider, Reply
from .test_anthropic_calls import MODEL, City, batch_line, message
from .test_anthropic_streams import BEFORE_THE_TEXT, GIVEN, message_stream
from .test_openai_streams import text_tokens


@pytest.fixture
async def bare(provider: Provider) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=provider.root, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def client(bare: AsyncAnthropic, async_ledger: AsyncTokenLedger) -> AsyncAnthropic:
    return async_ledger.wrap(bare, user="ada", agent_type="data_agent")


async def test_a_call_is_held_and_booked(client: AsyncAnthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    answer = await client.messages.create(**GIVEN)
    assert (answer.id, isinstance(client, AsyncAnthropic)) == ("msg_1", True)
    assert (granting.reserved["user"], granting.reserved["max_output_tokens"]) == ("ada", 300)
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_a_stream_is_booked(client: AsyncAnthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(message_stream("Lon", "don"))
    events = [each async for each in await client.messages.create(**GIVEN, stream=True)]
    assert events[-1].type == "message_stop"
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (25, 9)
    assert "first_token_ms" in settled["measured"]


async def test_the_stream_helper_is_booked(
    client: AsyncAnthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(message_stream("Lon", "don"))
    async with client.messages.stream(**GIVEN) as stream:
        assert [word async for word in stream.text_stream] == ["Lon", "don"]
        assert (await stream.get_final_message()).usage.output_tokens == 9
    assert granting.settled["usage"]["output_tokens"] == 9


async def test_a_parsed_answer_is_booked(client: AsyncAnthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message('{"name": "Paris"}'))
    answer = await client.messages.parse(**GIVEN, output_format=City)
    assert answer.parsed_output == City(name="Paris")
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_raw_and_streaming_responses_are_booked(
    client: AsyncAnthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    raw = await client.messages.with_raw_response.create(**GIVEN)
    assert (await raw.parse()).id == "msg_1"
    async with client.messages.with_streaming_response.create(**GIVEN) as streamed:
        assert (await streamed.parse()).id == "msg_1"
    assert [each["usage"]["output_tokens"] for each in granting.sent("/settle")] == [7, 7]


async def test_a_stream_that_is_closed_early_is_counted(
    client: AsyncAnthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(message_stream("London", " is", " the", " capital"))
    async with client.messages.stream(**GIVEN) as stream:
        async for word in stream.text_stream:
            if word == " is":
                break
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert 2 <= settled["usage"]["output_tokens"] <= text_tokens("London is the capital")


async def test_a_stream_that_is_cut_is_counted(
    client: AsyncAnthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(message_stream("London", " is"), cut_after=BEFORE_THE_TEXT + 1)
    with pytest.raises(Exception, match="peer closed"):
        [each async for each in await client.messages.create(**GIVEN, stream=True)]
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"]) == (True, "error")
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (25, text_tokens("London"))


async def test_an_error_releases(client: AsyncAnthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, 529)
    with pytest.raises(anthropic.InternalServerError):
        await client.messages.create(**GIVEN)
    assert granting.released["reason"] == "the provider answered 529"


async def test_a_call_that_is_cancelled_after_sending_is_an_estimate(
    client: AsyncAnthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    provider.replies[0].withheld = True
    calling = asyncio.ensure_future(client.messages.create(**GIVEN))
    while not provider.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    settled = granting.settled
    assert (settled["estimated"], settled["usage"]["output_tokens"]) == (True, 300)
    assert settled["measured"]["error_kind"] == "cancelled"


async def test_a_stream_that_is_cancelled_is_counted(
    client: AsyncAnthropic, provider: Provider, granting: GrantingLedger
) -> None:
    may_go_on = threading.Event()
    provider.stream(message_stream("London", " is"))
    begun = asyncio.Event()

    async def read() -> None:
        async with client.messages.stream(**GIVEN) as stream:
            async for _ in stream.text_stream:
                begun.set()

    sent = count()
    provider.replies[0].between = lambda: next(sent) < BEFORE_THE_TEXT or may_go_on.wait(60)  # after the first word
    reading = asyncio.ensure_future(read())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    may_go_on.set()
    settled = granting.settled
    assert (settled["estimated"], settled["measured"]["error_kind"]) == (True, "cancelled")
    assert settled["usage"]["output_tokens"] == text_tokens("London")


async def test_a_denial_is_raised_at_once(client: AsyncAnthropic, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 64
    with pytest.raises(BudgetExceeded):
        await client.with_options(max_retries=3).messages.create(**GIVEN)
    assert (len(granting.requests), provider.asked) == (1, [])


async def test_tasks_have_contexts_of_their_own(
    bare: AsyncAnthropic, async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    client = async_ledger.wrap(bare, agent_type="chat")

    async def ask(user: str) -> None:
        with async_ledger.context(user=user):
            for number in range(5):
                with async_ledger.context(tags={"number": str(number)}):
                    await client.messages.create(
                        model=MODEL, messages=[{"role": "user", "content": user}], max_tokens=10
                    )

    await asyncio.gather(ask("ada"), ask("bob"))
    reserved = [(each["user"], each["tags"]["number"]) for each in granting.sent("/reservations")]
    assert sorted(reserved) == [(user, str(number)) for user in ("ada", "bob") for number in range(5)]


async def test_what_is_sent_is_the_same_to_the_byte(
    provider: Provider, bare: AsyncAnthropic, client: AsyncAnthropic
) -> None:
    provider.json(message())
    for each in (bare, client):
        await each.messages.create(**GIVEN, system="Be brief.")
    plain, guarded = provider.asked
    assert (guarded.content, guarded.headers) == (plain.content, plain.headers)


async def test_a_middleware_stays(client: AsyncAnthropic, provider: Provider, granting: GrantingLedger) -> None:
    async def watching(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    provider.json(message())
    assert (await client.with_middleware(watching).messages.create(**GIVEN)).id == "msg_1"
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_results_of_a_batch_that_are_not_all_read_are_booked_as_far_as_they_came(
    client: AsyncAnthropic, provider: Provider, granting: GrantingLedger
) -> None:
    results = f"{provider.root}/v1/messages/batches/msgbatch_1/results"
    lines = [batch_line(str(number), "succeeded", message=message(id=f"msg_{number}")) for number in range(2_000)]
    provider.json({"id": "msgbatch_1", "processing_status": "ended", "results_url": results})
    provider.replies.append(Reply(["\n".join(lines).encode()], content_type="application/x-jsonl"))
    reading = await client.messages.batches.results("msgbatch_1")
    async for each in reading:
        if each.custom_id == "700":
            break
    await reading.close()
    booked = [event["response_id"] for report in granting.sent("/usage") for event in report["events"]]
    assert booked == [f"msg_{number}" for number in range(len(booked))]
    assert 701 <= len(booked) < 2_000
    assert len(granting.sent("/usage")) == 2
