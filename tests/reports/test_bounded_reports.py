"""However many values there are, and however long a span is, a report reads and says no more than was asked for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.reports.books import Books, books
from tests.reports.reading import spend_by
from token_ledger.core.model.window import Calendar
from token_ledger.reports import calls, dimensions, other_kinds, page
from token_ledger.reports.dimensions import OF_DAY
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.storage.upkeep.periods import Periods, periods_between

__all__ = ["books"]


async def test_no_part_of_a_report_has_more_rows_than_are_shown(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    at = sorted(each.at for each in books.events)[len(books.events) // 2]
    span, group_by, most = (at, at + timedelta(days=9)), "run,user,tag:team,tool,model", 3
    asked: dict[str, Any] = {"compared": (at - timedelta(days=9), at), "with_kinds": True}
    whole = await spend_by(books.database, books.tenant, group_by, *span, **asked, most=10_000)
    assert whole.count > 20
    read: list[int] = []

    async def counted(connection: Any, statement: str, **values: Any) -> Any:
        rows = await fetch_rows(connection, statement, **values)
        read.append(len({tuple(row)[: 1 + group_by.count(",") + 1] for row in rows}))
        return rows

    for module in (page, other_kinds):
        monkeypatch.setattr(module, "fetch_rows", counted)
    seen = 0
    for after in range(0, whole.count, most):
        part = await spend_by(books.database, books.tenant, group_by, *span, **asked, most=most, after=after)
        keys = {row.key for row in part.rows}
        assert part.compared is not None
        assert whole.compared is not None
        for shown, of in (
            (part.crossed, whole.crossed), (part.imported, whole.imported),
            (part.compared.sums, whole.compared.sums), (part.kinds, whole.kinds),
        ):  # fmt: skip
            assert shown is not None
            assert of is not None
            assert shown.total == of.total
            assert shown.rows == {key: value for key, value in of.rows.items() if key in keys}
            seen += len(shown.rows)
    assert seen > 20
    assert max(read) <= 1 + most  # the total, and the page


async def test_times_without_calls_are_not_named(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []

    def counted(unit: str) -> Callable[[Calendar, datetime], str]:
        def name(calendar: Calendar, start: datetime) -> str:
            named.append(unit)
            return OF_DAY[unit](calendar, start)

        return name

    monkeypatch.setattr(dimensions, "OF_DAY", {unit: counted(unit) for unit in OF_DAY})
    days = {books.calendar.day(each.at) for each in books.events}
    booked = (max(days) - min(days)).days + 1
    for since in (datetime(2000, 1, 1, tzinfo=UTC), min(days) + timedelta(hours=30)):
        for unit in OF_DAY:
            named.clear()
            await books.check(f"user,{unit}", since, datetime(2999, 12, 31, tzinfo=UTC))
            assert set(named) == {unit}
            assert len(named) <= (1 if unit.startswith("fiscal") else booked)
    await books.check("hour", min(days) - timedelta(days=900), datetime(2999, 12, 31, tzinfo=UTC))
    await books.check("hour,day", max(days) + timedelta(days=3), datetime(2999, 12, 31, tzinfo=UTC))


async def test_hours_are_looked_for_where_calls_are(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[timedelta] = []

    def counted(calendar: Calendar, begin: datetime, end: datetime) -> Periods:
        looked.append(end - begin)
        return periods_between(calendar, begin, end)

    monkeypatch.setattr(calls, "periods_between", counted)
    await books.check("hour,user", datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC))
    instants = [each.at for each in books.events]
    assert looked == [books.calendar.next_day(max(instants)) - books.calendar.day(min(instants))]
