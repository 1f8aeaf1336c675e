"""Wrapped clients of each library draw from leases by themselves, where their calls follow each other closely."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from agents import Agent as OpenAIAgent
from agents import OpenAIProvider as OpenAIModels
from agents import RunConfig, Runner
from anthropic import Anthropic
from google import genai
from langchain.agents import create_agent
from openai import APIConnectionError, AsyncOpenAI, OpenAI, RateLimitError
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded, TokenLedger, current_call
from token_ledger_sdk.testing import FakeService

from .conftest import KEY, plain_connections
from .langchain_models import ASKED, QUESTION, chat_model, close_connections
from .leased_calls import CALLS, answers, check_leased, streams
from .provider import Provider
from .test_anthropic_calls import message
from .test_google_calls import answer
from .test_openai_calls import MESSAGES, chat_body
from .test_openai_streams import chat_stream

OURS: Any = {"user": "ada", "agent_type": "data_agent"}
LIMITED: Any = {"model": "gpt-5.4", "messages": MESSAGES, "max_completion_tokens": 300}


@pytest.fixture
def leasing(ledger_service: FakeService) -> Iterator[TokenLedger]:
    with ledger_service.client(flush_seconds=1) as made:
        yield made


@pytest.fixture
async def async_leasing(ledger_service: FakeService) -> AsyncIterator[AsyncTokenLedger]:
    async with ledger_service.async_client(flush_seconds=1) as made:
        yield made


@pytest.fixture
async def bare_async(provider: Provider) -> AsyncIterator[AsyncOpenAI]:
    connections = plain_connections()
    async with AsyncOpenAI(base_url=provider.url, api_key=KEY, max_retries=0, http_client=connections) as made:
        yield made


def test_openai(leasing: TokenLedger, bare: OpenAI, provider: Provider, ledger_service: FakeService) -> None:
    answers(provider, chat_body())
    client = leasing.wrap(bare, **OURS)
    for _ in range(CALLS):
        assert client.chat.completions.create(**LIMITED).choices[0].message.content == "Paris"
    leasing.close()
    check_leased(ledger_service)


def test_streams_of_openai(leasing: TokenLedger, bare: OpenAI, provider: Provider, ledger_service: FakeService) -> None:
    streams(provider)
    client = leasing.wrap(bare, **OURS)
    for _ in range(CALLS):
        assert list(client.chat.completions.create(**LIMITED, stream=True))
    leasing.close()
    check_leased(ledger_service, output_tokens=9)
    assert all("first_token_ms" in call.measured for call in ledger_service.calls)


def test_anthropic(
    leasing: TokenLedger, bare_anthropic: Anthropic, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, message())
    client = leasing.wrap(bare_anthropic, **OURS)
    for _ in range(CALLS):
        client.messages.create(model="claude-sonnet-4-6", messages=MESSAGES, max_tokens=300)
    leasing.close()
    check_leased(ledger_service)


def test_gemini(
    leasing: TokenLedger, bare_google: genai.Client, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, answer())
    client = leasing.wrap(bare_google, **OURS)
    for _ in range(CALLS):
        client.models.generate_content(model="gemini-2.5-flash", contents=QUESTION)
    leasing.close()
    check_leased(ledger_service)


async def test_middleware_of_langchain(leasing: TokenLedger, provider: Provider, ledger_service: FakeService) -> None:
    answers(provider, chat_body())
    agent = create_agent(chat_model(provider, max_tokens=300), middleware=[leasing.langchain_middleware(**OURS)])
    for _ in range(CALLS):
        agent.invoke(ASKED)
    await close_connections()
    leasing.close()
    check_leased(ledger_service)


async def test_handlers_of_langchain(leasing: TokenLedger, provider: Provider, ledger_service: FakeService) -> None:
    answers(provider, chat_body())
    model = chat_model(provider, max_tokens=300)
    for _ in range(CALLS):
        model.invoke(QUESTION, config={"callbacks": [leasing.langchain_handler(**OURS)]})
    await close_connections()
    leasing.close()
    check_leased(ledger_service)


async def test_openai_agents(
    async_leasing: AsyncTokenLedger, bare_async: AsyncOpenAI, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, chat_body())
    models = async_leasing.wrap(OpenAIModels(openai_client=bare_async, use_responses=False), **OURS)
    config = RunConfig(model_provider=models, tracing_disabled=True)
    for _ in range(CALLS):
        await Runner.run(OpenAIAgent(name="geographer", model="gpt-5.4"), QUESTION, run_config=config)
    await async_leasing.aclose()
    check_leased(ledger_service)


async def test_pydantic_ai(
    async_leasing: AsyncTokenLedger, bare_async: AsyncOpenAI, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, chat_body())
    model = OpenAIChatModel("gpt-5.4", provider=OpenAIProvider(openai_client=bare_async))
    agent = Agent(model, capabilities=[async_leasing.pydantic_ai_capability(**OURS)])
    for _ in range(CALLS):
        await agent.run(QUESTION)
    await async_leasing.aclose()
    check_leased(ledger_service)


def test_guarded_functions(leasing: TokenLedger, bare: OpenAI, provider: Provider, ledger_service: FakeService) -> None:
    answers(provider, chat_body())

    @leasing.guard(provider="openai", model="gpt-5.4", input_tokens=20, max_output_tokens=300, **OURS)
    def ask() -> Any:
        call = current_call()
        assert call is not None
        return bare.chat.completions.create(**{**LIMITED, "model": call.model})

    for _ in range(CALLS):
        ask()
    leasing.close()
    check_leased(ledger_service)


def test_a_guarded_tool_with_a_price_has_holds_of_its_own(leasing: TokenLedger, ledger_service: FakeService) -> None:
    @leasing.guard(tool="search", provider="brave", model="search", max_usage={"web_searches": 1}, **OURS)
    def search() -> str:
        return "found"

    for _ in range(3):
        search()
    leasing.close()
    assert [hold.calls for hold in ledger_service.holds] == [None] * 3


# --- what leases do not change ---


@pytest.mark.parametrize("lease_calls", [None, 0])
def test_the_client_or_the_wrap_says_whether_there_are_leases(
    lease_calls: int | None, ledger_service: FakeService, bare: OpenAI, provider: Provider
) -> None:
    answers(provider, chat_body())
    with ledger_service.client(flush_seconds=1, lease_calls=0 if lease_calls is None else None) as ledger:
        client = ledger.wrap(bare, lease_calls=lease_calls, **OURS)
        for _ in range(3):
            client.chat.completions.create(**LIMITED)
    assert [hold.calls for hold in ledger_service.holds] == [None] * 3


def test_a_call_without_a_limit_gets_what_fits_beside_leases(
    leasing: TokenLedger, bare: OpenAI, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, chat_body())
    ledger_service.budget("all", tokens=20_000)
    client = leasing.wrap(bare, **OURS)
    for _ in range(4):
        client.chat.completions.create(**LIMITED)
    unlimited = {name: value for name, value in LIMITED.items() if name != "max_completion_tokens"}
    client.chat.completions.create(**unlimited)
    counted = provider.asked[-1].body["max_completion_tokens"] + 4 * 27
    assert 20_000 - 20 <= counted <= 20_000, "all that was left, what the lease had set aside included"
    denied = leasing.wrap(bare, limit_output=False, **OURS)
    with pytest.raises(BudgetExceeded) as error:
        denied.chat.completions.create(**unlimited)
    assert error.value.fits is not None


def test_refusals_of_the_provider_cost_nothing_on_a_lease(
    leasing: TokenLedger, bare: OpenAI, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, chat_body())
    provider.json({"error": {"message": "slow down"}}, 429)
    client = leasing.wrap(bare, **OURS)
    for _ in range(CALLS):
        client.chat.completions.create(**LIMITED)
    with pytest.raises(RateLimitError):
        client.chat.completions.create(**LIMITED)
    leasing.close()
    check_leased(ledger_service)
    assert ledger_service.holds[-1].end_reason == "not needed; the provider answered 429 (1)"


def test_a_stream_that_is_cut_is_an_estimate_on_a_lease(
    leasing: TokenLedger, bare: OpenAI, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, chat_body())
    provider.stream(chat_stream(), cut_after=2)
    client = leasing.wrap(bare, **OURS)
    for _ in range(CALLS):
        client.chat.completions.create(**LIMITED)
    with pytest.raises((APIConnectionError, httpx2.RemoteProtocolError)):
        list(client.chat.completions.create(**LIMITED, stream=True))
    leasing.close()
    estimate = ledger_service.calls[-1]
    assert (estimate.estimated, estimate.usage.input_tokens > 0) == (True, True)
    assert estimate.reservation_id == ledger_service.holds[-1].reservation_id
    assert "estimate_rule" in estimate.measured


async def test_canceled_tasks_are_booked_on_their_lease(
    async_leasing: AsyncTokenLedger, bare_async: AsyncOpenAI, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, chat_body())
    client = async_leasing.wrap(bare_async, **OURS)
    for _ in range(CALLS):
        await client.chat.completions.create(**LIMITED)
    provider.replies[:] = []
    provider.json(chat_body())
    provider.replies[0].withheld = True
    task = asyncio.ensure_future(client.chat.completions.create(**LIMITED))
    while len(provider.asked) == CALLS:  # noqa: ASYNC110 - the provider tells nobody
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await async_leasing.aclose()
    assert ledger_service.calls[-1].estimated
    assert ledger_service.calls[-1].usage.output_tokens == 300
    assert ledger_service.calls[-1].reservation_id == ledger_service.holds[-1].reservation_id
    assert {hold.state for hold in ledger_service.holds} == {"settled", "released"}


def test_what_was_used_is_in_the_spool_before_the_call_returns(
    leasing: TokenLedger, bare: OpenAI, provider: Provider, ledger_service: FakeService
) -> None:
    answers(provider, chat_body())
    client = leasing.wrap(bare, **OURS)
    spool = leasing._sender.outbox.spool
    for _ in range(3):
        client.chat.completions.create(**LIMITED)
        assert spool.waiting + len(ledger_service.calls) == len(provider.asked)
