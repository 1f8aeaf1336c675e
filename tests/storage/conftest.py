"""A database that the tests of one module share, where making one for each would take too long."""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.conftest import TEMPLATE, with_database

OLDEST = timedelta(minutes=2)
"""How old what a copy has may be: nothing in it has expired meanwhile."""
_numbers = itertools.count()
Fill = Callable[[str], Awaitable[None]]
Copies = Callable[[Fill], AbstractAsyncContextManager[str]]


async def make_database(server_url: str, name: str, template: str) -> str:
    """Make a database and return its address."""
    await on_server(server_url, f"create database {name} template {template} strategy file_copy")
    return with_database(server_url, name)


async def on_server(server_url: str, statement: str) -> None:
    """Run a statement outside a transaction, as the owner of the server."""
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def shared_url(server_url: str, worker_id: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The address of a migrated database for the tests of one module."""
    name = f"{request.module.__name__.rsplit('.', 1)[-1]}_{worker_id}_{os.getpid()}"
    yield await make_database(server_url, name, TEMPLATE)
    await on_server(server_url, f"drop database {name} with (force)")


@pytest.fixture
async def empty_url(server_url: str, worker_id: str) -> AsyncIterator[str]:
    """The address of a database with nothing in it."""
    name = f"empty_{worker_id}_{os.getpid()}"
    yield await make_database(server_url, name, "template0")
    await on_server(server_url, f"drop database {name} with (force)")


@pytest.fixture(scope="module")
async def copies(server_url: str, worker_id: str) -> AsyncIterator[Copies]:
    """Makes databases that a function has filled, of which it fills one and the others are copies.

    Another is filled when an hour has begun since, because windows of budgets have ended with it, or time has passed.
    """
    filled: dict[Fill, tuple[str, datetime]] = {}
    originals: list[str] = []

    def another() -> str:
        return f"copy_{worker_id}_{os.getpid()}_{next(_numbers)}"

    async def original(fill: Fill) -> str:
        name, since = filled.get(fill, ("", datetime.min.replace(tzinfo=UTC)))
        now = datetime.now(UTC)
        if now - since > OLDEST or now.hour != since.hour:
            name = another()
            originals.append(name)
            await fill(await make_database(server_url, name, TEMPLATE))
            filled[fill] = (name, now)
        return name

    @asynccontextmanager
    async def copy(fill: Fill) -> AsyncIterator[str]:
        name = another()
        yield await make_database(server_url, name, await original(fill))
        await on_server(server_url, f"drop database {name} with (force)")

    yield copy
    for name in originals:
        await on_server(server_url, f"drop database {name} with (force)")
