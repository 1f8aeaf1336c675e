"""The asynchronous client: the main path, and cancellation, which only it can meet."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx2
import pytest

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded, NotEnded, Usage

URL = "http://ledger.test"


async def test_reserve_call_settle(async_client: AsyncTokenLedger, service: Any, call: dict[str, Any]) -> None:
    async with async_client, async_client.run(user="ana") as run:
        async with await run.reserve(**call) as hold:
            await hold.settle(Usage(1_100, 200))
        assert (await async_client.get_run(run.run_id)).state == "open"
    assert service.paths() == [
        "POST /v1/runs",
        "POST /v1/reservations",
        "POST /v1/reservations/21/settle",
        "GET /v1/runs/11",
        "POST /v1/runs/11/close",
    ]


async def test_retries_keep_the_key(async_client: AsyncTokenLedger, service: Any, call: dict[str, Any]) -> None:
    service.script = [httpx2.ReadTimeout("slow"), service.problem(503, "outcome_unknown")]
    await async_client.reserve(user="ana", **call)
    assert len({request.content for request in service.requests}) == 1
    assert len(service.requests) == 3


async def test_a_denial_is_not_retried(async_client: AsyncTokenLedger, service: Any, call: Any) -> None:
    service.script = [service.denial()]
    with pytest.raises(BudgetExceeded):
        await async_client.reserve(user="ana", **call)
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("error", "verb"), [(httpx2.ConnectError("refused"), "release"), (httpx2.ReadTimeout("slow"), "settle")]
)
async def test_leaving_unsettled(
    async_client: AsyncTokenLedger, service: Any, call: Any, error: Exception, verb: str
) -> None:
    with pytest.raises(type(error)):
        async with await async_client.reserve(user="ana", **call):
            raise error
    assert service.paths()[1:] == [f"POST /v1/reservations/21/{verb}"]


async def test_a_canceled_task_still_books_its_hold(
    async_client: AsyncTokenLedger, service: Any, call: dict[str, Any]
) -> None:
    calling = asyncio.Event()

    async def work() -> None:
        async with async_client.run(user="ana") as run, await run.reserve(**call):
            calling.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await calling.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.paths()[2:] == ["POST /v1/reservations/21/settle", "POST /v1/runs/11/close"]
    assert (service.body(2)["estimated"], service.body(2)["outcome"]) == (True, "error")


async def test_a_deadline_around_the_call_still_books_its_hold(service: Any, call: dict[str, Any]) -> None:
    async def answer(request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)  # here a canceled task ends unless it is shielded
        answered: httpx2.Response = service(request)
        return answered

    async with AsyncTokenLedger(URL, "tl_key", transport=httpx2.MockTransport(answer)) as client:
        with anyio.CancelScope() as deadline:
            async with await client.reserve(user="ana", **call):
                deadline.deadline = anyio.current_time()
                await anyio.sleep_forever()
    assert service.paths()[1:] == ["POST /v1/reservations/21/settle"]


async def test_a_deadline_of_asyncio_during_the_exit_still_books_its_hold(service: Any, call: dict[str, Any]) -> None:
    ending, canceled = asyncio.Event(), asyncio.Event()

    async def slow(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/settle"):
            ending.set()
            await canceled.wait()
        answer: httpx2.Response = service(request)
        return answer

    async def work(client: AsyncTokenLedger) -> None:
        async with await client.reserve(user="ana", **call):
            pass

    async with AsyncTokenLedger(URL, "tl_key", transport=httpx2.MockTransport(slow)) as client:
        task = asyncio.create_task(work(client))
        await ending.wait()
        for _ in range(3):  # a canceled task may be canceled again
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        canceled.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert service.paths()[1:] == ["POST /v1/reservations/21/settle"]


async def test_what_could_not_be_booked_is_noted_on_the_cancellation(service: Any, call: dict[str, Any]) -> None:
    deadline = asyncio.timeout(None)

    async def refuse(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith(("/settle", "/operations")):
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(0)
            raise httpx2.ReadTimeout("slow")
        answer: httpx2.Response = service(request)
        return answer

    async def work(client: AsyncTokenLedger) -> None:
        async with deadline, await client.reserve(user="ana", **call):
            pass

    transport = httpx2.MockTransport(refuse)
    client = AsyncTokenLedger(URL, "tl_key", max_retries=0, transport=transport)
    with pytest.raises(TimeoutError) as raised:
        await work(client)
    with pytest.raises(NotEnded):
        await client.aclose()
    # Older versions of Python 3.11 do not name it as the cause.
    cancellation = raised.value.__cause__ or raised.value.__context__
    assert isinstance(cancellation, asyncio.CancelledError)
    assert "slow" in cancellation.__notes__[0]
