"""A run that another process cancels: who listens stops at once, and everybody else with the next answer."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI
from token_ledger_sdk import (
    AsyncLeases,
    AsyncRun,
    AsyncTokenLedger,
    BudgetExceeded,
    Run,
    RunCancelled,
    RunNotOpen,
    TokenLedger,
    Usage,
)
from token_ledger_sdk.leases.terms import Terms
from token_ledger_sdk.wire.calls import Scope

from sdk.tests.wrapped.provider import NO_AUTHORITIES, Provider
from tests.api.streams import served
from tests.api.waiting import until
from tests.api.world import World, another_process, fresh, open_world
from tests.client.conftest import Clock
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database

CALL: Any = {
    "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 600,
    "max_output_tokens": 400, "ttl_seconds": 300,
}  # fmt: skip
BEGUN = (
    'data: {"id":"chatcmpl-2","object":"chat.completion.chunk","model":"gpt-5.4-mini",'
    '"choices":[{"index":0,"delta":{"content":"London"}}],"usage":null}\n\n'
)

FROM_TEXT = "input counted, output from text (tiktoken)"


@dataclass
class Processes:
    """Two processes of a service: clients are of `address`, and a user cancels with `other`."""

    world: World
    other: World
    address: str

    @property
    def key(self) -> str:
        """An agent's key."""
        return self.world.keys["acme", Role.AGENT]

    async def cancel(self, run_id: str) -> None:
        """Cancel a run with the process that no client of a test is connected to."""
        await self.other.made(f"/v1/runs/{run_id}/cancel")

    async def booked(self) -> list[Any]:
        """Return the events, oldest first."""
        return await self.world.rows("select * from usage_events order by event_id")


@pytest.fixture
async def processes(database_url: str, tmp_path: Any) -> AsyncIterator[Processes]:
    async with open_world(database_url, tmp_path) as world, another_process(world) as other:
        async with served(world) as address:
            yield Processes(world, other, address)
        report = await verify_database(world.url)
        assert report.clean, report.as_text()


@pytest.fixture
async def ledger(processes: Processes) -> AsyncIterator[AsyncTokenLedger]:
    async with AsyncTokenLedger(processes.address, processes.key, max_retries=0) as made:
        yield made


@contextmanager
def _left() -> Iterator["pytest.ExceptionInfo[RunCancelled]"]:
    """A block that its run's end leaves."""
    with pytest.raises(RunCancelled) as raised:
        yield raised


async def _listens(run: AsyncRun | Run) -> None:
    async def has_news() -> bool:
        return run.news is not None

    await until(has_news)


async def _cancelled(processes: Processes, run: AsyncRun | Run) -> None:
    """Cancel a run once its block listens."""
    await _listens(run)
    await processes.cancel(run.run_id)


async def _block(run: AsyncRun, opened: "asyncio.Future[AsyncRun] | None" = None) -> None:
    async with run:
        if opened is not None:
            opened.set_result(run)
        await asyncio.Event().wait()


async def test_the_block_of_a_run_that_listens_is_left_at_once(processes: Processes, ledger: AsyncTokenLedger) -> None:
    run = ledger.run(user="ada", live=True)
    opened: asyncio.Future[AsyncRun] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_block(run, opened))
    await _cancelled(processes, await opened)
    with pytest.raises(RunCancelled):
        await task
    assert not task.cancelling()
    with pytest.raises(RunCancelled):
        await run.step()


async def test_all_tasks_of_the_block_that_make_calls_are_cancelled(
    processes: Processes, ledger: AsyncTokenLedger
) -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def call(run: AsyncRun) -> None:
        try:
            async with await run.reserve(**CALL):
                begun.set()
                await asyncio.Event().wait()  # the provider does not answer
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with _left():
        async with ledger.run(user="ada", live=True) as run:
            apart = asyncio.create_task(call(run))
            await begun.wait()
            await _cancelled(processes, run)
            await asyncio.Event().wait()
    await asyncio.wait((apart,))
    assert ended == ["cancelled"]
    await ledger.flush()
    (event,) = await processes.booked()
    assert (event["estimated"], event["input_tokens"], event["output_tokens"]) == (True, 600, 400)


