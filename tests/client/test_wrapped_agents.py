"""Agents of frameworks against a running service: what their budgets are worth, and what their calls cost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIProvider,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models import openai as pydantic_openai
from pydantic_ai.providers.openai import OpenAIProvider as PydanticProvider
from token_ledger_sdk import BudgetExceeded

from sdk.tests.wrapped.provider import Provider, running_provider
from sdk.tests.wrapped.test_openai_agents import Hidden
from sdk.tests.wrapped.test_pydantic_ai import Hidden as PydanticHidden
from tests.client.conftest import Client

MODEL = "gpt-5.4-mini"
USED = {
    "input_tokens": 1_200, "output_tokens": 300, "total_tokens": 1_500,
    "input_tokens_details": {"cached_tokens": 1_024}, "output_tokens_details": {"reasoning_tokens": 200},
}  # fmt: skip


def answer(*output: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": MODEL, "status": "completed",
        "output": list(output), "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": USED,
    }  # fmt: skip


MESSAGE: dict[str, Any] = {
    "id": "m", "type": "message", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "London", "annotations": []}],
}  # fmt: skip
CALL: dict[str, Any] = {
    "id": "f", "type": "function_call", "call_id": "c", "name": "get_capital", "arguments": '{"of": "UK"}',
}  # fmt: skip


@function_tool
def get_capital(of: str) -> str:
    """Find a capital."""
    return "London"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as made:
        made.json(answer(MESSAGE))
        yield made


@pytest.fixture
async def bare(provider: Provider) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=provider.url, api_key="sk", max_retries=0) as made:
        yield made


def config(client: Client, bare: AsyncOpenAI, **said: Any) -> RunConfig:
    models = client.ledger.wrap(OpenAIProvider(openai_client=bare), **said)
    return RunConfig(model_provider=models, tracing_disabled=True)


async def test_an_agent_costs_what_the_client_costs(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    said: Any = {"user": "ada", "agent_type": "data_agent"}
    provider.json(answer(MESSAGE) | {"id": "resp_2"})
    provider.json(answer(MESSAGE) | {"id": "resp_3"})
    await client.ledger.wrap(bare, **said).responses.create(model=MODEL, input="x")
    agent, guarded = Agent(name="a", model=MODEL), config(client, bare, **said)
    await Runner.run(agent, "x", run_config=guarded)
    hidden = client.ledger.wrap(Hidden(OpenAIResponsesModel(MODEL, bare)), **said)
    await Runner.run(agent.clone(model=hidden), "x", run_config=guarded)
    events = await client.booked()
    costs = {(each["cost_nanos"], each["input_tokens"], each["cache_read_tokens"]) for each in events}
    assert (len(events), len(costs)) == (3, 1)
    assert {each["input_tokens"] for each in events} == {1_200}


async def test_an_agent_of_pydantic_ai_costs_what_the_client_costs(
    client: Client, provider: Provider, bare: AsyncOpenAI
) -> None:
    said: Any = {"user": "ada", "agent_type": "data_agent"}
    provider.json(answer(MESSAGE) | {"id": "resp_2"})
    provider.json(answer(MESSAGE) | {"id": "resp_3"})
    await client.ledger.wrap(bare, **said).responses.create(model=MODEL, input="x")
    model = pydantic_openai.OpenAIResponsesModel(MODEL, provider=PydanticProvider(openai_client=bare))
    guarded = client.ledger.pydantic_ai_capability(**said)
    await PydanticAgent(model, capabilities=[guarded]).run("x")
    await PydanticAgent(PydanticHidden(model), capabilities=[guarded]).run("x")
    events = await client.booked()
    costs = {(each["cost_nanos"], each["input_tokens"], each["cache_read_tokens"]) for each in events}
    assert (len(events), len(costs)) == (3, 1)
    assert {each["reasoning_tokens"] for each in events} == {200}


async def test_an_agent_of_pydantic_ai_ends_where_its_budget_does(
    client: Client, provider: Provider, bare: AsyncOpenAI
) -> None:
    await client.budget(tokens=4_000)
    provider.replies.clear()
    provider.json(answer(CALL))
    provider.json(answer(CALL) | {"id": "resp_2"})
    model = pydantic_openai.OpenAIResponsesModel(MODEL, provider=PydanticProvider(openai_client=bare))

    def get_capital(of: str) -> str:
        return "London"

    async with client.ledger.run(user="ada") as run:
        guarded = run.pydantic_ai_capability(agent_type="data_agent")
        agent: Any = PydanticAgent(
            model, capabilities=[guarded], tools=[get_capital], model_settings={"max_tokens": 2_000}
        )
        with pytest.raises(BudgetExceeded):
            await agent.run("x")
    assert len(provider.asked) == 2
    events = await client.booked()
    assert sum(each["input_tokens"] + each["output_tokens"] for each in events) == 3_000
    assert {str(each["run_id"]) for each in events} == {run.run_id}


async def test_agents_that_run_as_tools_and_after_handoffs_are_guarded(
    client: Client, provider: Provider, bare: AsyncOpenAI
) -> None:
    helper = Agent(name="helper", model=MODEL, instructions="Help.")
    agent = Agent(name="boss", model=MODEL, tools=[helper.as_tool("help", "Ask for help.")], handoffs=[helper])
    provider.replies.clear()
    ask = {"id": "f", "type": "function_call", "call_id": "c", "name": "help", "arguments": '{"input": "?"}'}
    hand_over = ask | {"call_id": "d", "name": "transfer_to_helper", "arguments": "{}"}
    for number, output in enumerate((ask, MESSAGE, hand_over, MESSAGE)):
        provider.json(answer(output) | {"id": f"resp_{number}"})
    with client.ledger.context(user="ada"):
        result = await Runner.run(agent, "x", run_config=config(client, bare, agent_type="data_agent"))
    assert (result.final_output, result.last_agent.name) == ("London", "helper")
    assert len(await client.booked()) == 4
    assert await client.holds() == {"settled": 4}


async def test_a_run_ends_where_its_budget_does(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    await client.budget(tokens=4_000)
    provider.replies.clear()
    provider.json(answer(CALL))
    provider.json(answer(CALL) | {"id": "resp_2"})
    settings = ModelSettings(max_tokens=2_000)
    agent = Agent(name="a", model=MODEL, tools=[get_capital], model_settings=settings)
    with pytest.raises(BudgetExceeded) as denied:
        await Runner.run(agent, "x", run_config=config(client, bare, user="ada", agent_type="data_agent"), max_turns=9)
    assert denied.value.fits is not None
    assert len(provider.asked) == 2
    assert sum(each["input_tokens"] + each["output_tokens"] for each in await client.booked()) == 3_000


async def test_two_users_share_an_agent_and_not_a_budget(client: Client, bare: AsyncOpenAI) -> None:
    body = {"idempotency_key": "b", "name": "each", "selector": {"user": "ada"}, "limits": {"tokens": 100}}
    await client.world.made("/v1/budgets", {**body, "window": "total"})
    agent = Agent(name="a", model=MODEL, model_settings=ModelSettings(max_tokens=500))
    guarded = config(client, bare, agent_type="data_agent")

    async def ask(user: str) -> bool:
        with client.ledger.context(user=user):
            try:
                await Runner.run(agent, "x", run_config=guarded)
            except BudgetExceeded:
                return False
            return True

    assert await asyncio.gather(*(ask(user) for user in ("ada", "bob"))) == [False, True]
    assert {event["user_id"] for event in await client.booked()} == {"bob"}


async def test_refusals_of_the_provider_cost_nothing(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    provider.replies.clear()
    provider.json({"error": {"message": "slow down"}}, 429)
    hidden = client.ledger.wrap(Hidden(OpenAIResponsesModel(MODEL, bare)), user="ada", agent_type="data_agent")
    with pytest.raises(Exception, match="slow down"):
        await Runner.run(Agent(name="a", model=hidden), "x", run_config=RunConfig(tracing_disabled=True))
    assert (await client.booked(), await client.holds()) == ([], {"released": 1})


async def test_calls_of_a_run_are_its_own(client: Client, bare: AsyncOpenAI) -> None:
    async with client.ledger.run(user="ada") as run:
        models = run.wrap(OpenAIProvider(openai_client=bare), agent_type="data_agent")
        await Runner.run(
            Agent(name="a", model=MODEL), "x", run_config=RunConfig(model_provider=models, tracing_disabled=True)
        )
    (event,) = await client.booked()
    assert (str(event["run_id"]), event["user_id"]) == (run.run_id, "ada")
