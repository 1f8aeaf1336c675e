"""Service processes that end with their test, and tenants to call them as.

Tests that break nothing but a tenant's own calls share two processes and a database; whoever kills, freezes or cuts
something has processes of its own.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr

from tests.faults.clients import Caller
from tests.faults.processes import PEPPER, PrivatePostgres, ServiceProcess
from tests.faults.proxy import DatabaseProxy
from token_ledger.cli.setup import make_tenant
from token_ledger.config import Settings

StartService = Callable[..., ServiceProcess]
MakeCaller = Callable[..., Awaitable[Caller]]
TEMPLATE = "token_ledger_template"
_numbers = itertools.count()


@contextlib.contextmanager
def service_processes(directory: Path) -> Iterator[StartService]:
    """Start service processes and end them; none of them may log an error that nobody foresaw."""
    started: list[ServiceProcess] = []

    def start(database_url: str, **settings: str) -> ServiceProcess:
        started.append(ServiceProcess(database_url, directory, settings).start())
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
    """The address of a database that tests share, each with tenants of its own."""
    name = f"faults_{os.getpid()}"
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
        await connection.execute(f"drop database {name} with (force)")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def pair(
    shared_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[ServiceProcess, ServiceProcess]]:
    """Two processes on the shared database."""
    with service_processes(tmp_path_factory.mktemp("pair")) as start:
        first, second = start(shared_database_url), start(shared_database_url)
        await first.ready()
        await second.ready()
        yield first, second


@pytest.fixture
async def caller_of() -> AsyncIterator[MakeCaller]:
    """Make a tenant and a caller with its key, for some processes."""
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
    """Start a PostgreSQL for one test alone, empty."""
    # The path of a unix socket is short, and a temporary directory's may not be.
    with tempfile.TemporaryDirectory(prefix="tl-own-") as directory:
        server = PrivatePostgres(Path(directory))
        yield server
        server.end()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[DatabaseProxy]:
    """Put a proxy in front of the test's database; it refuses connections until it is started."""
    between = DatabaseProxy(database_url)
    yield between
    await between.stop()
