"""Of all processes that claim to lead one does, as long as its connection lives, and then another."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.api.waiting import until
from tests.faults.proxy import DatabaseProxy
from token_ledger.storage.database import DatabaseAway
from token_ledger.storage.leadership import LEADER_LOCK, Leadership


@pytest.fixture
async def claims(database_url: str) -> AsyncIterator[list[Leadership]]:
    """Three processes' claims on one database."""
    made = [Leadership(database_url) for _ in range(3)]
    yield made
    for claim in made:
        claim.resign()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[DatabaseProxy]:
    between = DatabaseProxy(database_url)
    await between.start()
    yield between
    await between.stop()


async def _held(url: str) -> int:
    """Return how many sessions have the lock, and end nothing."""
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval(
            "select count(*) from pg_locks where locktype = 'advisory' and granted and objid = $1"
            " and database = (select oid from pg_database where datname = current_database())", LEADER_LOCK,
        )  # fmt: skip
        return count
    finally:
        await connection.close()


async def _end_leader(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.fetchval(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objid = $1"
            " and database = (select oid from pg_database where datname = current_database())", LEADER_LOCK,
        )  # fmt: skip
    finally:
        await connection.close()


async def test_one_of_three_leads_however_often_they_ask(claims: list[Leadership], database_url: str) -> None:
    first = await asyncio.gather(*(claim.claim() for claim in claims))
    assert sorted(first) == [False, False, True]
    followers = [claim for claim, leads in zip(claims, first, strict=True) if not leads]
    for _ in range(3):
        assert [await claim.claim() for claim in followers] == [False, False]
    assert await _held(database_url) == 1


async def test_who_resigns_makes_room_at_once(claims: list[Leadership]) -> None:
    assert await claims[0].claim()
    assert not await claims[1].claim()
    claims[0].resign()

    async def leads() -> bool:
        return await claims[1].claim()

    await until(leads, seconds=2)
    assert not await claims[0].claim()


async def test_who_loses_the_connection_knows_at_once_and_another_leads(
    claims: list[Leadership], database_url: str
) -> None:
    assert await claims[0].claim()
    holding = asyncio.create_task(claims[0].hold())
    await asyncio.sleep(0)
    await _end_leader(database_url)
    async with asyncio.timeout(0.5):
        await holding
    assert await claims[1].claim()
    assert not await claims[0].claim()


async def test_a_server_that_answers_no_more_has_no_leader(database_url: str, proxy: DatabaseProxy) -> None:
    """Connections stay open and nothing comes: the leader must not believe that it still leads."""
    claim = Leadership(proxy.url)
    assert await claim.claim()
    holding = asyncio.create_task(claim.hold())
    await asyncio.sleep(0)
    proxy.hang()
    begun = time.monotonic()
    async with asyncio.timeout(6):
        await holding
    assert time.monotonic() - begun < 4
    proxy.flow()


async def test_a_leader_is_away_from_a_database_that_is_away(proxy: DatabaseProxy) -> None:
    claim = Leadership(proxy.url)
    assert await claim.claim()
    await proxy.stop()
    await claim.hold()
    with pytest.raises(DatabaseAway, match="the lead can't be asked for"):
        await claim.claim()
    await proxy.start()

    async def leads() -> bool:
        return await claim.claim()

    await until(leads, seconds=5)
    claim.resign()


async def test_each_database_has_a_leader_of_its_own(claims: list[Leadership], server_url: str) -> None:
    elsewhere = Leadership(server_url)
    try:
        assert await claims[0].claim()
        assert await elsewhere.claim()
    finally:
        elsewhere.resign()
