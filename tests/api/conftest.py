"""Running services for the tests of the API: one shared by a module, or one per test."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.api.world import World, fresh, open_world
from tests.conftest import TEMPLATE, with_database


@asynccontextmanager
async def world_of_its_own(server_url: str, worker_id: str, directory: Path, **settings: Any) -> AsyncIterator[World]:
    """Run a service on a new database, which is dropped afterwards."""
    name = f"api_{worker_id}_{os.getpid()}_{fresh('world').replace('-', '_')}"
    owner = await asyncpg.connect(server_url)
    try:
        await owner.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
        async with open_world(with_database(server_url, name), directory, **settings) as opened:
            yield opened
    finally:
        await owner.execute(f"drop database if exists {name} with (force)")
        await owner.close()


@pytest.fixture(scope="module")
async def world(server_url: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A running service that the tests of one module share; each test uses its own names."""
    async with world_of_its_own(server_url, worker_id, tmp_path_factory.mktemp("service")) as opened:
        yield opened


@pytest.fixture
async def own_world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A running service for one test alone."""
    async with open_world(database_url, tmp_path) as opened:
        yield opened
