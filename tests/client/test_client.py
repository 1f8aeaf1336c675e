"""What the clients ask for besides a hold and its settle: steps, parts of runs, plans, parts of calls, more time."""

import asyncio
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from token_ledger_sdk import (
    Amounts,
    BudgetExceeded,
    Call,
    IterationsExceeded,
    Limits,
    NotFound,
    OpenAIStreamUsage,
    PlannedCall,
    ReservationNotOpen,
    RunNotOpen,
    Share,
    TokenLedger,
    Unavailable,
    UnknownModel,
    Unreachable,
    Usage,
)

from tests.api.world import fresh
from tests.client.conftest import Client
from tests.faults.processes import ANSWER_SECONDS, PEPPER, ServiceProcess
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings
from token_ledger.proof.verify import verify_database


async def test_iterations_are_counted_and_end(client: Client) -> None:
    async with client.ledger.run(user="ada", iterations=2) as run:
        first, second = await run.step("plan"), await run.step()
        assert (first.iteration, second.iteration, second.iterations.taken, second.iterations.limit) == (1, 2, 2, 2)
        with pytest.raises(IterationsExceeded):
            await run.step()
        assert (await run.read()).iterations.taken == 2


async def test_an_iteration_whose_answer_was_lost_is_counted_once(client: Client) -> None:
    async with client.ledger.run(user="ada", limits=Limits(tokens=1_000), allocation={"a": 1, "b": 1}) as run:
        client.network.answers_to_lose = 1
        with pytest.raises(Unreachable) as lost:
            await run.step("plan")
        assert (await run.step("plan", idempotency_key=lost.value.idempotency_key)).iteration == 1
        client.network.answers_to_lose = 1
        with pytest.raises(Unreachable) as lost:
            await run.rebalance({"a": 3, "b": 1})
        assert (await run.rebalance({"a": 3, "b": 1}, idempotency_key=lost.value.idempotency_key)).replayed
        assert (await run.read()).iterations.taken == 1


async def test_a_run_of_open_end_has_no_limits(client: Client) -> None:
    async with client.ledger.run(user="ada", preset="open_end") as run:
        read = await run.read()
        assert read.balance is not None
        assert (read.balance.limit, read.iterations.limit) == (Amounts(), None)


async def test_a_preset_is_a_beginning(client: Client) -> None:
    async with client.ledger.run(user="ada", preset="job", iterations=3) as run:
        read = await run.read()
        assert read.balance is not None
        assert (read.balance.limit.tokens, read.iterations.limit) == (50_000, 3)
        assert len(read.allocations) == 5


async def test_a_sub_run_ends_with_its_block_and_uses_what_its_parent_has(client: Client) -> None:
    async with client.ledger.run(user="ada", limits=Limits(tokens=1_500)) as run:
        async with run.sub_run(limits=Limits(tokens=5_000)) as part:
            assert (await part.read()).parent_run_id == run.run_id
            async with await part.reserve(**client.call) as hold:
                await hold.settle(Usage(600, 400))
            with pytest.raises(BudgetExceeded) as denied:
                await part.reserve(**client.call)
            assert [refusal.available for refusal in denied.value.refusals] == [500]
        assert (await part.read()).state == "closed"
        assert (await run.read()).state == "open"


async def test_another_process_takes_part_in_a_run_by_its_external_id(client: Client) -> None:
    name = fresh("thread")
    async with client.ledger.run(user="ada", external_id=name) as run:
        async with client.ledger.run(user="ada", external_id=name, attach=True) as same:
            assert same.run_id == run.run_id
        assert (await run.read()).state == "open"


async def test_plans_of_a_call_are_typed(client: Client) -> None:
    # mypy reads this like the code of a caller: README's plan, a call planned once, a plan written out.
    call: Call = {
        "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 600,
        "max_output_tokens": 400,
    }  # fmt: skip
    planned: PlannedCall = {**call, "input_tokens": 500, "count": 3}
    async with client.ledger.run(user="ada") as run:
        assert (await run.preflight([{**call, "count": 12}])).asked == (12,)
        assert (await run.preflight([{**call, "count": 1}, planned])).asked == (1, 3)
    assert (await client.ledger.preflight([{**call, "count": 2}, planned], user="ada")).asked == (2, 3)


