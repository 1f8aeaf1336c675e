"""Roll-ups in segments: whatever is folded, and whenever, every report and every proof says the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.proof.every_kind import make_every_kind_of_row
from tests.proof.ledger import HOLD, Ledger, open_ledger
from tests.reports.reading import spend_by
from tests.storage.conftest import Copies
from token_ledger.core.batch.administration import EraseUser
from token_ledger.core.batch.commands import Lease, OpenRun, Step
from token_ledger.core.batch.outcomes import Changed, Granted, RunAnswer, StepTaken
from token_ledger.storage.upkeep import folding
from token_ledger.storage.write import rollups as written_rollups
from token_ledger.worker import rollups
from token_ledger.worker.erasures import Erasures
from token_ledger.worker.rollups import RollupFolding
from token_ledger.worker.slices import Slices

TABLES = ("hourly_usage", "daily_usage", "run_usage", "daily_tag_usage")
REPORTS = ("user", "agent_type", "model", "cost_center", "request_type")


async def _make_busy(url: str) -> None:
    """Make a busy tenant of whose batches every one has a segment of its own."""
    with pytest.MonkeyPatch.context() as patch:
        _put_each_batch_into_its_segment(patch)
        async with open_ledger(url) as opened:
            await make_every_kind_of_row(opened)


def _put_each_batch_into_its_segment(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(written_rollups, "SEGMENT_BITS", 0)
    patch.setattr(folding, "SEGMENT_BITS", 0)


@pytest.fixture
async def ledger(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    """The busy tenant."""
    _put_each_batch_into_its_segment(monkeypatch)
    async with copies(_make_busy) as url, open_ledger(url, is_new=False) as opened:
        yield opened


async def said(ledger: Ledger) -> list[Any]:
    now = datetime.now(UTC)
    found = [
        await spend_by(ledger.database, ledger.tenant, group, now - timedelta(days=90), now + timedelta(days=1))
        for group in REPORTS
    ]
    return [(report.rows, report.total) for report in found]


async def segments(ledger: Ledger, table: str) -> list[int]:
    rows = await ledger.owner.fetch(f"select distinct segment from {table} order by 1")
    return [row["segment"] for row in rows]


async def test_folding_changes_where_sums_stand_and_not_what_they_are(ledger: Ledger) -> None:
    before = await said(ledger)
    assert len(await segments(ledger, "daily_usage")) > 10
    duty = RollupFolding(ledger.database)
    await duty.fold_rollups()
    last = await ledger.owner.fetchval("select sequence + 1 from tenant_ledgers where tenant_id = $1", ledger.tenant)
    for table in TABLES:
        assert await segments(ledger, table) in ([0], [0, last])
    assert await said(ledger) == before
    await ledger.settle(await ledger.hold(tags=(("team", "core"),)), 900, 100)
    await ledger.settle(await ledger.hold(tags=(("team", "core"),)), 900, 100)
    await ledger.is_clean()
    await duty.fold_rollups()
    await ledger.is_clean()
    assert await said(ledger) != before


async def test_a_batch_that_only_draws_adds_to_its_own_segment(ledger: Ledger) -> None:
    await RollupFolding(ledger.database).fold_rollups()
    lent = await ledger.ask(Lease("k", b"x", **HOLD, user="bob", calls=3), Granted)
    before = await ledger.owner.fetch("select * from daily_usage where segment = 0 order by user_id")
    for _ in range(2):
        await ledger.settle(lent.reservation.reservation_id, 10, 10, part=True)
    assert await ledger.owner.fetch("select * from daily_usage where segment = 0 order by user_id") == before
    last = await ledger.owner.fetchval("select sequence + 1 from tenant_ledgers where tenant_id = $1", ledger.tenant)
    for table in ("hourly_usage", "daily_usage"):
        assert (await segments(ledger, table))[-2:] == [last - 1, last]


async def test_several_may_fold_while_calls_are_booked(ledger: Ledger) -> None:
    async def book(user: str) -> None:
        for _ in range(20):
            await ledger.settle(await ledger.hold(user=user), 100, 10)

    async def fold() -> None:
        for _ in range(20):
            async with ledger.database.reading(ledger.tenant) as connection:
                for each in await folding.find_unfolded(connection, ledger.tenant):
                    await folding.fold(connection, ledger.tenant, each, each.keys[:3])

    await asyncio.gather(book("ada"), book("bob"), fold(), fold(), fold())
    await ledger.is_clean()


async def test_who_is_erased_while_rows_are_folded_stays_nowhere(ledger: Ledger) -> None:
    folding = asyncio.create_task(RollupFolding(ledger.database).fold_rollups())
    await ledger.ask(EraseUser("k", b"x", "ada", "root"), Changed)
    await folding
    await Erasures(ledger.database, visible_seconds=0).erase_users()
    assert await ledger.owner.fetchval("select count(*) from daily_usage where user_id = 'ada'") == 0
    await ledger.is_clean()


async def test_the_service_can_fold_but_only_what_it_sees_and_what_has_ended(ledger: Ledger) -> None:
    unseen = folding.Unfolded("daily_usage", 1, [{}])
    with pytest.raises(Exception, match="is not one of this transaction"):
        async with ledger.database.reading() as connection:
            await folding.fold(connection, ledger.tenant, unseen, unseen.keys)
    open_yet = folding.Unfolded("daily_usage", 1 << 40, [{}])
    with pytest.raises(Exception, match="batches still add to segment"):
        async with ledger.database.reading(ledger.tenant) as connection:
            await folding.fold(connection, ledger.tenant, open_yet, open_yet.keys)


async def test_much_is_folded_in_slices_that_each_leave_books_that_verify(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "SEGMENTS_AT_ONCE", 20)
    monkeypatch.setattr(folding, "ROWS_AT_ONCE", 25)
    monkeypatch.setattr(rollups, "Slices", lambda size, largest: Slices(2, 2))
    before, sizes = await said(ledger), []

    async def fold(connection: Any, tenant: Any, unfolded: folding.Unfolded, keys: Any) -> None:
        sizes.append(len(keys))
        await folding.fold(connection, tenant, unfolded, keys)
        if len(sizes) % 10 == 1:
            await connection.commit()
            await ledger.is_clean()
            assert await said(ledger) == before

    monkeypatch.setattr(rollups, "fold", fold)
    await RollupFolding(ledger.database).fold_rollups()
    assert max(sizes) == 2
    assert len(sizes) > 20
    last = await ledger.owner.fetchval("select sequence + 1 from tenant_ledgers where tenant_id = $1", ledger.tenant)
    for table in TABLES:
        assert await segments(ledger, table) in ([0], [0, last])
    assert await said(ledger) == before


async def test_calls_are_booked_between_the_slices(ledger: Ledger) -> None:
    await ledger.owner.execute(
        "insert into daily_usage select tenant_id, day, user_id || n, agent_type, model, request_type, calls,"
        " input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nanos, segment"
        " from (select * from daily_usage where user_id = 'ada' limit 1) as one, generate_series(1, 20000) as n"
    )
    run = (await ledger.ask(OpenRun("k", b"x"), RunAnswer)).run.run_id
    folded = asyncio.create_task(RollupFolding(ledger.database).fold_rollups())
    booked = 0
    while not folded.done():
        await ledger.ask(Step("k", b"x", run, "wait"), StepTaken)
        booked += 1
    await folded
    assert booked > 5, "folded at once"
