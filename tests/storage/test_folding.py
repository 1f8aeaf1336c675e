"""Roll-ups in segments: whatever is folded, and whenever, every report and every proof says the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.analytics.busy import Ledger, do_everything, open_ledger
from token_ledger.analytics.spend import spend_by
from token_ledger.analytics.verify import verify_database
from token_ledger.core.administration import EraseUser
from token_ledger.core.outcomes import Changed
from token_ledger.storage import bookings, tenants
from token_ledger.storage.database import Database
from token_ledger.worker.duties import Duties
from token_ledger.worker.erasure import Erasures

TABLES = ("hourly_usage", "daily_usage", "run_usage", "daily_tag_usage")
REPORTS = ("user", "agent_type", "model", "cost_center", "request_type")


@pytest.fixture
async def ledger(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    """A busy tenant of whose batches every one has a segment of its own."""
    monkeypatch.setattr(bookings, "SEGMENT_BITS", 0)
    monkeypatch.setattr(tenants, "SEGMENT_BITS", 0)
    async with open_ledger(database_url) as opened:
        await do_everything(opened)
        yield opened


async def said(ledger: Ledger) -> list[Any]:
    now = datetime.now(UTC)
    async with ledger.database.reading(ledger.tenant) as connection:
        found = [
            await spend_by(connection, ledger.tenant, group, now - timedelta(days=90), now + timedelta(days=1))
            for group in REPORTS
        ]
    return [(report["rows"], report["total"]) for report in found]


async def segments(ledger: Ledger, table: str) -> list[int]:
    rows = await ledger.owner.fetch(f"select distinct segment from {table} order by 1")
    return [row["segment"] for row in rows]


async def test_folding_changes_where_sums_stand_and_not_what_they_are(ledger: Ledger, database_url: str) -> None:
    before = await said(ledger)
    assert len(await segments(ledger, "daily_usage")) > 10
    duties = Duties(ledger.database, ledger.commits.submit)
    await duties.fold_rollups()
    last = await ledger.owner.fetchval("select sequence + 1 from tenant_ledgers where tenant_id = $1", ledger.tenant)
    for table in TABLES:
        assert await segments(ledger, table) in ([0], [0, last])
    assert await said(ledger) == before
    await ledger.settle(await ledger.hold(tags=(("team", "core"),)), 900, 100)
    await ledger.settle(await ledger.hold(tags=(("team", "core"),)), 900, 100)
    assert (await verify_database(database_url)).clean
    await duties.fold_rollups()
    assert (await verify_database(database_url)).clean
    assert await said(ledger) != before


async def test_several_may_fold_while_calls_are_booked(ledger: Ledger, database_url: str) -> None:
    async def book(user: str) -> None:
        for _ in range(20):
            await ledger.settle(await ledger.hold(user=user), 100, 10)

    async def fold() -> None:
        for _ in range(20):
            async with ledger.database.reading(ledger.tenant) as connection:
                await tenants.fold_rollups(connection, ledger.tenant, 3)

    await asyncio.gather(book("ada"), book("bob"), fold(), fold(), fold())
    report = await verify_database(database_url)
    assert report.clean, report.as_text()


async def test_who_is_erased_while_rows_are_folded_stays_nowhere(ledger: Ledger, database_url: str) -> None:
    folding = asyncio.create_task(Duties(ledger.database, ledger.commits.submit).fold_rollups())
    await ledger.ask(EraseUser("k", b"x", "ada", "root"), Changed)
    await folding
    await Erasures(ledger.database, heard_seconds=0).erase_users()
    assert await ledger.owner.fetchval("select count(*) from daily_usage where user_id = 'ada'") == 0
    assert (await verify_database(database_url)).clean


async def test_the_service_can_fold_but_not_delete_and_only_what_it_sees(ledger: Ledger, database_url: str) -> None:
    database = Database(database_url)
    try:
        with pytest.raises(Exception, match="is not one of this transaction"):
            async with database.reading() as connection:
                await tenants.fold_rollups(connection, ledger.tenant, 1)
        assert not await _folds(database, ledger, most=0)
    finally:
        await database.close()


async def _folds(database: Database, ledger: Ledger, most: int) -> bool:
    async with database.reading(ledger.tenant) as connection:
        rows: list[asyncpg.Record] = await ledger.owner.fetch("select * from daily_usage")
        await tenants.fold_rollups(connection, ledger.tenant, most)
    return bool(rows != await ledger.owner.fetch("select * from daily_usage"))
