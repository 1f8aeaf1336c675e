"""PostgreSQL is killed under load and comes back: 503 meanwhile, and no restart of the service is needed."""

import asyncio

from tests.faults.clients import reservation
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import ANSWER_SECONDS, PrivatePostgres, wait_until
from tests.faults.workload import Workload
from token_ledger.cli.setup import prepare_database

CRASHES = 2


async def test_a_crash_under_load_loses_nothing_and_heals_by_itself(
    postgres: PrivatePostgres, start_service: StartService, caller_of: MakeCaller
) -> None:
    await asyncio.to_thread(prepare_database, postgres.url)
    service = start_service(postgres.url)
    await service.ready()
    caller = await caller_of(postgres.url, service)
    await caller.open_budget("user-1", tokens=30_000)
    workload = Workload(caller, agents=16)
    working = asyncio.create_task(workload.run())
    for _ in range(CRASHES):
        await more_acknowledged(workload)
        refused_before = len(caller.unavailable)
        await asyncio.to_thread(postgres.crash)
        await service.answers("/readyz", 503)

        async def all_agents_were_refused(before: int = refused_before) -> bool:
            return len(caller.unavailable) >= before + workload.agents

        await wait_until(all_agents_were_refused, ANSWER_SECONDS, "every agent is told that the database is away")
        await service.answers("/healthz", 200)
        await asyncio.to_thread(postgres.start)
        await service.ready()
        await more_acknowledged(workload)
    workload.stopping.set()
    await working

    assert {answer.json()["code"] for answer in caller.unavailable} <= {"unavailable", "outcome_unknown"}
    assert all(answer.headers["retry-after"] == "1" for answer in caller.unavailable)
    assert caller.slowest_seconds < ANSWER_SECONDS
    assert caller.lost == 0, "the service itself never went away"
    await workload.is_booked(Journal(postgres.url, caller.tenant))


async def test_a_frozen_server_is_503_in_bounded_time_and_heals_by_itself(
    postgres: PrivatePostgres, start_service: StartService, caller_of: MakeCaller
) -> None:
    """Every process of the server is stopped, so connecting works and nothing ever answers."""
    await asyncio.to_thread(prepare_database, postgres.url)
    service = start_service(postgres.url)
    await service.ready()
    caller = await caller_of(postgres.url, service)
    bodies = [reservation(f"call-{number}", user="ada") for number in range(8)]
    assert (await caller.post("/v1/reservations", bodies[0])).status_code == 201
    with postgres.frozen():
        answers = await asyncio.gather(*(caller.post("/v1/reservations", body) for body in bodies))
        assert {(answer.status_code, answer.headers.get("retry-after")) for answer in answers} == {(503, "1")}
    await service.ready()
    again = await asyncio.gather(*(caller.insist("/v1/reservations", body) for body in bodies))
    assert {answer.status_code for answer in again} == {201}
    journal = Journal(postgres.url, caller.tenant)
    assert await journal.count("reservations") == len(bodies)
    await journal.adds_up()


async def more_acknowledged(workload: Workload) -> None:
    """Wait until the load goes on."""
    before = workload.acknowledged

    async def goes_on() -> bool:
        return workload.acknowledged > before + 100

    await wait_until(goes_on, 30, "the load goes on")