async def test_a_task_group_in_the_block_is_cancelled_once(processes: Processes, ledger: AsyncTokenLedger) -> None:
    begun = times = 0

    async def call(run: AsyncRun) -> None:
        nonlocal begun, times
        async with await run.reserve(**CALL) as hold:
            begun += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                times += task.cancelling()
                hold.not_sent()
                raise

    with _left():
        async with ledger.run(user="ada", live=True) as run, asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(call(run))

            async def have_begun() -> bool:
                return begun == 3

            await until(have_begun)
            await _cancelled(processes, run)
            await asyncio.Event().wait()
    assert times == 3


async def test_a_leased_agent_that_listens_stops_at_once(processes: Processes, ledger: AsyncTokenLedger) -> None:
    terms = Terms(CALL, calls=100, longest_call_seconds=60.0, flush_seconds=10_000.0)
    with _left():
        async with ledger.run(user="ada", live=True) as run:
            # By its clock no time passes, and nothing is flushed: it hears of the stop from the stream alone.
            leases = AsyncLeases(ledger._sender, terms, Scope(run_id=run.run_id), clock=Clock())
            async with await leases.reserve() as call:
                await call.settle(Usage(600, 400))
            await _cancelled(processes, run)
            while True:
                async with await leases.reserve() as call:
                    await asyncio.sleep(0)
                    await call.settle(Usage(600, 400))
    await leases.close()


