"""PostgreSQL is there and refuses: it is read-only, full, or ends connections. Spend reported meanwhile is booked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.faults.clients import Caller
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import PATIENCE_SECONDS, PrivatePostgres, ServiceProcess, wait_until
from tests.faults.workload import Workload
from token_ledger.cli.database import prepare_database

FULL = """
create function fail() returns trigger language plpgsql as
$$ begin raise exception 'could not extend file' using errcode = '53100'; end $$
"""
EVERYTHING = ("usage_events", "reservations", "quarantine", "operation_keys", "write_probes")


@asynccontextmanager
async def under_load(url: str, caller: Caller) -> AsyncIterator[Workload]:
    """Let agents call within the block; afterwards the books have what was acknowledged, once each."""
    await caller.open_budget("user-1", tokens=30_000)
    workload = Workload(caller, agents=16)
    working = asyncio.create_task(workload.run())
    await more_acknowledged(workload)
    yield workload
    await more_acknowledged(workload)
    workload.stopping.set()
    await working
    assert {answer.json()["code"] for answer in caller.unavailable} <= {"unavailable", "outcome_unknown"}
    assert all(answer.headers["retry-after"] == "1" for answer in caller.unavailable)
    assert caller.lost == 0, "no connection was closed without an answer"
    await workload.is_booked(Journal(url, caller.tenant))
    assert await Journal(url, caller.tenant).count("quarantine") == 0, "nothing was kept that could be booked"


async def more_acknowledged(workload: Workload) -> None:
    """Wait until 100 more operations are acknowledged."""
    before = workload.acknowledged

    async def goes_on() -> bool:
        return workload.acknowledged > before + 100

    await wait_until(goes_on, PATIENCE_SECONDS, "the load goes on")


async def everyone_was_refused(workload: Workload, caller: Caller) -> None:
    """Wait until every agent was told to try again."""
    before = len(caller.unavailable)

    async def was() -> bool:
        return len(caller.unavailable) >= before + workload.agents

    await wait_until(was, PATIENCE_SECONDS, "every agent got 503")


async def test_a_server_that_is_read_only_for_a_while_loses_nothing(
    postgres: PrivatePostgres, start_service: StartService, caller_of: MakeCaller
) -> None:
    await asyncio.to_thread(prepare_database, postgres.url)
    service = start_service(postgres.url)
    await service.ready()
    caller = await caller_of(postgres.url, service)

    async def set_read_only(value: str) -> None:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(f"alter system set default_transaction_read_only = {value}")
        await connection.execute("select pg_reload_conf()")
        await connection.close()

    async with under_load(postgres.url, caller) as workload:
        for _ in range(2):
            await set_read_only("on")
            await everyone_was_refused(workload, caller)
            await service.answers("/readyz", 503)
            assert "read-only" in (await caller.get("/readyz")).json()["detail"]
            await service.answers("/healthz", 200)
            assert (await caller.get("/v1/accounts")).status_code == 200, "reads go on"
            await set_read_only("off")
            await service.ready()
            await more_acknowledged(workload)


Break = Callable[[asyncpg.Connection], Awaitable[object]]


async def fill(owner: asyncpg.Connection) -> None:
    await owner.execute(FULL)
    for table in EVERYTHING:
        await owner.execute(f"create trigger full_disk before insert on {table} execute function fail()")


async def clear(owner: asyncpg.Connection) -> None:
    for table in EVERYTHING:
        await owner.execute(f"drop trigger full_disk on {table}")


@pytest.fixture
async def service(database_url: str, start_service: StartService) -> ServiceProcess:
    started = start_service(database_url)
    await started.ready()
    return started


async def test_a_full_disk_loses_nothing(database_url: str, service: ServiceProcess, caller_of: MakeCaller) -> None:
    caller = await caller_of(database_url, service)
    owner = await asyncpg.connect(database_url)
    try:
        async with under_load(database_url, caller) as workload:
            await fill(owner)
            await everyone_was_refused(workload, caller)
            await service.answers("/readyz", 503)
            assert "no room" in (await caller.get("/readyz")).json()["detail"]
            await clear(owner)
            await service.ready()
    finally:
        await owner.close()


async def test_ending_all_connections_again_and_again_loses_nothing(
    database_url: str, service: ServiceProcess, caller_of: MakeCaller
) -> None:
    caller = await caller_of(database_url, service)
    journal = Journal(database_url, caller.tenant)
    async with under_load(database_url, caller) as workload:
        for _ in range(5):
            await journal.fetch(
                "select pg_terminate_backend(pid), $1::text from pg_stat_activity"
                " where datname = current_database() and application_name like 'token-ledger %'"
            )
            await more_acknowledged(workload)


async def test_a_database_that_takes_no_connections_for_a_while_loses_nothing(
    database_url: str, server_url: str, service: ServiceProcess, caller_of: MakeCaller
) -> None:
    caller = await caller_of(database_url, service)
    name = urlsplit(database_url).path.removeprefix("/")
    server = await asyncpg.connect(server_url)
    try:
        async with under_load(database_url, caller) as workload:
            await server.execute(f"alter database {name} allow_connections false")
            await server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
            await everyone_was_refused(workload, caller)
            await service.answers("/readyz", 503)
            await server.execute(f"alter database {name} allow_connections true")
            await service.ready()
    finally:
        await server.execute(f"alter database {name} allow_connections true")
        await server.close()