async def test_plans_are_told_whether_they_fit_and_hold_nothing(client: Client) -> None:
    async with client.ledger.run(user="ada", limits=Limits(tokens=3_500)) as run:
        plan = await run.preflight([{**client.call, "count": 2}, {**client.call, "count": 4}])  # type: ignore[typeddict-item]
        assert (plan.finishes, plan.asked, plan.fits, plan.tokens) == (False, (2, 4), (2, 1), 6_000)
        assert plan.stopped_by is not None
        assert (plan.stopped_by.code, plan.stopped_by.refusals[0].available) == ("budget_exceeded", 500)
        assert await run.can_afford(**client.call)
        assert not await run.can_afford(**{**client.call, "input_tokens": 3_200})
        read = await run.read()
        assert read.balance is not None
        assert read.balance.held.tokens == 0
    assert await client.ledger.can_afford(user="ada", **client.call)
    assert (await client.ledger.preflight([{**client.call}], user="ada")).finishes  # type: ignore[typeddict-item]
    with pytest.raises(RunNotOpen):
        await run.reserve(**client.call)


async def test_a_mistake_is_not_taken_for_an_empty_budget(client: Client) -> None:
    async with client.ledger.run(
        user="ada", limits=Limits(tokens=5_000), allocation={"data_agent": 1}, strict=True
    ) as run:
        assert await run.can_afford(**client.call)
        assert not await run.can_afford(**{**client.call, "agent_type": "report_agent"})
        with pytest.raises(UnknownModel, match="-minni"):
            await run.can_afford(**{**client.call, "model": "gpt-5.4-minni"})
    with pytest.raises(RunNotOpen, match="closed"):
        await run.can_afford(**client.call)
    with pytest.raises(NotFound):
        await client.ledger.attach("1").can_afford(**client.call)
    with pytest.raises(UnknownModel):
        await client.ledger.can_afford(user="ada", **{**client.call, "provider": "opneai"})
    plan = await client.ledger.attach("1").preflight([{**client.call}])  # type: ignore[typeddict-item]
    assert plan.stopped_by is not None
    assert (plan.finishes, plan.stopped_by.code) == (False, "run_not_found")


async def test_a_hold_is_settled_in_parts_and_given_more_time(client: Client) -> None:
    async with await client.ledger.reserve(user="ada", ttl_seconds=60, **client.call) as hold:
        part = await hold.settle_part(Usage(600, 100))
        assert part is not None
        assert part.remaining is not None
        assert (part.part, part.state, part.remaining.tokens) == (True, "held", 300)
        before = hold.reservation.expires_at
        assert (await hold.extend(600)).expires_at > before
        done = await hold.settle(Usage(600, 150))
        assert (done.part, done.remaining, done.overrun) == (False, None, False)
    assert [event["output_tokens"] for event in await client.booked()] == [100, 50]


async def test_a_streams_parts_and_its_settle_are_one_call(client: Client) -> None:
    stream = OpenAIStreamUsage()
    async with client.ledger.run(user="ada", limits=Limits(tokens=5_000, calls=3)) as run:
        async with await run.reserve(**client.call) as hold:
            for number, finish_reason in ((10, None), (30, None), (40, "stop")):
                details = {"cached_tokens": 500 if finish_reason else 0}
                usage = {"prompt_tokens": 600, "completion_tokens": number, "prompt_tokens_details": details}
                stream.add({"id": "a", "choices": [{"finish_reason": finish_reason}], "usage": usage})
                client.network.answers_to_lose = int(number == 30)
                with suppress(Unreachable):
                    await hold.settle_part(stream.partial())
            done = await hold.settle(stream)
        read = await run.read()
    assert (done.tokens, done.clamped, done.overrun, done.state) == (0, False, False, "settled")
    assert read.balance is not None
    assert (read.balance.settled.tokens, read.balance.settled.calls) == (640, 1)
    assert (read.balance.held.tokens, read.balance.held.calls) == (0, 0)
    events = await client.booked()
    assert [(each["input_tokens"], each["output_tokens"]) for each in events] == [(600, 10), (0, 20), (0, 10), (0, 0)]


async def test_what_is_left_of_a_hold_is_estimated_after_a_part(client: Client) -> None:
    async with await client.ledger.reserve(user="ada", **client.call) as hold:
        await hold.settle_part(Usage(600, 200))
    events = await client.booked()
    assert [(each["input_tokens"], each["output_tokens"], each["estimated"]) for each in events] == [
        (600, 200, False),
        (0, 200, True),
    ]


