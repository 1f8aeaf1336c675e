"""Agents and chat models of LangChain against a running service: what their budget is worth, and what is booked."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from token_ledger_sdk import BudgetExceeded

from sdk.tests.wrapped.langchain_models import ASKED, QUESTION, chat_model, close_connections
from sdk.tests.wrapped.provider import Provider
from tests.client.conftest import Client

MODEL = "gpt-5.4-mini"
OURS: Any = {"user": "ada", "agent_type": "data_agent"}


@pytest.fixture(autouse=True)
async def connections() -> AsyncIterator[None]:
    yield
    await close_connections()


def answer(number: int = 1) -> dict[str, Any]:
    """Return an answer with cached input and reasoning; each has an id of its own."""
    message = {"role": "assistant", "content": "London"}
    return {
        "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {
            "prompt_tokens": 1_414, "completion_tokens": 207, "total_tokens": 1_621,
            "prompt_tokens_details": {"cached_tokens": 1_024},
            "completion_tokens_details": {"reasoning_tokens": 192},
        },
    }  # fmt: skip


async def test_every_way_books_the_same_tokens_and_the_same_cost(client: Client, provider: Provider) -> None:
    for number in range(3):
        provider.json(answer(number))
    model = chat_model(provider, model=MODEL)
    guarded = client.ledger.wrap(model.root_async_client, **OURS)
    await guarded.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    await create_agent(model, middleware=[client.ledger.langchain_middleware(**OURS)]).ainvoke(ASKED)
    await model.ainvoke(QUESTION, config={"callbacks": [client.ledger.langchain_handler(**OURS)]})
    of_each = [
        {name: value for name, value in dict(event).items() if name.endswith(("_tokens", "_nanos", "model", "user_id"))}
        for event in await client.booked()
    ]
    assert len(of_each) == 3
    assert of_each[0]["cache_read_tokens"] == 1_024
    assert of_each[0] == of_each[1] == of_each[2]
    held = await client.world.rows("select distinct held_tokens, held_nanos from reservations")
    assert len(held) == 1


async def test_an_agent_without_a_limit_gets_what_fits(client: Client, provider: Provider) -> None:
    await client.budget(tokens=5_014)
    provider.json(answer())
    agent = create_agent(chat_model(provider, model=MODEL), middleware=[client.ledger.langchain_middleware(**OURS)])
    await agent.ainvoke(ASKED)
    assert provider.asked[0].body["max_completion_tokens"] == 5_000
    for number in (2, 3, 4):  # the last of which uses more than it may
        provider.replies.clear()
        provider.json(answer(number))
        await agent.ainvoke(ASKED)
    with pytest.raises(BudgetExceeded) as denied:
        await agent.ainvoke(ASKED)
    assert denied.value.refusals[0].budget == "cap"
    assert (len(provider.asked), await client.holds()) == (4, {"settled": 4})


async def test_a_chat_model_that_does_not_fit_is_denied(client: Client, provider: Provider) -> None:
    await client.budget(tokens=200)
    model = chat_model(provider, model=MODEL, max_tokens=500)
    with pytest.raises(BudgetExceeded) as denied:
        await model.ainvoke(QUESTION, config={"callbacks": [client.ledger.langchain_handler(**OURS)]})
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 186
    assert (provider.asked, await client.holds()) == ([], {})


async def test_refusals_of_the_provider_cost_nothing(client: Client, provider: Provider) -> None:
    await client.budget(tokens=1_014)
    provider.json({"error": {"message": "slow down"}}, 429)
    model = chat_model(provider, model=MODEL, max_tokens=1_000, max_retries=2)
    agent = create_agent(model, middleware=[client.ledger.langchain_middleware(**OURS)])
    for call in (
        agent.ainvoke(ASKED),
        model.ainvoke(QUESTION, {"callbacks": [client.ledger.langchain_handler(**OURS)]}),
    ):
        with pytest.raises(openai.RateLimitError):
            await call
    assert (await client.holds(), await client.booked()) == ({"released": 2}, [])


async def test_two_users_share_an_agent_and_not_a_budget(client: Client, provider: Provider) -> None:
    body = {"idempotency_key": "b", "name": "each", "selector": {"user": "ada"}, "limits": {"tokens": 100}}
    await client.world.made("/v1/budgets", {**body, "window": "total"})
    provider.json(answer())
    model = chat_model(provider, model=MODEL, max_tokens=500)
    agent = create_agent(model, middleware=[client.ledger.langchain_middleware(agent_type="data_agent")])

    async def ask(user: str) -> bool:
        with client.ledger.context(user=user):
            try:
                await agent.ainvoke(ASKED)
            except BudgetExceeded:
                return False
            return True

    assert await asyncio.gather(*map(ask, ("ada", "bob", "ada"))) == [False, True, False]
    (event,) = await client.booked()
    assert event["user_id"] == "bob"
    assert json.loads(event["details"])["finish_reason"] == "stop"


async def test_leased_calls_of_an_agent_ask_for_no_hold_of_their_own(client: Client, provider: Provider) -> None:
    async with client.ledger.run(user="ada") as run:
        middleware = run.langchain_middleware(agent_type="data_agent", lease_calls=10)
        agent = create_agent(chat_model(provider, model=MODEL, max_tokens=300), middleware=[middleware])
        for number in range(4):
            provider.replies.clear()
            provider.json(answer(number))
            await agent.ainvoke(ASKED)
    assert sum(path == "/v1/reservations" for path in client.network.sent) == 0
    assert [event["output_tokens"] for event in await client.booked()] == [207] * 4
