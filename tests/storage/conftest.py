"""A database that the tests of one module share, where making one for each would take too long."""

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import TEMPLATE, with_database


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
