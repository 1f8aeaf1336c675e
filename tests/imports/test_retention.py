"""Retention of imported history: sums stay, and an import of what may be among them is kept and never booked twice."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.imports.test_booking import imported
from tests.imports.test_unfinished_calls import spent
from tests.proof.ledger import Ledger, open_ledger
from tests.reports.reading import spend_by
from token_ledger.core.batch import administration, outcomes
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.window import FIRST_INSTANT, LAST_INSTANT, Window
from token_ledger.imports.rows import CallRow, Place
from token_ledger.proof.verify import verify_database
from token_ledger.storage.upkeep import retention
from token_ledger.storage.upkeep.periods import load_periods
from token_ledger.wire.commands.events import event_commands
from token_ledger.worker.retention import Retention

MONTHS = 3
AGO = 150
"""How many days ago the first import was made: longer than three whole months and the current one."""
BEGUN = datetime.now(UTC)


def calls(*days_ago: int, model: str = "gpt-5.4", name: str = "call") -> list[CallRow]:
    """Return a call of each of so many days before today."""
    return [
        CallRow(
            Place("calls.csv", days),
            {
                "source": "elsewhere", "idempotency_key": f"{name}-{days}", "agent_type": "data", "provider": "openai",
                "model": model, "user": "ada", "usage": {"input_tokens": 1_000, "output_tokens": 10},
                "occurred_at": (BEGUN - timedelta(days=days)).isoformat(),
            },
        )
        for days in days_ago
    ]  # fmt: skip


OLD = (AGO, AGO + 1, AGO + 40, AGO + 400, AGO + 401, AGO + 800)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """A tenant that imported calls of up to two years before, five months ago; at the end its books are clean."""
    async with open_ledger(database_url) as opened:
        for window in (Window.DAY, Window.YEAR, Window.TOTAL):
            budget = administration.CreateBudget("k", b"x", window, (("user", "*"),), Limits(tokens=5_000), window)
            await opened.ask(budget, outcomes.BudgetAnswer)
        first = await imported(opened, calls(*(days - AGO for days in OLD)))
        assert first.booked == len(OLD)
        await opened.move_back(AGO)
        # The keys are those of the same calls, whose instants have moved with them.
        for call, before in zip(calls(*OLD), calls(*(days - AGO for days in OLD)), strict=True):
            [command], _ = event_commands(call.event, "event")
            await opened.owner.execute(
                "update operation_keys set key = $1, fingerprint = $2 where key = $3",
                command.key, command.fingerprint, before.event["idempotency_key"],
            )  # fmt: skip
        yield opened
        await opened.commits.drain()
        await clean(database_url)


async def clean(url: str) -> None:
    report = await verify_database(url)
    assert report.clean, report.as_text()


async def reports(ledger: Ledger) -> list[Any]:
    return [
        (found.rows, found.total)
        for group in ("user", "agent_type", "model", "cost_center", "request_type")
        for found in [await spend_by(ledger.database, ledger.tenant, group, FIRST_INSTANT, LAST_INSTANT)]
    ]


async def events(ledger: Ledger) -> int:
    return int(await ledger.owner.fetchval("select count(*) from usage_events"))


async def test_imported_history_goes_by_when_it_was_imported_and_its_sums_stay(
    ledger: Ledger, database_url: str
) -> None:
    young = await imported(ledger, calls(500, 501, name="young"))
    assert young.booked == 2
    before = await reports(ledger)
    accounts = await ledger.owner.fetch("select * from accounts order by account_id")
    await Retention(ledger.database, MONTHS).drop_months()
    assert await events(ledger) == 2
    assert await reports(ledger) == before
    assert await ledger.owner.fetch("select * from accounts order by account_id") == accounts
    await clean(database_url)


async def test_an_import_again_after_its_keys_are_gone_books_nothing_twice(ledger: Ledger, database_url: str) -> None:
    known = await imported(ledger, calls(*OLD))
    assert (known.booked, known.duplicates) == (0, len(OLD))
    await Retention(ledger.database, MONTHS).drop_months()
    await ledger.restart()
    before = await reports(ledger)
    for dry_run in (True, False, False):
        again = await imported(ledger, calls(*OLD), dry_run=dry_run)
        assert (again.booked, again.duplicates, again.quarantined) == (0, 0, {"time_out_of_range": len(OLD)})
        assert again.rows == len(OLD)
        assert "kept as sums only" in again.examples["time_out_of_range"][0]
    assert await ledger.owner.fetchval("select count(*) from quarantine") == len(OLD)
    assert await reports(ledger) == before
    await clean(database_url)


async def test_other_days_beyond_retention_are_still_imported(ledger: Ledger) -> None:
    await Retention(ledger.database, MONTHS).drop_months()
    never_seen = await imported(ledger, calls(AGO + 300, AGO + 500, AGO + 900, name="new"))
    assert (never_seen.booked, never_seen.quarantined) == (3, {})
    again = await imported(ledger, calls(AGO + 300, AGO + 500, AGO + 900, name="new"))
    assert (again.booked, again.duplicates) == (0, 3)
    together = await imported(ledger, calls(AGO + 400, AGO + 301, model="gpt-4o", name="another"))
    assert (together.booked, together.quarantined) == (1, {"time_out_of_range": 1})


async def test_what_was_made_after_the_last_call_that_is_gone_was_not_booked_before(ledger: Ledger) -> None:
    """Also on the day of that call, which has sums."""
    await Retention(ledger.database, MONTHS).drop_months()
    cut = await ledger.owner.fetchval("select booked_at from checkpoints")
    for minutes, expected in ((10, 1), (-10, 0)):
        [call] = calls(AGO, name=f"{minutes} minutes later")
        at = cut + timedelta(minutes=minutes)
        again = await imported(ledger, [CallRow(call.place, {**call.event, "occurred_at": at.isoformat()})])
        days = "select count(distinct day) from daily_checkpoints where day > $1 and day <= $2"
        is_in_sums = await ledger.owner.fetchval(days, at - timedelta(hours=24), at)
        assert again.booked == (expected or 1 - is_in_sums)


async def test_what_is_kept_is_known_by_its_key(ledger: Ledger) -> None:
    await imported(ledger, calls(*OLD[:2], 20, name="young"))
    await Retention(ledger.database, MONTHS).drop_months()
    # Of days in sums, and imported since: their keys are there.
    again = await imported(ledger, calls(*OLD[:2], 20, name="young"))
    assert (again.booked, again.duplicates) == (0, 3)
    recent = await imported(ledger, calls(1, 30, name="recent"))
    assert (recent.booked, recent.quarantined) == (2, {})


async def test_while_keys_are_deleted_nothing_is_booked_twice(ledger: Ledger, database_url: str) -> None:
    """After each slice of giving up the months, an import of the same finds keys or sums."""
    before = (await spent(ledger)).calls
    async with ledger.database.reading(ledger.tenant) as connection:
        periods = await load_periods(connection, ledger.tenant)
    added = 1
    while added:
        async with ledger.database.reading(ledger.tenant) as connection:
            added = await retention.add_to_checkpoint(connection, ledger.tenant, periods, MONTHS, 2)
        await imported(ledger, calls(*OLD))
        assert (await spent(ledger)).calls == before
    place: Any = None
    while True:
        async with ledger.database.reading(ledger.tenant) as connection:
            _, place = await retention.forget(connection, ledger.tenant, "operation_keys", place, 2)
        await imported(ledger, calls(*OLD))
        assert (await spent(ledger)).calls == before
        if place is None:
            break
    await Retention(ledger.database, MONTHS).drop_months()
    await clean(database_url)
