"""Owns periods by their names: `last_month`, `2026-10`, `FY2026-Q3`, in a tenant's calendar.

A fiscal year has the number of the calendar year in which it ends, as most companies and the government of the United
States count: with a first month of October, FY2026 began in October 2025. Its quarters are numbered from its start.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from token_ledger.core.model.window import FIRST_INSTANT, INSTANT, LAST_INSTANT, Calendar, Window
from token_ledger.reports.span import Span

_UNITS: Final = {each.value: each for each in (Window.DAY, Window.WEEK, Window.MONTH, Window.QUARTER, Window.YEAR)}
_RELATIVE: Final = {"today": ("this", "day"), "yesterday": ("last", "day")}
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_FISCAL = re.compile(r"FY(\d{4})(?:-Q([1-4]))?")
_WAYS: Final = (
    "use today, yesterday, this_ or last_ with week, month, quarter or year, a month such as 2026-10, a day such as"
    " 2026-10-05, a fiscal year such as FY2026, or a quarter of it such as FY2026-Q3; years are from"
    f" {FIRST_INSTANT.year} to {LAST_INSTANT.year}"
)


class NoSuchPeriod(ValueError):
    """A text names no period; says what would."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period that has a name: its span, and the unit that it is one of."""

    span: Span
    unit: Window


def period_named(calendar: Calendar, name: str, now: datetime) -> Period:
    """Return the period of a name. Raises NoSuchPeriod."""
    way, _, unit = name.partition("_")
    way, unit = _RELATIVE.get(name, (way, unit))
    if way in ("this", "last") and unit in _UNITS:
        return Period(_relative(calendar, _UNITS[unit], now, back=way == "last"), _UNITS[unit])
    try:
        if found := _MONTH.fullmatch(name):
            first = date(_year(found[1]), int(found[2]), 1)
            return Period((calendar.date_start(first), calendar.date_start(_month_after(first))), Window.MONTH)
        if found := _DAY.fullmatch(name):
            day = date(_year(found[1]), int(found[2]), int(found[3]))
            span = calendar.date_start(day), calendar.date_start(day + timedelta(days=1))
            return Period(span, Window.DAY)
        if found := _FISCAL.fullmatch(name):
            quarter = None if found[2] is None else int(found[2])
            unit_of_year = Window.YEAR if quarter is None else Window.QUARTER
            return Period(_fiscal(calendar, _year(found[1]), quarter), unit_of_year)
    except NoSuchPeriod:
        raise
    except ValueError:
        pass  # no such day
    raise NoSuchPeriod(f"{name!r} is no period; {_WAYS}")


def period_before(calendar: Calendar, period: Period) -> Span:
    """Return the span of the period before another: of the same unit, and not of the same length."""
    return calendar.previous(period.unit, period.span[0])


def week_name(calendar: Calendar, start: datetime) -> str:
    """Return the name of the week of a day, by when the day began: the date of its first day."""
    day = calendar.local_date(start)
    return (day - timedelta(days=(day.weekday() - calendar.rule(start).week_start) % 7)).isoformat()


def month_name(calendar: Calendar, start: datetime) -> str:
    """Return the name of the month of a day, by when the day began."""
    return calendar.local_date(start).strftime("%Y-%m")


def fiscal_year_name(calendar: Calendar, start: datetime) -> str:
    """Return the name of the fiscal year of a day, by when the day began."""
    return f"FY{_year_of(calendar, calendar.bounds(Window.YEAR, start))}"


def fiscal_period_name(calendar: Calendar, start: datetime) -> str:
    """Return the name of the fiscal quarter of a day, by when the day began."""
    year = calendar.bounds(Window.YEAR, start)
    quarters = _windows(calendar, Window.QUARTER, (year[0], start + INSTANT))
    return f"FY{_year_of(calendar, year)}-Q{sum(1 for _ in quarters)}"


def _relative(calendar: Calendar, window: Window, now: datetime, *, back: bool) -> Span:
    begin, end = calendar.bounds(window, now)
    if back:
        return calendar.previous(window, begin)
    assert end is not None, "only run and total have no end"
    return begin, end


def _fiscal(calendar: Calendar, year: int, quarter: int | None) -> Span:
    """Return when a fiscal year, or its quarter, begins and ends; a year may consist of several after a change."""
    around = calendar.date_start(date(year - 1, 1, 1)), calendar.date_start(date(year + 1, 1, 1))
    years = [each for each in _windows(calendar, Window.YEAR, around) if _year_of(calendar, each) == year]
    span = years[0][0], years[-1][1]
    if quarter is None:
        return span
    quarters = [*_windows(calendar, Window.QUARTER, span)]
    if quarter > len(quarters):
        raise NoSuchPeriod(f"FY{year} ends with Q{len(quarters)}, because fiscal years were changed then; use that")
    return quarters[quarter - 1]


def _windows(calendar: Calendar, window: Window, span: Span) -> Iterator[Span]:
    """Yield the windows of a kind that begin within a span, or hold its start."""
    at, until = span
    while at < until:
        begin, end = calendar.bounds(window, at)
        assert end is not None, "only run and total have no end"
        yield begin, end
        at = end


def _year_of(calendar: Calendar, window: tuple[datetime, datetime | None]) -> int:
    begin, end = window
    assert end is not None, "a year ends"
    # A year ends by the clock by which it began, also if the zone was changed in it.
    return (end - INSTANT).astimezone(calendar.local(begin).tzinfo).year


def _year(digits: str) -> int:
    year = int(digits)
    if not FIRST_INSTANT.year <= year <= LAST_INSTANT.year:
        raise ValueError(f"{year} is no year that every zone and the database can show")
    return year


def _month_after(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