async def test_a_leased_agent_that_does_not_listen_stops_within_a_flush(
    processes: Processes, ledger: AsyncTokenLedger
) -> None:
    made_after, clock = 0, Clock()
    terms = Terms(CALL, calls=100, longest_call_seconds=60.0, flush_seconds=1.0)
    run_id = (await processes.world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada"}))["run_id"]
    with _left():
        async with ledger.attach(run_id):
            leases = AsyncLeases(ledger._sender, terms, Scope(run_id=run_id), clock=clock)
            async with await leases.reserve() as call:
                await call.settle(Usage(600, 400))
            await ledger.flush()
            await processes.cancel(run_id)
            clock.now += 0.9
            async with await leases.reserve() as call:
                await call.settle(Usage(600, 400))
            made_after += 1
            clock.now += 0.2
            async with await leases.reserve() as call:
                await call.settle(Usage(600, 400))
            made_after += 1
    assert made_after == 1
    await leases.close()


async def test_an_agent_in_a_thread_that_listens_stops_at_its_next_step(processes: Processes) -> None:
    found: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
    loop, go_on = asyncio.get_running_loop(), threading.Event()

    def work() -> str:
        with TokenLedger(processes.address, processes.key, max_retries=0) as ledger:
            try:
                with ledger.run(user="ada", live=True) as run:
                    loop.call_soon_threadsafe(found.set_result, run)
                    assert go_on.wait(60)
                    run.step()
            except RunCancelled as error:
                return str(error)
        return "it went on"

    working = asyncio.create_task(asyncio.to_thread(work))
    run = await found
    await _cancelled(processes, run)

    async def has_heard() -> bool:
        return run.news is not None and run.news.stop == "run_cancelled"

    await until(has_heard)
    go_on.set()
    # The service was not asked: it would have said it in other words.
    assert "or one that it is part of" in await working

    async def has_ended() -> bool:
        return all(thread.name != f"token-ledger-run-{run.run_id}" for thread in threading.enumerate())

    await until(has_ended)

    async def has_hung_up() -> bool:
        return not processes.world.app.state.live_feeds.open_streams

    await until(has_hung_up)


def _sync_client(provider: Provider) -> OpenAI:
    connections = httpx2.Client(verify=NO_AUTHORITIES)
    return OpenAI(base_url=provider.url, api_key="sk", max_retries=0, http_client=connections)


async def test_a_stream_in_a_thread_stops_at_its_next_part_and_what_came_is_booked(
    processes: Processes, provider: Provider
) -> None:
    found: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
    loop, heard = asyncio.get_running_loop(), threading.Event()
    provider.stream(BEGUN * 2, between=lambda: heard.wait(60))
    parts: list[Any] = []

    def work() -> None:
        ledger = TokenLedger(processes.address, processes.key, max_retries=0)
        with ledger, _sync_client(provider) as bare, _left(), ledger.run(user="ada", live=True) as run:
            client = run.wrap(bare, agent_type="data_agent")
            stream = client.chat.completions.create(
                model="gpt-5.4-mini", messages=[{"role": "user", "content": "Which?"}], stream=True,
                max_completion_tokens=50,
            )  # fmt: skip
            for part in stream:
                parts.append(part)
                loop.call_soon_threadsafe(found.set_result, run)

    working = asyncio.create_task(asyncio.to_thread(work))
    run = await found
    await _cancelled(processes, run)

    async def has_heard() -> bool:
        return run.news is not None and run.news.stop == "run_cancelled"

    await until(has_heard)
    heard.set()
    await working
    assert len(parts) == 1
    (event,) = await processes.booked()
    details = json.loads(event["details"])
    assert (event["estimated"], event["output_tokens"] < 50) == (True, True)
    assert (details["error_kind"], details["estimate_rule"]) == (
        "cancelled",
        "input counted, output from text (tiktoken)",
    )


async def test_a_stream_of_a_task_is_cancelled_while_it_waits_and_what_came_is_booked(
    processes: Processes, ledger: AsyncTokenLedger, provider: Provider
) -> None:
    gone = threading.Event()
    provider.stream(BEGUN, between=lambda: gone.wait(60))
    connections = httpx2.AsyncClient(verify=NO_AUTHORITIES)
    async with AsyncOpenAI(base_url=provider.url, api_key="sk", max_retries=0, http_client=connections) as bare:
        with _left():
            async with ledger.run(user="ada", live=True) as run:
                stream = await run.wrap(bare, agent_type="data_agent").chat.completions.create(
                    model="gpt-5.4-mini", messages=[{"role": "user", "content": "Which?"}], stream=True,
                    max_completion_tokens=50,
                )  # fmt: skip
                async for _ in stream:
                    await _cancelled(processes, run)
    gone.set()
    await ledger.flush()
    (event,) = await processes.booked()
    details = json.loads(event["details"])
    assert (event["estimated"], event["output_tokens"] < 50) == (True, True)
    assert (details["error_kind"], details["estimate_rule"]) == (
        "cancelled",
        "input counted, output from text (tiktoken)",
    )


async def test_an_answer_to_a_settle_ends_the_block(processes: Processes, ledger: AsyncTokenLedger) -> None:
    with _left():
        async with ledger.run(user="ada") as run:
            async with await run.reserve(**CALL) as hold:
                await processes.cancel(run.run_id)
                assert (await hold.settle(Usage(600, 400))).stop == "run_cancelled"
            await asyncio.Event().wait()
    assert len(await processes.booked()) == 1


async def test_an_answer_to_an_extension_ends_the_block(processes: Processes, ledger: AsyncTokenLedger) -> None:
    with _left():
        async with ledger.run(user="ada") as run:
            hold = await run.reserve(**CALL)
            await processes.cancel(run.run_id)
            assert (await hold.extend(600)).stop == "run_cancelled"
            await asyncio.Event().wait()
    await hold.release()


async def test_the_end_of_a_run_ends_its_parts(processes: Processes, ledger: AsyncTokenLedger) -> None:
    left: list[str] = []
    with _left() as raised:
        async with ledger.run(user="ada", live=True) as run:
            try:
                async with run.sub_run() as part:
                    await _cancelled(processes, run)
                    await asyncio.Event().wait()
            finally:
                left.append(part.run_id)
    assert run.run_id in str(raised.value)
    assert left
    with pytest.raises(RunNotOpen):
        await part.reserve(**CALL)


async def test_the_end_of_a_part_leaves_its_run_open(processes: Processes, ledger: AsyncTokenLedger) -> None:
    async with ledger.run(user="ada") as run:
        with _left():
            async with run.sub_run(live=True) as part:
                await _cancelled(processes, part)
                await asyncio.Event().wait()
        await run.step()
        async with await run.reserve(**CALL) as hold:
            await hold.settle(Usage(1, 1))


async def test_who_cancels_its_own_run_goes_on_and_others_do_not(
    processes: Processes, ledger: AsyncTokenLedger
) -> None:
    opened: asyncio.Future[AsyncRun] = asyncio.get_running_loop().create_future()
    async with ledger.run(user="ada") as run:
        other = asyncio.create_task(_block(ledger.attach(run.run_id), opened))
        await opened
        await run.cancel()
        await asyncio.sleep(0)
        with pytest.raises(RunCancelled):
            await other
        with pytest.raises(RunCancelled):
            await run.reserve(**CALL)


async def test_nothing_goes_unasked_for_a_run_that_was_cancelled(processes: Processes) -> None:
    async with AsyncTokenLedger(processes.address, processes.key, max_retries=0, on_unavailable="allow") as ledger:
        with _left():
            async with ledger.run(user="ada") as run:
                await run.cancel()
                processes.world.service.stopping.set()
                await run.reserve(**CALL)
        processes.world.service.stopping.clear()


async def test_a_changed_limit_is_heard_and_the_next_call_asks_for_another_lease(
    processes: Processes, ledger: AsyncTokenLedger
) -> None:
    terms = Terms(CALL, calls=100, longest_call_seconds=60.0, flush_seconds=10_000.0)
    async with ledger.run(user="ada", live=True) as run:
        leases = AsyncLeases(ledger._sender, terms, Scope(run_id=run.run_id), clock=Clock())
        async with leases, await leases.reserve() as call:
            await call.settle(Usage(600, 400))
            await _listens(run)
            body = {"idempotency_key": fresh(), "reason": "a test", "limits": {"calls": 2}}
            await processes.other.made(f"/v1/runs/{run.run_id}", body, method="PATCH")

            async def has_heard() -> bool:
                return run.news is not None and run.news.limits.calls == 2

            await until(has_heard)
            async with await leases.reserve() as second:
                assert second.reservation_id != call.reservation_id
                await second.settle(Usage(600, 400))
        assert (await run.read()).balance is not None


async def test_a_lowered_budget_ends_a_lease_with_the_next_booking(
    processes: Processes, ledger: AsyncTokenLedger
) -> None:
    body = {"idempotency_key": fresh(), "name": "cap", "selector": {}, "limits": {"calls": 100}, "window": "total"}
    budget_id = (await processes.world.made("/v1/budgets", body))["budget_id"]
    terms, made = Terms(CALL, calls=50, longest_call_seconds=60.0, flush_seconds=10_000.0), 0
    async with AsyncLeases(ledger._sender, terms, Scope(user="ada"), clock=Clock()) as leases:
        with suppress(BudgetExceeded):
            while True:
                async with await leases.reserve() as call:
                    await call.settle(Usage(600, 400))
                made += 1
                await ledger.flush()
                if made == 1:
                    body = {"idempotency_key": fresh(), "limits": {"calls": 3}}
                    await processes.other.made(f"/v1/budgets/{budget_id}", body, method="PATCH")
    # The lease would have gone on for 50.
    assert made == 3


async def test_a_stream_that_is_cut_is_opened_again(processes: Processes, ledger: AsyncTokenLedger) -> None:
    run = ledger.run(user="ada", live=True)
    opened: asyncio.Future[AsyncRun] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_block(run, opened))
    await _listens(await opened)
    processes.world.service.stopping.set()  # the process ends its streams

    async def is_cut() -> bool:
        return not processes.world.app.state.live_feeds.open_streams

    await until(is_cut)
    await processes.cancel(run.run_id)
    processes.world.service.stopping.clear()
    with pytest.raises(RunCancelled):
        await task
