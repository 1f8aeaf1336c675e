"""One embedded PostgreSQL for the whole test run; a test that needs a database gets a new copy of a template.

Set TOKEN_LEDGER_TEST_URL to the address of another server (as a superuser) to run the tests against it.
"""

import asyncio
import atexit
import fcntl
import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from token_ledger.storage.embedded import embedded_url, start_embedded
from token_ledger.storage.migrations import migrate
from token_ledger.storage.prices import seed_prices

TEMPLATE = "token_ledger_template"
MEMORY = Path("/dev/shm")
NEEDED_BYTES = 2 * 2**30
"""What must be free in memory, for a few databases at a time and the log of what is written."""
_numbers = itertools.count()


def pytest_sessionstart() -> None:
    """Let no collector run while tests are collected: nearly all that is made then stays until the end."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what was collected out of every later collection; each took half a second to look through it."""
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that a server of another version may fail."""
    for item in items:
        if "server_url" in getattr(item, "fixturenames", ()):
            item.add_marker("database")


@pytest.fixture(scope="session", autouse=True)
def own_spool(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What clients of tests leave unsent must not be sent by those of other test runs, or of this machine's user."""
    os.environ["TOKEN_LEDGER_SPOOL"] = str(tmp_path_factory.getbasetemp() / "spool")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """The address of a server with a migrated template database, shared by all workers of the test run."""
    given = os.environ.get("TOKEN_LEDGER_TEST_URL")
    shared = tmp_path_factory.getbasetemp().parent if worker_id != "master" else tmp_path_factory.getbasetemp()
    # The path of a unix socket must be short, and a temporary directory's may be long.
    mark = shared / "server-directory"
    with open(shared / "server.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if given is None:
            if not mark.exists():
                mark.write_text(tempfile.mkdtemp(prefix="tl-pg-", dir=fastest_directory()))
            directory = Path(mark.read_text())
            atexit.register(_remove_if_empty, directory)  # before the server's own, and so after it
            server = start_embedded(directory, keep_running=False)
            server.cleanup_mode = "delete"  # by the last worker, because memory must not stay taken
            url = embedded_url(server)
            asyncio.run(_keep_nothing(url))
        else:
            url = given
        asyncio.run(_make_template(url))
    return url


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    name: str = getattr(request.config, "workerinput", {}).get("workerid", "master")
    return name


@pytest.fixture(scope="session")
async def server(server_url: str) -> AsyncIterator[Any]:
    """A connection of the server's owner, which makes and drops databases."""
    connection = await asyncpg.connect(server_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database_url(server: Any, server_url: str, worker_id: str) -> AsyncIterator[str]:
    """The address of a new database with the schema and the price book, dropped after the test."""
    name = f"test_{worker_id}_{os.getpid()}_{next(_numbers)}"
    await server.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
    yield with_database(server_url, name)
    await server.execute(f"drop database if exists {name} with (force)")


def with_database(url: str, name: str) -> str:
    """Return the address of another database on the same server."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, parts.fragment))


def fastest_directory() -> Path | None:
    """Return where a server's files cost least, or None for the directory of temporary files.

    Every test makes and drops hundreds of files with its database. Some file systems on disks look through all that
    were lately deleted for each file that is made: most of the time that a database of its own costs a test.
    """
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= NEEDED_BYTES else None


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()


async def _keep_nothing(url: str) -> None:
    """Let a server write to the disk when it likes: its data is thrown away, and no test of this server crashes it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("alter system set fsync = off")
        await connection.execute("select pg_reload_conf()")
    finally:
        await connection.close()


async def _make_template(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("select 1 from pg_database where datname = $1", TEMPLATE):
            return
        await connection.execute(f"create database {TEMPLATE}_new")
        made = with_database(url, f"{TEMPLATE}_new")
        await migrate(made)
        await seed_prices(made)
        await connection.execute(f"alter database {TEMPLATE}_new rename to {TEMPLATE}")
    finally:
        await connection.close()
