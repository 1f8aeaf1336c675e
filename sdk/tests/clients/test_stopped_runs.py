"""Runs that are stopped, and leases that are closed, while something of theirs is under way."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import AsyncRun, AsyncTokenLedger, RunCancelled, TokenLedger, Usage
from token_ledger_sdk.testing import FakeService
from token_ledger_sdk.testing.service import KEY, URL

CALL: Any = {"agent_type": "a", "provider": "openai", "model": "gpt-5.4", "input_tokens": 900, "max_output_tokens": 100}
USED = Usage(900, 40)


class Gate:
    """Keeps the answers to some requests until it is opened; what they ask for is done before."""

    def __init__(self, service: FakeService) -> None:
        self._service = service
        self.holds_back = ""
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._service.answer(request)
        if self.holds_back and request.url.path.endswith(self.holds_back):
            self.reached.set()
            await self.opened.wait()
        return answer


@pytest.fixture
async def gate(ledger_service: FakeService) -> Gate:
    return Gate(ledger_service)


@pytest.fixture
async def ledger(gate: Gate) -> AsyncIterator[AsyncTokenLedger]:
    async with AsyncTokenLedger(URL, KEY, transport=httpx2.MockTransport(gate), max_retries=0) as made:
        yield made


async def hear_of_the_end(service: FakeService, run: AsyncRun) -> None:
    """Let a user cancel a run, and the client that it is of hear of that."""
    with service.client() as other:
        other.attach(run.run_id).cancel()
    with pytest.raises(RunCancelled):
        await run.step()


async def test_one_stop_is_one_cancellation_however_often_it_is_heard(
    ledger: AsyncTokenLedger, ledger_service: FakeService
) -> None:
    found: asyncio.Future[AsyncRun] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with ledger.run(user="ada") as run, run.sub_run() as part, await part.reserve(**CALL):
            found.set_result(run)
            await asyncio.Event().wait()  # the answer to the hold's settle tells of the stop again

    task = asyncio.create_task(work())
    await hear_of_the_end(ledger_service, await found)
    with pytest.raises(RunCancelled):
        await task
    assert not task.cancelling()
    assert [call.estimated for call in ledger_service.calls] == [True]


async def test_who_cancels_the_task_of_a_stopped_run_besides_is_obeyed(
    ledger: AsyncTokenLedger, ledger_service: FakeService, gate: Gate
) -> None:
    found: asyncio.Future[AsyncRun] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with ledger.run(user="ada") as run:
            found.set_result(run)
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    run = await found
    gate.holds_back = "/close"
    await hear_of_the_end(ledger_service, run)
    await gate.reached.wait()
    task.cancel()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_lease_that_is_granted_after_the_stop_of_its_run_admits_nothing(
    ledger: AsyncTokenLedger, ledger_service: FakeService, gate: Gate
) -> None:
    run = ledger.run(user="ada")
    await run.open()
    gate.holds_back = "/leases"
    leases = run.lease(calls=5, **CALL)
    asking = asyncio.create_task(leases.reserve())
    await gate.reached.wait()
    await hear_of_the_end(ledger_service, run)
    gate.opened.set()
    with pytest.raises(RunCancelled):
        await asking
    with pytest.raises(RunCancelled):
        await leases.reserve()
    await leases.close()
    assert [hold.state for hold in ledger_service.holds] == ["released"]


async def test_a_lease_that_is_granted_while_its_block_is_left_is_given_back(
    ledger: AsyncTokenLedger, ledger_service: FakeService, gate: Gate
) -> None:
    gate.holds_back = "/leases"
    leases = ledger.lease(user="ada", calls=5, **CALL)
    asking = asyncio.create_task(leases.reserve())
    await gate.reached.wait()
    closing = asyncio.create_task(leases.close())
    await asyncio.sleep(0)  # it has begun
    gate.opened.set()
    await (await asking).release()
    await closing
    assert {hold.state for hold in ledger_service.holds} == {"released"}


@pytest.mark.parametrize("is_shared", [False, True])
async def test_an_answer_to_the_extension_of_a_lease_tells_of_a_stop(
    is_shared: bool, ledger: AsyncTokenLedger, ledger_service: FakeService
) -> None:
    run = ledger.run(user="ada")
    await run.open()
    leases = run.lease(calls=5, **CALL)
    call = await (run.reserve(lease_calls=5, **CALL) if is_shared else leases.reserve())
    with ledger_service.client() as other:
        other.attach(run.run_id).cancel()
    assert (await call.extend(600)).stop == "run_cancelled"
    before = len(ledger_service.requests)
    with pytest.raises(RunCancelled):
        await run.step()
    assert len(ledger_service.requests) == before, "the service was not asked"
    await call.release()
    await leases.close()


def test_a_run_that_has_ended_leaves_nothing_behind(ledger_service: FakeService) -> None:
    with ledger_service.client(flush_seconds=1) as ledger:
        for end in ("close", "cancel", "leave"):
            _work_and_end(ledger, end)
        gc.collect()
        sender = ledger._sender
        kept = {name: len(value) for name, value in vars(sender.stops).items() if isinstance(value, dict)}
        assert {name: size for name, size in kept.items() if size and name != "_cancelled"} == {}
        assert not any(len(members) for members in (sender.stops._halting, sender.stops._blocks, sender.stops._calls))
        assert sender.stages._stages == {}


def _work_and_end(ledger: TokenLedger, end: str) -> None:
    run = ledger.run(user="ada")
    run.open()
    part = run.sub_run()
    part.open()
    for each in (run, part):
        each.mark("research")
        for _ in range(3):
            with each.reserve(**CALL) as hold:
                hold.settle(USED)
    for each in (part, run):
        match end:
            case "close":
                each.close()
            case "cancel":
                each.cancel()
            case "leave":
                with each:
                    pass
