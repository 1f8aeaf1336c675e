"""Calls that draw from leases by themselves, with a running service: budgets hold, directives and stops arrive."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from token_ledger_sdk import AsyncRun, BudgetExceeded, Limits, RunCancelled, Usage

from sdk.tests.wrapped.provider import NO_AUTHORITIES, Provider
from tests.api.world import open_world
from tests.client.conftest import Client, client_of
from tests.client.seeds import seeded
from tests.client.test_wrapped import ANSWER, ask

MOST = Usage(600, 400)


@pytest.fixture
async def leasing(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client that books in the background, so that its calls may share leases."""
    async with open_world(database_url, tmp_path) as world:
        made = client_of(world, max_retries=0, flush_seconds=1.0, spool=False)
        yield made
        await made.is_sound()
        await made.ledger.aclose()


async def held(client: Client) -> int:
    """Return how many calls are set aside."""
    rows = await client.world.rows("select coalesce(sum(held_calls), 0) as calls from accounts")
    return int(rows[0]["calls"])


async def call_until_denied(run: AsyncRun, chance: random.Random, call: dict[str, Any]) -> int:
    made = 0
    while True:
        try:
            async with await run.reserve(**call) as hold:
                await asyncio.sleep(0)
                await hold.settle(Usage(chance.randrange(1, 601), chance.randrange(0, 401)))
        except BudgetExceeded:
            return made
        made += 1


@pytest.mark.parametrize("limit", [1, 7, 150])
async def test_tasks_of_many_runs_use_all_of_a_budget_and_no_more(limit: int, leasing: Client) -> None:
    await leasing.budget(calls=limit)
    chance = seeded()
    runs = [leasing.ledger.run(user=f"user-{n}") for n in range(3)]
    for run in runs:
        await run.open()
    made = sum(await asyncio.gather(*(call_until_denied(run, chance, leasing.call) for run in runs for _ in range(4))))
    # Each has seen a denial while others' leases had room; what they did not use is there when they have ended.
    for run in runs[:-1]:
        await run.close()
    made += await call_until_denied(runs[-1], chance, leasing.call)
    await runs[-1].close()
    assert (made, len(await leasing.booked()), await held(leasing)) == (limit, limit, 0)
    assert set(await leasing.holds()) <= {"settled", "released"}


async def test_a_closed_run_leaves_its_room_to_others_at_once(leasing: Client) -> None:
    await leasing.budget(calls=40)
    async with leasing.ledger.run(user="ada") as run:
        for _ in range(10):
            async with await run.reserve(**leasing.call) as hold:
                await hold.settle(MOST)
        assert await held(leasing) > 0
    assert await held(leasing) == 0
    rows = await leasing.world.rows("select count(*) as number from reservations where lease")
    assert 1 <= rows[0]["number"] <= 4


async def test_what_a_run_may_take_in_all_is_kept_by_its_leases(leasing: Client) -> None:
    async with leasing.ledger.run(user="ada", limits=Limits(tokens=12_500)) as run:
        made = await call_until_denied(run, seeded(), {**leasing.call, "input_tokens": 1_000, "max_output_tokens": 250})
        snapshot = await run.close()
    assert made >= 10
    assert snapshot.balance is not None
    assert snapshot.balance.settled.tokens is not None
    assert snapshot.balance.settled.tokens <= 12_500


async def test_a_cancelled_run_stops_within_the_flush_interval(leasing: Client) -> None:
    async def call_until_stopped() -> None:
        async with leasing.ledger.run(user="ada") as run:
            for _ in range(6):
                async with await run.reserve(**leasing.call) as hold:
                    await hold.settle(MOST)
            await leasing.world.made(f"/v1/runs/{run.run_id}/cancel")
            while True:
                async with await run.reserve(**leasing.call) as hold:
                    await asyncio.sleep(0.05)
                    await hold.settle(MOST)

    async with asyncio.timeout(60):
        with pytest.raises(RunCancelled):
            await call_until_stopped()
    await leasing.ledger.flush()
    assert await held(leasing) == 0


async def test_a_downgrade_takes_effect_with_the_next_lease(leasing: Client) -> None:
    """The trigger fires once 60 % of the budget are used or held; then calls are made with the cheaper model."""
    await leasing.budget(cost="1")
    step = {
        "provider": "openai", "model": "gpt-5.4", "to_provider": "openai", "to_model": "gpt-5.4-mini",
        "capabilities": [], "context_tokens": 100_000,
    }  # fmt: skip
    body = {"idempotency_key": "t", "kind": "high_cost", "at_percent": 60, "mode": "apply", "downgrades": [step]}
    await leasing.world.made("/v1/triggers", body)
    call = {**leasing.call, "model": "gpt-5.4"}
    async with leasing.ledger.run(user="ada") as run:
        models = []
        for _ in range(120):
            async with await run.reserve(**call) as hold:
                models.append(hold.model)
                await hold.settle(Usage(600, 400))
    changed = models.index("gpt-5.4-mini")
    assert 30 < changed <= 80 + 32, "80 calls are 60 %, and a lease is for 32 at most"
    assert set(models[:changed]) == {"gpt-5.4"}
    assert set(models[changed:]) == {"gpt-5.4-mini"}


async def test_wrapped_clients_share_leases_and_a_budget(leasing: Client, provider: Provider) -> None:
    await leasing.budget(calls=30)
    for number in range(40):
        provider.json({**ANSWER, "id": f"chatcmpl-{number}"})
    connections = httpx2.AsyncClient(verify=NO_AUTHORITIES)
    async with AsyncOpenAI(base_url=provider.url, api_key="sk", max_retries=0, http_client=connections) as bare:
        guarded = leasing.ledger.wrap(bare, user="ada", agent_type="data_agent")

        async def call() -> bool:
            try:
                await ask(guarded, max_completion_tokens=100)
            except BudgetExceeded:
                return False
            return True

        assert sum(await asyncio.gather(*(call() for _ in range(40)))) == 30
    await leasing.ledger.flush()
    assert len(await leasing.booked()) == 30
    rows = await leasing.world.rows("select count(*) filter (where lease) as leases, count(*) as all from reservations")
    assert rows[0]["leases"] >= 1
    assert rows[0]["all"] < 30
