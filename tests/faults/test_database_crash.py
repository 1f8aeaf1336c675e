"""PostgreSQL crashes or freezes and comes back: the service answers 503 meanwhile and needs no restart."""

import asyncio

import asyncpg
import pytest

from tests.faults.clients import Caller, reservation
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import PATIENCE_SECONDS, PrivatePostgres, ServiceProcess, wait_until
from tests.faults.workload import Workload
from token_ledger.cli.connections import open_ledger
from token_ledger.cli.database import prepare_database
from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Recorded
from token_ledger.core.model.usage import Usage
from token_ledger.storage.tenants import add_tenant

CRASHES = 2


@pytest.fixture
async def service(postgres: PrivatePostgres, start_service: StartService) -> ServiceProcess:
    await asyncio.to_thread(prepare_database, postgres.url)
    started = start_service(postgres.url)
    await started.ready()
    return started


@pytest.fixture
async def caller(postgres: PrivatePostgres, service: ServiceProcess, caller_of: MakeCaller) -> Caller:
    return await caller_of(postgres.url, service)


async def test_a_crash_under_load_loses_nothing_and_needs_no_restart(
    postgres: PrivatePostgres, service: ServiceProcess, caller: Caller
) -> None:
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

        await wait_until(all_agents_were_refused, PATIENCE_SECONDS, "every agent got 503")
        await service.answers("/healthz", 200)
        await asyncio.to_thread(postgres.start)
        await service.ready()
        await more_acknowledged(workload)
    workload.stopping.set()
    await working

    assert {answer.json()["code"] for answer in caller.unavailable} <= {"unavailable", "outcome_unknown"}
    assert all(answer.headers["retry-after"] == "1" for answer in caller.unavailable)
    assert caller.lost == 0, "the service itself stayed up"
    await workload.is_booked(Journal(postgres.url, caller.tenant))


async def test_a_frozen_server_is_503_in_bounded_time_and_needs_no_restart(
    postgres: PrivatePostgres, service: ServiceProcess, caller: Caller
) -> None:
    """Every process of the server is suspended, so connecting works and nothing answers."""
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


@pytest.mark.parametrize("is_synced", [True, False])
async def test_what_need_not_last_by_itself_lasts_after_a_sync(postgres: PrivatePostgres, *, is_synced: bool) -> None:
    """A crash before that undoes all of it, and the same can be booked again."""
    await asyncio.to_thread(prepare_database, postgres.url)
    owner = await asyncpg.connect(postgres.url)
    await owner.execute("alter system set wal_writer_delay = '10s'")  # else it may be on disk before the crash
    await owner.execute("select pg_reload_conf()")
    await owner.close()
    event = Record("a-call", b"x", "batch", "data", "openai", "gpt-4o", Usage(1_000, 100), user="ada")
    async with open_ledger(postgres.url) as (database, commits):
        async with database.changing() as connection:
            tenant = await add_tenant(connection, "acme", "UTC")
        assert tenant is not None
        assert isinstance(await commits.submit(tenant, event, lasts=False), Recorded)
        if is_synced:
            await commits.sync(tenant)
        await asyncio.to_thread(postgres.crash)
    await asyncio.to_thread(postgres.start)
    journal = Journal(postgres.url, "acme")
    assert await journal.count("usage_events") == is_synced
    async with open_ledger(postgres.url) as (_, commits):
        again = await commits.submit(tenant, event)
    assert isinstance(again, Recorded)
    assert again.replayed == is_synced
    assert await journal.count("usage_events") == 1
    await journal.adds_up()


async def more_acknowledged(workload: Workload) -> None:
    """Wait until 100 more operations are acknowledged."""
    before = workload.acknowledged

    async def goes_on() -> bool:
        return workload.acknowledged > before + 100

    await wait_until(goes_on, PATIENCE_SECONDS, "the load goes on")
