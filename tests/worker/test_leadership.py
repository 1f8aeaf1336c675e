"""Of all processes that claim the lead, one has it, until its connection ends; then another gets it."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.api.waiting import PATIENCE_SECONDS, until
from tests.faults.proxy import DatabaseProxy
from token_ledger.storage.clocks import steady_seconds
from token_ledger.storage.database import DatabaseAway
from token_ledger.storage.tenant_lock import SILENT_SECONDS
from token_ledger.storage.upkeep import leadership
from token_ledger.storage.upkeep.leadership import LEADER_LOCK, Leadership, NotLeading


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
    """Return how many sessions hold the lock."""
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


async def test_after_a_resignation_another_leads_at_once(claims: list[Leadership]) -> None:
    assert await claims[0].claim()
    assert not await claims[1].claim()
    claims[0].resign()

    async def leads() -> bool:
        return await claims[1].claim()

    await until(leads)
    assert not await claims[0].claim()


async def test_a_leader_notices_a_lost_connection_at_once_and_another_leads(
    claims: list[Leadership], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, which is not when it next asks the server whether it is still there."""
    monkeypatch.setattr(leadership, "BEAT_SECONDS", 3_600)
    assert await claims[0].claim()
    holding = asyncio.create_task(claims[0].hold())
    await asyncio.sleep(0)
    await _end_leader(database_url)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await holding
    assert await claims[1].claim()
    assert not await claims[0].claim()


async def test_a_leader_gives_up_when_the_server_stops_answering(database_url: str, proxy: DatabaseProxy) -> None:
    """The connection stays open but no answer comes: the leader must not believe that it still leads."""
    claim = Leadership(proxy.url)
    assert await claim.claim()
    holding = asyncio.create_task(claim.hold())
    await asyncio.sleep(0)
    proxy.hang()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await holding
    proxy.flow()


async def test_the_lead_ends_with_the_database_and_can_be_claimed_when_it_is_back(proxy: DatabaseProxy) -> None:
    claim = Leadership(proxy.url)
    assert await claim.claim()
    await proxy.stop()
    await claim.hold()
    with pytest.raises(DatabaseAway, match="the lead can't be asked for"):
        await claim.claim()
    await proxy.start()

    async def leads() -> bool:
        return await claim.claim()

    await until(leads)
    claim.resign()


async def test_the_server_ends_the_session_of_a_leader_that_says_nothing(
    claims: list[Leadership], database_url: str
) -> None:
    """It answers no longer, but its connection stays open."""
    assert await claims[0].claim()
    claims[0].check()

    async def leads() -> bool:
        return await claims[1].claim()

    await until(leads)
    with pytest.raises(NotLeading):
        claims[0].check()
    assert await _held(database_url) == 1


async def test_a_lease_is_over_before_the_server_ends_the_session(
    claims: list[Leadership], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = steady_seconds()
    monkeypatch.setattr(leadership, "steady_seconds", lambda: now)
    assert await claims[0].claim()
    now += leadership.LEASE_SECONDS - 0.1
    claims[0].check()
    now += 0.1
    with pytest.raises(NotLeading):
        claims[0].check()
    assert leadership.LEASE_SECONDS + SILENT_SECONDS <= leadership.SILENT_LEADER_SECONDS
    async with asyncio.timeout(PATIENCE_SECONDS):
        await claims[0].hold()  # it does not ask whether the connection is still there
    await until(claims[1].claim)  # the server takes a moment to notice that the connection is closed


async def test_each_database_has_a_leader_of_its_own(claims: list[Leadership], server_url: str) -> None:
    elsewhere = Leadership(server_url)
    try:
        assert await claims[0].claim()
        assert await elsewhere.claim()
    finally:
        elsewhere.resign()
