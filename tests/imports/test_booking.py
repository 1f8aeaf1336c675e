"""Booking an import: every row is counted once, none is booked twice, and a trial says what booking would come to."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.proof.ledger import Ledger, open_ledger
from tests.reports.reading import spend_by
from token_ledger.core.batch import administration, outcomes
from token_ledger.core.batch.commands import Command, Report
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.window import FIRST_INSTANT, Window
from token_ledger.imports.booking import WAITING_CALLS, book, read, try_out
from token_ledger.imports.rows import CallRow, Place, Row, SkippedRow, SkipReason
from token_ledger.imports.spool import Spool
from token_ledger.imports.summary import Summary, totals
from token_ledger.ledger.errors import Unavailable
from token_ledger.proof.verify import verify_database
from token_ledger.storage.calendars import load_calendar

NOW = datetime.now(UTC)


def call(number: int, **fields: Any) -> CallRow:
    event = {
        "source": "elsewhere", "idempotency_key": f"call-{number}", "agent_type": "data", "provider": "openai",
        "model": "gpt-5.4", "user": ("ada", "bob")[number % 2], "usage": {"input_tokens": 1_000, "output_tokens": 10},
        "occurred_at": (NOW - timedelta(days=number % 400)).isoformat(), **fields,
    }  # fmt: skip
    return CallRow(Place("calls.csv", number), event)


BAD_USAGE = call(3, usage={"input_tokens": -5, "output_tokens": 0})
TOO_OLD = call(5, occurred_at="1999-12-31T00:00:00Z")
WITHOUT_KEY = call(6, idempotency_key="")
ROWS: Sequence[Row] = (
    *(call(number) for number in range(10, 40)),
    BAD_USAGE, TOO_OLD, WITHOUT_KEY,
    call(41, model="nobody-knows"),
    call(42, response_id="resp_1"), call(43, response_id="resp_1", user="ada"),
    call(10),
    SkippedRow(Place("calls.csv", 44), SkipReason.NO_CALL, rows=7),
    SkippedRow(Place("calls.csv", 51), SkipReason.SAME_CALL),
)  # fmt: skip


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """A tenant; at the end its books are clean."""
    async with open_ledger(database_url) as opened:
        for window in (Window.DAY, Window.YEAR, Window.TOTAL):
            budget = administration.CreateBudget("k", b"x", window, (("user", "*"),), Limits(tokens=5_000), window)
            await opened.ask(budget, outcomes.BudgetAnswer)
        yield opened
        await opened.commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def imported(ledger: Ledger, rows: Iterable[Row], *, dry_run: bool = False) -> Summary:
    async with ledger.database.reading(ledger.tenant) as connection:
        calendar, _ = await load_calendar(connection, ledger.tenant)
    summary, told = Summary(calendar), list[int]()

    async def next_piece(calls: int) -> None:
        told.append(calls)

    with Spool() as spool:
        read(rows, spool, summary, told.append)
        if dry_run:

            async def decide(commands: Sequence[Command]) -> Sequence[Outcome]:
                return await ledger.commits.try_out(ledger.tenant, commands)

            await try_out(spool.calls(), decide, FIRST_INSTANT, summary, next_piece)
        else:
            begin = partial(ledger.commits.begin_reports, ledger.tenant)
            await book(spool.calls(), begin, FIRST_INSTANT, summary, next_piece)
        assert sum(told) == summary.rows + spool.count
    return summary


async def test_every_row_is_counted_once(ledger: Ledger) -> None:
    summary = await imported(ledger, ROWS)
    assert (summary.booked, summary.duplicates) == (32, 2)
    assert summary.quarantined == {"invalid_request": 1, "time_out_of_range": 1}
    assert summary.refused == {"invalid_request": 1}
    assert summary.skipped == {SkipReason.NO_CALL: 7, SkipReason.SAME_CALL: 1}
    assert summary.rows == sum(each.rows if isinstance(each, SkippedRow) else 1 for each in ROWS)
    assert [text.split(":")[0] for text in summary.examples["time_out_of_range"]] == ["calls.csv, line 5"]


async def test_a_trial_says_what_booking_would_come_to_and_books_nothing(ledger: Ledger) -> None:
    trial = await imported(ledger, ROWS, dry_run=True)
    assert await ledger.owner.fetchval("select count(*) from usage_events") == 0
    assert await ledger.owner.fetchval("select count(*) from accounts") == 0
    booked = await imported(ledger, ROWS)
    assert trial == booked
    again = await imported(ledger, ROWS, dry_run=True)
    assert (again.booked, again.duplicates, again.uses) == (0, 34, {})


async def test_importing_twice_books_nothing_twice(ledger: Ledger) -> None:
    first = await imported(ledger, ROWS)
    stored = "select (select count(*) from usage_events), (select count(*) from quarantine)"
    before = await ledger.owner.fetchrow(stored)
    await ledger.restart()
    second = await imported(ledger, ROWS)
    assert await ledger.owner.fetchrow(stored) == before
    assert (second.booked, second.duplicates) == (0, first.booked + first.duplicates)
    assert second.quarantined == first.quarantined
    assert second.rows == first.rows


async def test_reports_have_what_the_import_says(ledger: Ledger) -> None:
    summary = await imported(ledger, ROWS)
    total = totals(summary.uses)
    spend = await spend_by(ledger.database, ledger.tenant, "model,day", FIRST_INSTANT, NOW + timedelta(days=1))
    costs = {row.key: row.sums.cost_nanos for row in spend.rows if row.sums.calls}
    uses = [(key, use) for key, use in summary.uses.items() if use.calls]
    assert costs == {(key.model, key.day.isoformat()): use.cost_nanos for key, use in uses}
    assert (spend.total.calls, spend.total.cost_nanos) == (total.calls, total.cost_nanos)
    assert spend.total.input_tokens == total.input_tokens
    assert total.unpriced == 1


async def nothing(calls: int) -> None:
    """Go on at once."""


async def test_an_import_that_is_cut_off_goes_on_when_it_is_run_again(ledger: Ledger) -> None:
    rows = [call(number) for number in range(3 * WAITING_CALLS)]
    begun = 0

    def begin(reports: Sequence[Report]) -> "Sequence[asyncio.Future[Outcome]]":
        nonlocal begun
        begun += len(reports)
        if begun > 2 * WAITING_CALLS:
            raise Unavailable("the database does not answer")
        return ledger.commits.begin_reports(ledger.tenant, reports)

    async with ledger.database.reading(ledger.tenant) as connection:
        calendar, _ = await load_calendar(connection, ledger.tenant)
    summary = Summary(calendar)
    with pytest.raises(Unavailable):
        await book(rows, begin, FIRST_INSTANT, summary, nothing)
    await ledger.restart()
    done = await ledger.owner.fetchval("select count(*) from usage_events")
    assert 0 < summary.booked <= done < len(rows)
    again = await imported(ledger, rows)
    assert (again.booked, again.duplicates) == (len(rows) - done, done)
    assert await ledger.owner.fetchval("select count(*) from usage_events") == len(rows)
