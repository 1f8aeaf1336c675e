"""Calls of tools that an agent of LangChain makes: each is booked as a tool call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from token_ledger_sdk import AsyncTokenLedger, ConfigurationError, RunNotOpen, TokenLedger

from .conftest import GrantingLedger
from .langchain_models import ASKED, Way, chat_model, close_connections, get_capital, tool_call_body
from .provider import Provider
from .test_openai_calls import chat_body

OURS: Any = {"user": "ada", "agent_type": "data_agent"}


@pytest.fixture(autouse=True)
async def connections() -> AsyncIterator[None]:
    yield
    await close_connections()


@pytest.fixture(params=["at once", "awaited"])
def way(request: pytest.FixtureRequest, ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> Way:
    return Way(async_ledger, True) if request.param == "awaited" else Way(ledger, False)


@tool
def fail(of: str) -> str:
    """Fail."""
    raise ValueError(f"no {of}")


@tool
def ask_a_person(of: str) -> str:
    """Ask a person."""
    return str(interrupt(of))


def agent_of(way: Way, provider: Provider, *tools: Any, ours: Any = OURS, **options: Any) -> Any:
    middleware = [way.ledger.langchain_tools(**ours, tool_source="house")]
    return create_agent(chat_model(provider), [*tools], middleware=middleware, **options)


def events(granting: GrantingLedger) -> list[dict[str, Any]]:
    return [event for body in granting.sent("/usage") for event in body["events"]]


async def test_a_call_of_a_tool_is_booked(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(tool_call_body())
    provider.json(chat_body())
    await way.invoke(agent_of(way, provider, get_capital), ASKED)
    (event,) = events(granting)
    expected = {"type": "tool_call", "tool": "get_capital", "tool_source": "house", "outcome": "ok", **OURS}
    assert event.items() >= expected.items()
    assert "latency_ms" in event["measured"]
    assert granting.sent("/reservations") == []


async def test_tools_called_at_once_are_booked_each(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    body = tool_call_body()
    (call,) = body["choices"][0]["message"]["tool_calls"]
    body["choices"][0]["message"]["tool_calls"] = [{**call, "id": f"call_{number}"} for number in range(3)]
    provider.json(body)
    provider.json(chat_body())
    await way.invoke(agent_of(way, provider, get_capital), ASKED)
    assert [event["tool"] for event in events(granting)] == ["get_capital"] * 3


async def test_a_tool_that_fails_is_booked_as_one(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(tool_call_body(name="fail"))
    with pytest.raises(ValueError, match="no UK"):
        await way.invoke(agent_of(way, provider, fail), ASKED)
    (event,) = events(granting)
    assert (event["outcome"], event["measured"]["error_kind"]) == ("error", "ValueError")


async def test_a_tool_that_can_not_be_called_is_booked_as_failed(
    way: Way, provider: Provider, granting: GrantingLedger
) -> None:
    """LangChain answers the model with what is wrong."""
    provider.json(tool_call_body(arguments=json.dumps({"wrong": 1})))
    provider.json(chat_body())
    await way.invoke(agent_of(way, provider, get_capital), ASKED)
    assert [event["outcome"] for event in events(granting)] == ["error"]


async def test_a_tool_that_waits_for_a_person_is_booked_once(
    way: Way, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(tool_call_body(name="ask_a_person"))
    provider.json(chat_body())
    agent = agent_of(way, provider, ask_a_person, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    await way.invoke(agent, ASKED, config=config)
    assert events(granting) == []
    await way.invoke(agent, Command(resume="yes"), config=config)
    assert [event["outcome"] for event in events(granting)] == ["ok"]


async def test_no_tool_is_called_for_a_run_that_has_ended(
    way: Way, provider: Provider, granting: GrantingLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.json(tool_call_body())
    answer = granting.run
    monkeypatch.setattr(granting, "run", lambda state, body: answer("cancelled", body))
    agent = agent_of(way, provider, get_capital, ours={"run": "11", "agent_type": "data_agent"})
    with pytest.raises(RunNotOpen):
        await way.invoke(agent, ASKED)
    assert events(granting) == []


async def test_two_users_share_an_agent(
    async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    for _ in range(2):
        provider.json(tool_call_body())
    provider.json(chat_body())
    way = Way(async_ledger, True)
    agent = agent_of(way, provider, get_capital, ours={"agent_type": "data_agent"})

    async def ask(user: str) -> None:
        with async_ledger.context(user=user):
            await agent.ainvoke(ASKED)

    await asyncio.gather(ask("ada"), ask("bob"))
    assert {event["user"] for event in events(granting)} == {"ada", "bob"}


async def test_an_agent_of_the_other_kind_is_refused(
    ledger: TokenLedger, async_ledger: AsyncTokenLedger, provider: Provider
) -> None:
    for guarding, is_awaited in ((ledger, True), (async_ledger, False)):
        provider.replies.clear()
        provider.json(tool_call_body())
        agent = agent_of(Way(guarding, is_awaited), provider, get_capital)
        with pytest.raises(ConfigurationError):
            await Way(guarding, is_awaited).invoke(agent, ASKED)
