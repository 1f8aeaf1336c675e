"""Service processes are killed under load: everything acknowledged is booked, once."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clients import cost_nanos, reservation, settlement
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import PATIENCE_SECONDS, ServiceProcess, wait_until
from tests.faults.proxy import DatabaseProxy
from tests.faults.workload import SEED, Workload

KILLS = 20


@pytest.fixture
def workers(database_url: str, tmp_path: Path) -> Iterator[list[ServiceProcess]]:
    started = [ServiceProcess(database_url, tmp_path, {}, verb="worker").start() for _ in range(2)]
    yield started
    for worker in started:
        worker.end()


async def test_killed_processes_lose_nothing_and_book_nothing_twice(
    database_url: str, start_service: StartService, caller_of: MakeCaller, workers: list[ServiceProcess]
) -> None:
    services = [start_service(database_url) for _ in range(2)]
    for service in services:
        await service.ready()
    caller = await caller_of(database_url, *services)
    # Some users run out of budget, so that denials are repeated with their keys too.
    await caller.open_budget("user-1", tokens=30_000)
    workload = Workload(caller, agents=16)
    working = asyncio.create_task(workload.run())
    chance = random.Random(SEED)
    kills = 0

    async def goes_on(least: int) -> None:
        async def has_gone_on() -> bool:
            assert not working.done(), working.exception()
            return workload.acknowledged >= least

        await wait_until(has_gone_on, PATIENCE_SECONDS, "the load goes on")

    while kills < KILLS:
        await goes_on(workload.acknowledged + chance.randrange(1, 200))
        victims = chance.choice([services[:1], services[1:], services])
        for worker in workers if chance.random() < 0.5 else []:
            worker.kill()
            worker.start()
            kills += 1
        for victim in victims:
            victim.kill()
        kills += len(victims)
        for victim in victims:
            victim.start()
        for victim in victims:
            await victim.ready()
    await goes_on(workload.acknowledged + 1)
    workload.stopping.set()
    await working
    print(f"{kills} kills, {workload.acknowledged} operations acknowledged, {caller.lost} requests lost and repeated")
    assert workload.parts
    assert caller.lost > 0, "no request was in flight when a process died"
    assert workload.denied
    assert workload.abandoned
    await workload.is_booked(Journal(database_url, caller.tenant))


@pytest.mark.parametrize("committed", [False, True], ids=["before its commit", "after its commit"])
async def test_a_batch_whose_process_dies(
    committed: bool, database_url: str, proxy: DatabaseProxy, start_service: StartService, caller_of: MakeCaller
) -> None:
    """Before its commit nothing is booked, after it everything is; repeating the key resolves it and books once."""
    await proxy.start()
    service = start_service(proxy.url)
    await service.ready()
    caller = await caller_of(database_url, service)
    await caller.open_budget("ada", calls=1)

    async def dies_during(path: str, body: dict[str, Any], table: str) -> dict[str, Any]:
        lost_before = caller.lost
        proxy.hang_at_commit(reaches_server=committed)
        request = asyncio.create_task(caller.insist(path, body))
        await wait_until(proxy.is_stuck, PATIENCE_SECONDS, "the batch commits")
        if committed:
            await journal.has(1, table)
        service.kill()
        await proxy.drop()
        await journal.nobody_writes()
        assert await journal.count(table) == (1 if committed else 0)
        service.start()
        answer: dict[str, Any] = (await request).json()
        assert answer["replayed"] is committed
        assert caller.lost > lost_before
        assert await journal.count(table) == 1
        return answer

    journal = Journal(database_url, caller.tenant)
    hold = await dies_during("/v1/reservations", reservation("the call", user="ada"), "reservations")
    path = f"/v1/reservations/{hold['reservation_id']}/settle"
    settled = await dies_during(path, settlement(400, 100), "usage_events")
    assert [(event.event_id, event.cost_nanos) for event in await journal.events()] == [
        (settled["event_id"], cost_nanos(400, 100))
    ]
    await journal.adds_up()
