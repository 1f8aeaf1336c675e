"""Tools of the asynchronous client: as those of the other one, with tasks instead of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from token_ledger_sdk import AsyncTokenLedger, BreakerOpen, RunNotOpen, ToolTimedOut
from token_ledger_sdk.testing import FakeService

from ..conftest import Clock
from .tool_doubles import CACHED, OK, OURS, Waits, async_toolbox_of, outcomes

AsyncTool = Callable[..., Awaitable[Any]]


@pytest.fixture
def ledger(ledger_service: FakeService, clock: Clock, waits: Waits) -> AsyncTokenLedger:
    return ledger_service.async_client(toolbox=async_toolbox_of(clock, waits))


def as_tool(ledger: AsyncTokenLedger, function: AsyncTool, **said: Any) -> AsyncTool:
    return ledger.tool(**{"tool": "search", **OURS, **said})(function)


def raising(*errors: BaseException) -> AsyncTool:
    left = list(errors)

    async def search(query: str = "x") -> list[str]:
        if left:
            raise left.pop(0)
        return [query]

    return search


async def hang() -> None:
    await asyncio.Event().wait()


async def test_a_tool_is_one_event(ledger: AsyncTokenLedger, ledger_service: FakeService) -> None:
    async with ledger.run(user="ada") as run:

        @run.tool(agent_type="data_agent", cost=Decimal("0.005"))
        async def search(query: str) -> list[str]:
            return [query]

        assert await search("x") == ["x"]
        await run.cancel()
        with pytest.raises(RunNotOpen):
            await search("x")
    (call,) = ledger_service.calls
    assert (call.tool, call.run_id, call.cost) == ("search", run.run_id, Decimal("0.005"))


async def test_it_is_tried_again_and_ends_with_an_open_breaker(
    ledger: AsyncTokenLedger, ledger_service: FakeService, waits: Waits, clock: Clock
) -> None:
    search = as_tool(ledger, raising(*[ConnectionError()] * 7), retries=3)
    for error in (ConnectionError, ConnectionError, BreakerOpen):
        with pytest.raises(error):
            await search()
    assert waits.seconds == [2, 4, 8]  # the fifth failure opened it
    clock.now += 60
    with pytest.raises(ConnectionError):
        await search()
    clock.now += 60
    with pytest.raises(ConnectionError):
        await search()
    clock.now += 60
    assert await search() == ["x"]
    assert outcomes(ledger_service)[:3] == [
        ("error", "cut_connection", 3, False), ("error", "cut_connection", None, False),
        ("error", "breaker_open", None, False),
    ]  # fmt: skip


async def test_a_call_that_takes_too_long_is_canceled(ledger: AsyncTokenLedger, ledger_service: FakeService) -> None:
    with pytest.raises(ToolTimedOut, match="it was canceled"):
        await as_tool(ledger, hang, timeout_seconds=0.001)()
    fallback: list[str] = []
    search = as_tool(ledger, hang, timeout_seconds=0.001, fallback=fallback)
    (await search()).append("mine")
    assert await search() == []
    assert outcomes(ledger_service) == [("error", "timeout", None, False)] * 3


async def test_a_time_out_of_the_tools_own_is_an_error_of_it(ledger: AsyncTokenLedger, waits: Waits) -> None:
    async def search() -> None:
        async with asyncio.timeout_at(0):
            await hang()

    with pytest.raises(TimeoutError) as raised:
        await as_tool(ledger, search, timeout_seconds=600, fallback=None, retries=1)()
    assert not isinstance(raised.value, ToolTimedOut)
    assert waits.seconds == [2]


async def canceled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_canceled_call_is_not_tried_again_nor_counted_but_booked(
    ledger: AsyncTokenLedger, ledger_service: FakeService, waits: Waits
) -> None:
    began = asyncio.Event()

    async def search() -> None:
        began.set()
        await hang()

    tool = as_tool(ledger, search, retries=3)
    for _ in range(6):
        began.clear()
        task = asyncio.ensure_future(tool())
        await began.wait()
        await canceled(task)
    assert (waits.seconds, ledger.toolbox.breaker_state("search")) == ([], "closed")
    assert outcomes(ledger_service) == [("error", "cancelled", None, False)] * 6


async def test_a_call_that_is_canceled_while_it_waits_is_booked(
    ledger_service: FakeService, clock: Clock, waits: Waits
) -> None:
    pausing = asyncio.Event()

    async def pause(seconds: float) -> None:
        pausing.set()
        await hang()

    toolbox = async_toolbox_of(clock, waits)
    toolbox.pause = pause
    ledger = ledger_service.async_client(toolbox=toolbox)
    task = asyncio.ensure_future(as_tool(ledger, raising(ConnectionError()), retries=3)())
    await pausing.wait()
    await canceled(task)
    assert outcomes(ledger_service) == [("error", "cut_connection", None, False)]


# The cache


class Documents:
    def __init__(self) -> None:
        self.text = "old"
        self.reads = 0
        self.has_read, self.go = asyncio.Event(), asyncio.Event()

    async def read(self) -> list[str]:
        self.reads += 1
        answer = [self.text]
        self.has_read.set()
        await self.go.wait()
        return answer

    async def write(self, text: str) -> None:
        self.text = text


@pytest.fixture
async def documents() -> Documents:
    return Documents()


def reading(ledger: AsyncTokenLedger, documents: Documents, **said: Any) -> AsyncTool:
    return as_tool(ledger, documents.read, tool="read", cache_seconds=60, reads="documents", **said)


async def joined(ledger: AsyncTokenLedger, number: int) -> None:
    while ledger.toolbox.statistics("read").joined < number:  # noqa: ASYNC110 - a cache tells nobody who waits
        await asyncio.sleep(0)


async def test_of_a_hundred_tasks_one_calls_the_tool(
    ledger: AsyncTokenLedger, ledger_service: FakeService, documents: Documents, clock: Clock
) -> None:
    read = reading(ledger, documents)
    tasks = [asyncio.ensure_future(read()) for _ in range(100)]
    await joined(ledger, 99)
    documents.go.set()
    answers = await asyncio.gather(*tasks)
    assert (answers, documents.reads) == ([["old"]] * 100, 1)
    assert len({id(answer) for answer in answers}) == 100
    assert sorted(outcomes(ledger_service), key=repr) == sorted([OK, *[CACHED] * 99], key=repr)
    clock.now += 59
    await read()
    clock.now += 1
    await read()
    assert documents.reads == 2


async def test_those_who_wait_try_themselves_when_the_first_is_canceled(
    ledger: AsyncTokenLedger, documents: Documents
) -> None:
    read = reading(ledger, documents)
    first = asyncio.ensure_future(read())
    await documents.has_read.wait()
    others = [asyncio.ensure_future(read()) for _ in range(10)]
    await joined(ledger, 10)
    await canceled(first)
    documents.go.set()
    assert await asyncio.gather(*others) == [["old"]] * 10
    assert documents.reads == 2
    found = ledger.toolbox.statistics("read")
    assert (found.misses, found.joined) == (2, 9)


async def test_one_who_waits_may_be_canceled_alone(ledger: AsyncTokenLedger, documents: Documents) -> None:
    read = reading(ledger, documents)
    first, second, third = [asyncio.ensure_future(read()) for _ in range(3)]
    await joined(ledger, 2)
    await canceled(second)
    documents.go.set()
    assert await asyncio.gather(first, third) == [["old"]] * 2
    assert documents.reads == 1


async def test_a_read_under_way_when_the_write_came_is_not_kept(ledger: AsyncTokenLedger, documents: Documents) -> None:
    read = reading(ledger, documents)
    write = as_tool(ledger, documents.write, tool="write", invalidates="documents")
    early = asyncio.ensure_future(read())
    await documents.has_read.wait()
    waiting = asyncio.ensure_future(read())
    await joined(ledger, 1)
    await write("new")
    late = asyncio.ensure_future(read())
    documents.go.set()
    assert await asyncio.gather(early, late, waiting) == [["old"], ["new"], ["new"]]
    assert await read() == ["new"]
    assert ledger.toolbox.statistics("read").stale == 1


async def test_a_write_that_was_canceled_may_have_written(ledger: AsyncTokenLedger, documents: Documents) -> None:
    documents.go.set()

    async def write(text: str) -> None:
        documents.text = text
        await hang()

    read = reading(ledger, documents)
    await read()
    with pytest.raises(ToolTimedOut):
        await as_tool(ledger, write, tool="write", invalidates="documents", timeout_seconds=0.001)("new")
    assert await read() == ["new"]


def test_loops_in_two_threads_do_not_wait_for_each_other(ledger_service: FakeService, clock: Clock) -> None:
    toolbox = async_toolbox_of(clock, Waits())

    async def outer() -> Any:
        ledger = ledger_service.async_client(toolbox=toolbox)

        async def nested() -> Any:
            return await as_tool(ledger_service.async_client(toolbox=toolbox), answer, **kept)()

        async def ask() -> Any:
            # Unlike `to_thread`, this takes no context along, by which the tool would know that it asks itself.
            return await asyncio.get_running_loop().run_in_executor(None, asyncio.run, nested())

        calls: list[int] = []

        async def answer() -> int:
            calls.append(1)
            return len(calls) if len(calls) > 1 else await ask()

        kept: Any = {"cache_seconds": 60, "cache_key": lambda: 1}
        return await as_tool(ledger, answer, **kept)()

    assert asyncio.run(outer()) == 2


# At the same time


async def test_gather_returns_results_in_order_and_books_each(
    ledger: AsyncTokenLedger, ledger_service: FakeService
) -> None:
    done: list[int] = []
    turns = [asyncio.Event() for _ in range(4)]
    turns[3].set()

    async def search(number: int) -> int:
        await turns[number].wait()  # they all run at once, and end in the opposite order
        turns[number - 1].set()
        done.append(number)
        return number

    async with ledger.run(user="ada") as run:
        tool = run.tool(agent_type="data_agent")(search)
        assert await run.gather(tool(1), tool(2), tool(3)) == (1, 2, 3)
    assert done == [3, 2, 1]
    assert outcomes(ledger_service) == [OK] * 3
    assert await run.gather() == ()


async def test_one_that_fails_does_not_lose_the_others(ledger: AsyncTokenLedger, ledger_service: FakeService) -> None:
    good, bad = as_tool(ledger, raising()), as_tool(ledger, raising(ConnectionError("a"), ValueError("b")))
    with pytest.raises(ConnectionError, match="a") as raised:
        await ledger.gather(good("1"), bad("2"), bad("3"), good("4"))
    assert raised.value.__notes__ == ["besides, another call failed: ValueError: b"]
    assert [failed for failed, *_ in outcomes(ledger_service)].count("ok") == 2
    assert len(ledger_service.calls) == 4
    bad = as_tool(ledger, raising(ValueError("c")))
    found = await ledger.gather(good("1"), bad("2"), return_exceptions=True)
    assert (found[0], type(found[1])) == (["1"], ValueError)


async def test_one_that_somebody_else_cancels_is_an_error_of_its_own(
    ledger: AsyncTokenLedger, ledger_service: FakeService
) -> None:
    tool = as_tool(ledger, raising())
    theirs = asyncio.ensure_future(hang())
    theirs.cancel()
    with pytest.raises(RuntimeError, match="canceled by somebody else"):
        await ledger.gather(theirs, tool("x"))
    assert outcomes(ledger_service) == [OK]


async def test_all_that_are_gathered_are_canceled_together(
    ledger: AsyncTokenLedger, ledger_service: FakeService
) -> None:
    began = [asyncio.Event(), asyncio.Event()]

    async def search(number: int) -> None:
        began[number].set()
        await hang()

    tool = as_tool(ledger, search)
    task = asyncio.ensure_future(ledger.gather(tool(0), tool(1)))
    for each in began:
        await each.wait()
    await canceled(task)
    assert outcomes(ledger_service) == [("error", "cancelled", None, False)] * 2
