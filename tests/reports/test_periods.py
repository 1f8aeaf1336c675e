"""Periods by their names, in calendars with fiscal years, and of zones in which days are shorter or longer."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from token_ledger.core.model.window import Calendar, CalendarRule
from token_ledger.reports.periods import (
    NoSuchPeriod,
    fiscal_period_name,
    fiscal_year_name,
    month_name,
    period_before,
    period_named,
    week_name,
)

NOW = datetime(2026, 11, 30, 22, 30, tzinfo=UTC)  # in Berlin half an hour before the last midnight of November
PLAIN = Calendar(CalendarRule(UTC))
OCTOBER = Calendar(CalendarRule(ZoneInfo("America/New_York"), week_start=6, fiscal_month=10))
BERLIN = Calendar(CalendarRule(ZoneInfo("Europe/Berlin")))


@pytest.mark.parametrize(
    ("calendar", "name", "first", "last"),
    [
        (PLAIN, "today", "2026-11-30", "2026-12-01"),
        (PLAIN, "yesterday", "2026-11-29", "2026-11-30"),
        (PLAIN, "this_week", "2026-11-30", "2026-12-07"),
        (PLAIN, "last_week", "2026-11-23", "2026-11-30"),
        (OCTOBER, "this_week", "2026-11-29", "2026-12-06"),
        (PLAIN, "this_month", "2026-11-01", "2026-12-01"),
        (PLAIN, "last_month", "2026-10-01", "2026-11-01"),
        (PLAIN, "this_quarter", "2026-10-01", "2027-01-01"),
        (PLAIN, "last_year", "2025-01-01", "2026-01-01"),
        (OCTOBER, "this_year", "2026-10-01", "2027-10-01"),
        (OCTOBER, "last_quarter", "2026-07-01", "2026-10-01"),
        (PLAIN, "2026-12", "2026-12-01", "2027-01-01"),
        (PLAIN, "2024-02-29", "2024-02-29", "2024-03-01"),
        (PLAIN, "FY2026", "2026-01-01", "2027-01-01"),
        (PLAIN, "FY2026-Q3", "2026-07-01", "2026-10-01"),
        (OCTOBER, "FY2026", "2025-10-01", "2026-10-01"),
        (OCTOBER, "FY2026-Q1", "2025-10-01", "2026-01-01"),
        (OCTOBER, "FY2026-Q4", "2026-07-01", "2026-10-01"),
    ],
)
def test_a_period_begins_and_ends_with_days_of_the_calendar(
    calendar: Calendar, name: str, first: str, last: str
) -> None:
    span = period_named(calendar, name, NOW).span
    assert span == tuple(calendar.date_start(date.fromisoformat(day)) for day in (first, last))


def test_a_month_with_a_change_of_clocks_has_an_hour_more_or_less() -> None:
    for name, hours in (("2026-03", 31 * 24 - 1), ("2026-10", 31 * 24 + 1), ("2026-11", 30 * 24)):
        begin, end = period_named(BERLIN, name, NOW).span
        assert (end - begin).total_seconds() == hours * 3600


def test_now_is_in_the_month_of_the_tenants_zone() -> None:
    late = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)  # in Berlin already December
    assert period_named(BERLIN, "last_month", late) == period_named(BERLIN, "2026-11", late)
    assert period_named(PLAIN, "this_month", late) == period_named(PLAIN, "2026-11", late)


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("2026-03", "2026-02"),
        ("last_month", "2026-09"),
        ("2026-03-01", "2026-02-28"),
        ("FY2026-Q1", "FY2025-Q4"),
        ("FY2026", "FY2025"),
    ],
)
def test_the_period_before_is_of_the_same_unit(name: str, before: str) -> None:
    for calendar in (PLAIN, OCTOBER, BERLIN):
        assert period_before(calendar, period_named(calendar, name, NOW)) == period_named(calendar, before, NOW).span


@pytest.mark.parametrize(
    "name",
    [
        "",
        "month",
        "last",
        "last_hour",
        "2026-13",
        "2026-02-30",
        "2026",
        "FY26",
        "FY2026-Q5",
        "FY0000",
        "FY1999",
        "0001-01",
        "0001-01-01",
        "3000-01-01",
        "9999-12",
        "26-10",
    ],
)
def test_what_is_no_period_is_told_what_would_be(name: str) -> None:
    with pytest.raises(NoSuchPeriod, match="use today, yesterday, this_ or last_"):
        period_named(PLAIN, name, NOW)


def test_days_are_called_by_their_week_month_and_fiscal_period() -> None:
    start = OCTOBER.date_start(date(2026, 10, 3))  # a Saturday
    assert week_name(OCTOBER, start) == "2026-09-27"
    assert month_name(OCTOBER, start) == "2026-10"
    assert fiscal_year_name(OCTOBER, start) == "FY2027"
    assert fiscal_period_name(OCTOBER, start) == "FY2027-Q1"
    assert fiscal_period_name(OCTOBER, OCTOBER.date_start(date(2026, 9, 30))) == "FY2026-Q4"


def test_a_fiscal_year_in_which_the_zone_was_changed_keeps_its_number() -> None:
    changed = datetime(2026, 5, 4, 10, tzinfo=UTC)
    calendar = Calendar(CalendarRule(UTC), ((changed, CalendarRule(ZoneInfo("Asia/Kathmandu"))),))
    for day in (date(2026, 3, 1), date(2026, 7, 1)):
        assert fiscal_year_name(calendar, calendar.date_start(day)) == "FY2026"
    begin, end = period_named(calendar, "FY2026", NOW).span
    assert (begin, end) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def test_a_fiscal_year_that_was_changed_has_its_own_quarters() -> None:
    changed = datetime(2026, 1, 1, tzinfo=UTC)
    calendar = Calendar(CalendarRule(UTC), ((changed, CalendarRule(UTC, fiscal_month=4)),))
    assert period_named(calendar, "FY2025", NOW) == period_named(PLAIN, "FY2025", NOW)
    begin, end = period_named(calendar, "FY2026", NOW).span  # the three months before April
    assert (begin, end) == (changed, datetime(2026, 4, 1, tzinfo=UTC))
    with pytest.raises(NoSuchPeriod, match="FY2026 ends with Q1"):
        period_named(calendar, "FY2026-Q2", NOW)
