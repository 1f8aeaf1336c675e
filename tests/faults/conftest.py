"""Fixtures: service processes that end with their test, and callers with tenants of their own.

Tests that break nothing outside their tenant share two processes and a database. Tests that kill, freeze or disconnect
something start their own.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from tests.conftest import TEMPLATE, with_database
from tests.faults.clients import Caller
from tests.faults.processes import COMMAND, PEPPER, PrivatePostgres, ServiceProcess
from tests.faults.proxy import DatabaseProxy
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings

StartService = Callable[..., ServiceProcess]
MakeCaller = Callable[..., Awaitable[Caller]]
_numbers = itertools.count()


@contextlib.contextmanager
def service_processes(directory: Path) -> Iterator[StartService]:
    """Start service processes within the block; none of them may log an unexpected error."""
    started: list[ServiceProcess] = []

    def start(database_url: str, *, command: Sequence[str | Path] = (COMMAND,), **settings: str) -> ServiceProcess:
        started.append(ServiceProcess(database_url, directory, settings, command=command).start())
        return started[-1]

    try:
        yield start
    finally:
        for service in started:
            service.end()
    for service in started:
        assert service.unexpected_errors() == []


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Start service processes for one test."""
    with service_processes(tmp_path) as start:
        yield start


@pytest.fixture(scope="session")
async def shared_database_url(server_url: str) -> AsyncIterator[str]:
    """The address of a database shared by tests, each with its own tenants."""
    name = f"faults_{os.getpid()}"
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
        yield with_database(server_url, name)
        await connection.execute(f"drop database {name} with (force)")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def pair(
    shared_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[ServiceProcess, ServiceProcess]]:
    """Two service processes on the shared database."""
    with service_processes(tmp_path_factory.mktemp("pair")) as start:
        first, second = start(shared_database_url), start(shared_database_url)
        await first.ready()
        await second.ready()
        yield first, second


@pytest.fixture
async def caller_of() -> AsyncIterator[MakeCaller]:
    """Make a tenant, and a caller with its key that sends to the given processes."""
    made: list[Caller] = []

    async def make(database_url: str, *services: ServiceProcess) -> Caller:
        tenant = f"tenant-{next(_numbers)}"
        _, key = await make_tenant(Settings(key_pepper=SecretStr(PEPPER)), database_url, tenant, "UTC")
        made.append(Caller([service.url for service in services], key, tenant))
        return made[-1]

    yield make
    for caller in made:
        await caller.close()


@pytest.fixture
def postgres() -> Iterator[PrivatePostgres]:
    """Start an empty PostgreSQL for one test."""
    # The path of a unix socket must be short, and a temporary directory's may be long.
    with tempfile.TemporaryDirectory(prefix="tl-own-") as directory:
        server = PrivatePostgres(Path(directory))
        yield server
        server.end()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[DatabaseProxy]:
    """A proxy in front of the test's database; it refuses connections until it is started."""
    between = DatabaseProxy(database_url)
    yield between
    await between.stop()