async def test_the_key_of_a_hold_that_has_ended_is_no_permission(client: Client) -> None:
    call: dict[str, Any] = {**client.call, "idempotency_key": "again"}
    async with await client.ledger.reserve(user="ada", **call) as hold:
        assert (await client.ledger.reserve(user="ada", **call)).reservation_id == hold.reservation_id
        await hold.settle(Usage(1, 1))
    with pytest.raises(ReservationNotOpen, match="is settled: no permission"):
        await client.ledger.reserve(user="ada", **call)


async def test_a_run_is_split_anew(client: Client) -> None:
    split = {"data_agent": Share(1), "report_agent": Share(1)}
    async with client.ledger.run(user="ada", limits=Limits(tokens=10_000), allocation=split) as run:
        again = await run.rebalance({"data_agent": 3, "report_agent": 1})
        shares = {each.agent_type: each.balance.limit.tokens for each in again.allocations}
    assert shares == {"data_agent": 7_500, "report_agent": 2_500}


async def test_an_unavailable_service_is_told_apart_from_a_denial(client: Client) -> None:
    client.network.is_cut = True
    with pytest.raises(Exception, match="no answer") as failed:
        await client.ledger.reserve(user="ada", **client.call)
    assert not isinstance(failed.value, Unavailable | BudgetExceeded)


async def test_threads_share_one_lease(database_url: str, tmp_path: Path, client: Client) -> None:
    """The synchronous client, on a real socket, with a thread for every caller."""
    service = ServiceProcess(database_url, tmp_path, {}).start()
    await service.ready()
    made: list[int] = []
    try:
        _, key = await make_tenant(Settings(key_pepper=SecretStr(PEPPER)), database_url, "threads", "UTC")

        def work() -> None:
            with TokenLedger(service.url, key) as ledger, ledger.lease(user="ada", calls=40, **client.call) as leases:

                def calls() -> None:
                    for _ in range(60):
                        with leases.reserve() as call:
                            call.settle(Usage(600, 400))
                        made.append(1)

                threads = [threading.Thread(target=calls) for _ in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

        await asyncio.to_thread(work)
    finally:
        service.end()
    assert len(made) == 480
    report = await verify_database(database_url, "threads")
    assert report.clean
    assert report.events == 480


FORKING = """
import os, sys
from contextlib import suppress
from token_ledger_sdk import BudgetExceeded, TokenLedger, Usage

call = {"agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 600}
with TokenLedger(sys.argv[1], sys.argv[2]) as ledger:
    with ledger.lease(user="ada", calls=10, max_output_tokens=400, **call) as leases:
        first = leases.reserve()
        is_parent = all([os.fork() for _ in range(2)])  # four processes
        made = 0
        if is_parent:
            first.settle(Usage(600, 400))
            made += 1
        try:
            while True:
                with leases.reserve() as permission:
                    permission.settle(Usage(600, 400))
                made += 1
        except BudgetExceeded:
            pass
    with suppress(ChildProcessError):
        while True:
            os.wait()
    os.write(1, b"%d\\n" % made)  # in one piece: the others write to the same pipe
"""


async def test_processes_that_were_forked_from_one_admit_no_more_than_there_is(
    database_url: str, tmp_path: Path
) -> None:
    service = ServiceProcess(database_url, tmp_path, {}).start()
    await service.ready()
    try:
        _, key = await make_tenant(Settings(key_pepper=SecretStr(PEPPER)), database_url, "forked", "UTC")
        body = {"idempotency_key": "b", "name": "cap", "selector": {}, "limits": {"calls": 20}, "window": "total"}
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=service.url, headers=headers, timeout=ANSWER_SECONDS) as client:
            made = await client.post("/v1/budgets", json=body)
        assert made.status_code == 201, made.text
        script = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FORKING, service.url, key,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, complaints = await script.communicate()
    finally:
        service.end()
    calls = [int(line) for line in said.split()]
    assert (script.returncode, len(calls)) == (0, 4), complaints.decode()
    report = await verify_database(database_url, "forked")
    assert report.clean
    assert sum(calls) == report.events == 20
