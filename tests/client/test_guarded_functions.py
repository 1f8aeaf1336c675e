"""Guarded functions and tools of a real MCP server against a running service: what is denied, and what is booked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from mcp import Client as MCPClient
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from token_ledger_sdk import BudgetExceeded, RunNotOpen, Usage, current_call

from tests.client.conftest import Client

MODEL: Any = {"provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 14}
OURS: Any = {"user": "ada", "agent_type": "data_agent"}
ANSWER = {"id": "chatcmpl-1", "model": "gpt-5.4-mini", "usage": {"prompt_tokens": 14, "completion_tokens": 7}}


async def test_a_function_gets_what_fits_and_is_booked(client: Client) -> None:
    await client.budget(tokens=114)

    @client.ledger.guard(**MODEL, **OURS, tags={"team": "core"})
    async def ask() -> dict[str, Any]:
        assert current_call().output_limit == 100
        return ANSWER

    await ask()
    (event,) = await client.booked()
    assert (event["input_tokens"], event["output_tokens"], event["estimated"]) == (14, 7, False)
    assert json.loads(event["tags"]) == {"team": "core"}
    assert await client.holds() == {"settled": 1}


async def test_a_function_that_does_not_fit_is_not_called(client: Client) -> None:
    await client.budget(tokens=100)
    calls: list[int] = []

    @client.ledger.guard(**MODEL, max_output_tokens=100, **OURS)
    async def ask() -> None:
        calls.append(1)

    with pytest.raises(BudgetExceeded):
        await ask()
    assert calls == []


async def test_a_refusal_of_the_provider_is_released_with_its_reason(client: Client) -> None:
    refused = httpx2.HTTPStatusError("no", request=httpx2.Request("GET", "http://x"), response=httpx2.Response(503))

    @client.ledger.guard(**MODEL, max_output_tokens=100, **OURS)
    async def ask() -> None:
        raise refused

    with pytest.raises(httpx2.HTTPStatusError):
        await ask()
    (row,) = await client.world.rows("select state, end_reason from reservations")
    assert tuple(row) == ("released", "the provider answered 503")


async def test_tools_of_a_stopped_run_are_not_called(client: Client) -> None:
    @client.ledger.guard(tool="search", cost=Decimal("0.005"), agent_type="data_agent")
    async def search() -> str:
        return "found"

    async with client.ledger.run(user="ada") as run:
        with client.ledger.context(run=run):
            await search()
            await run.cancel()
            with pytest.raises(RunNotOpen):
                await search()
    (event,) = await client.booked()
    assert (event["kind"], event["cost_nanos"], event["run_id"]) == ("tool_call", 5_000_000, int(run.run_id))


# A real MCP server


def server_of(client: Client) -> MCPServer:
    """Return a server with a tool that has a price, one with a cost, one that calls a model, and one that fails."""
    server = MCPServer("searching")
    guard = client.ledger.guard

    @server.tool()
    @guard(tool="search", tool_source="mcp:searching", provider="brave", model="search", max_usage={"web_searches": 1},
           denied_as=ToolError, **OURS)  # fmt: skip
    async def search(query: str, pages: int = 1) -> str:
        """Search the web."""
        return query * pages

    @server.tool()
    @guard(tool="weather", cost=lambda found: Decimal(len(found)) / 1_000, **OURS)
    async def weather(city: str) -> list[str]:
        return [city, "rain"]

    @server.tool()
    @guard(tool="summary", **MODEL, max_output_tokens=50, usage=lambda text: Usage(14, len(text)), **OURS)
    async def summary(text: str) -> str:
        return text[:3]

    @server.tool()
    @guard(tool="broken", cost=Decimal("0.002"), **OURS)
    async def broken(text: str) -> str:
        raise ToolError(f"can't read {text}")

    return server


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[MCPClient]:
    body = {"idempotency_key": "p", "rates": {"base": {"input": "0", "output": "0", "web_searches": "5"}}}
    await client.world.made("/v1/prices/brave/search", body, method="PUT")
    async with MCPClient(server_of(client)) as made:
        yield made


def text_of(result: Any) -> str:
    (part, *_) = result.content
    return str(part.text)


async def test_tools_keep_their_names_arguments_and_descriptions(client: Client) -> None:
    async with connected(client) as mcp:
        search, *_ = (await mcp.list_tools()).tools
        assert (search.name, search.description) == ("search", "Search the web.")
        assert search.input_schema["properties"].keys() == {"query", "pages"}
        assert search.input_schema["required"] == ["query"]


async def test_calls_of_tools_are_booked_as_such(client: Client) -> None:
    async with connected(client) as mcp:
        assert text_of(await mcp.call_tool("search", {"query": "x", "pages": 2})) == "xx"
        assert text_of(await mcp.call_tool("weather", {"city": "Ulm"})) == "Ulm"
        assert text_of(await mcp.call_tool("summary", {"text": "a long text"})) == "a l"
        assert (await mcp.call_tool("broken", {"text": "it"})).is_error
        booked = [
            (each["kind"], each["tool"], each["failed"], each["cost_nanos"], each["calls"])
            for each in await client.booked()
        ]
        assert booked == [
            ("tool_call", "search", False, 5_000_000, 0), ("tool_call", "weather", False, 2_000_000, 0),
            ("tool_call", "summary", False, 24_000, 0), ("tool_call", "broken", True, 2_000_000, 0),
        ]  # fmt: skip
        assert await client.holds() == {"released": 2}
        (details, *_) = [json.loads(each["details"]) for each in await client.booked()]
        assert details["tool_source"] == "mcp:searching"
        assert "latency_ms" in details


async def test_a_tool_whose_budget_is_used_up_tells_the_model_so(client: Client) -> None:
    async with connected(client) as mcp:
        await client.budget(cost="0.009")
        results = [await mcp.call_tool("search", {"query": "x"}) for _ in range(3)]
        assert [result.is_error for result in results] == [False, True, True]
        assert "cap" in text_of(results[1])
        assert len(await client.booked()) == 1


async def test_tools_called_at_once_never_exceed_their_budget(client: Client) -> None:
    async with connected(client) as mcp:
        await client.budget(cost="0.05")
        results = await asyncio.gather(*(mcp.call_tool("search", {"query": "x"}) for _ in range(30)))
        assert sum(not result.is_error for result in results) <= 10
        assert len(await client.booked()) == sum(not result.is_error for result in results)
