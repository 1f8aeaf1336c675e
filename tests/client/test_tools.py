"""Resilient tools against a running service: what is booked of each call, and what an ended run lets through."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from token_ledger_sdk import AsyncToolbox, BreakerOpen, BudgetExceeded, RunNotOpen, ToolTimedOut, Usage

from tests.client.conftest import Client, client_of

OURS: Any = {"user": "ada", "agent_type": "data_agent"}
MODEL: Any = {"provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 14, "max_output_tokens": 50}


def failing(*errors: Exception) -> Callable[[str], Awaitable[list[str]]]:
    """Return a tool that raises these errors, and then answers."""
    left = list(errors)

    async def search(query: str) -> list[str]:
        if left:
            raise left.pop(0)
        return [query]

    return search


async def at_once(seconds: float) -> None:
    """Do not wait."""


@pytest.fixture
async def tools(client: Client) -> Client:
    """A client of the same service, none of whose retries waits."""
    return client_of(client.world, max_retries=0, toolbox=AsyncToolbox(pause=at_once))


async def booked(client: Client) -> list[dict[str, Any]]:
    """Return what was booked of each call, without how long it took, which is a number of milliseconds."""
    found = []
    for event in await client.booked():
        details = json.loads(event["details"])
        assert details.pop("latency_ms") >= 0
        found.append(
            {"kind": event["kind"], "tool": event["tool"], "failed": event["failed"], "cost": event["cost_nanos"]}
            | details
        )
    return found


def call(cost: int = 0, *, failed: bool = False, **details: Any) -> dict[str, Any]:
    return {"kind": "tool_call", "tool": "search", "failed": failed, "cost": cost, **details}


async def test_each_call_is_one_event_with_what_became_of_it(client: Client, tools: Client) -> None:
    search = tools.ledger.tool(retries=2, cost=Decimal("0.005"), cache_seconds=60, failures=3, **OURS)(
        failing(ConnectionError(), ConnectionError(), *[ConnectionError()] * 3)
    )
    with pytest.raises(ConnectionError):
        await search("x")
    with pytest.raises(BreakerOpen):
        await search("x")
    other = tools.ledger.tool(tool="search", retries=2, cost=Decimal("0.005"), cache_seconds=60, failures=None, **OURS)(
        failing(TimeoutError())
    )
    assert await other("y") == await other("y") == ["y"]
    assert await booked(client) == [
        call(15_000_000, failed=True, error_kind="cut_connection", retries=2),
        call(failed=True, error_kind="breaker_open"),
        call(10_000_000, retries=1),
        call(from_cache=True),
    ]


async def test_a_time_out_is_booked_and_its_fallback_returned(client: Client, tools: Client) -> None:
    async def search() -> str:
        await asyncio.Event().wait()
        return "never"

    with pytest.raises(ToolTimedOut):
        await tools.ledger.tool(timeout_seconds=0.001, **OURS)(search)()
    assert await tools.ledger.tool(timeout_seconds=0.001, fallback="none", **OURS)(search)() == "none"
    assert await booked(client) == [call(failed=True, error_kind="timeout")] * 2


async def test_a_model_that_the_cache_saved_is_a_cache_hit(client: Client, tools: Client) -> None:
    search = tools.ledger.tool(cache_seconds=60, usage=lambda _: Usage(14, 7), **MODEL, **OURS)(failing())
    await search("x")
    await search("x")
    first, second = await booked(client)
    assert (first["kind"], second["kind"], second["tool"], second["cost"]) == ("tool_call", "cache_hit", "search", 0)
    assert second["saved"] == {"usage": {"input_tokens": 14, "output_tokens": 7}, "nanos": first["cost"]}
    assert await client.holds() == {"released": 1}


async def test_each_attempt_is_held_before_and_its_hold_released(client: Client, tools: Client) -> None:
    search = tools.ledger.tool(retries=1, usage=lambda _: Usage(14, 7), **MODEL, **OURS)(
        failing(ConnectionResetError())
    )
    await search("x")
    (event,) = await client.booked()
    assert (event["input_tokens"], event["output_tokens"], event["estimated"]) == (28, 57, True)
    assert await client.holds() == {"released": 2}


async def test_a_tool_whose_budget_is_used_up_is_not_called_and_its_breaker_stays_closed(
    client: Client, tools: Client
) -> None:
    await client.budget(tokens=10)
    search = tools.ledger.tool(retries=2, **MODEL, **OURS)(failing(AssertionError("it was called")))
    for _ in range(6):
        with pytest.raises(BudgetExceeded):
            await search("x")
    assert await client.booked() == []
    assert tools.ledger.toolbox.breaker_state("search") == "closed"


async def test_tools_of_a_run_that_has_ended_are_not_called_but_answers_that_are_kept_are_given(
    client: Client, tools: Client
) -> None:
    async with tools.ledger.run(user="ada") as run:
        search = run.tool(agent_type="data_agent", cache_seconds=60)(failing())
        await search("x")
        await run.cancel()
        assert await search("x") == ["x"]
        with pytest.raises(RunNotOpen):
            await search("y")
    assert [event["run_id"] for event in await client.booked()] == [int(run.run_id)] * 2


async def test_what_is_gathered_is_booked_although_one_fails(client: Client, tools: Client) -> None:
    async with tools.ledger.run(user="ada") as run:
        good, bad = (run.tool(agent_type="a")(each) for each in (failing(), failing(ValueError("no"))))
        with pytest.raises(ValueError, match="no"):
            await run.gather(good("1"), bad("2"), good("3"), good("4"), good("5"))
    assert sorted(each["failed"] for each in await booked(client)) == [False] * 4 + [True]


async def test_an_event_that_gets_no_answer_is_booked_later_and_once(client: Client, tools: Client) -> None:
    tools.network.answers_to_lose = 1
    await tools.ledger.tool(cost=Decimal("0.005"), **OURS)(failing())("x")
    await tools.ledger.aclose()
    assert await booked(client) == [call(5_000_000)]
