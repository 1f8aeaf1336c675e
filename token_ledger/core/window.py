"""Owns windows of time: when the window of an instant starts and ends in a tenant's zone (design D4).

Nothing is ever reset: a new window is a new account, so no reset can be late or missed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum


class Window(StrEnum):
    """The span that one account of a budget stands for."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    QUARTER = "quarter"
    YEAR = "year"
    MONTH = "month"
    RUN = "run"
    TOTAL = "total"


ALL_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The start of a window that never starts anew (`run` and `total`)."""


def window_bounds(window: Window, at: datetime, zone: tzinfo) -> tuple[datetime, datetime | None]:
    """Return start and end in UTC of the window that holds the aware instant `at`; the end is exclusive."""
    if window is Window.DAY:
        local = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
        return _to_utc(local, zone), _to_utc(local + timedelta(days=1), zone)
    if window is Window.MONTH:
        local = at.astimezone(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
        following = local.replace(year=local.year + local.month // 12, month=local.month % 12 + 1)
        return _to_utc(local, zone), _to_utc(following, zone)
    return ALL_TIME, None


def local_hour(at: datetime, zone: tzinfo) -> datetime:
    """Return the UTC instant at which the tenant's local hour of `at` began (zones may lie at :30 or :45)."""
    local = at.astimezone(zone)
    return (at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)).astimezone(UTC)


def local_day(at: datetime, zone: tzinfo) -> datetime:
    """Return the UTC instant at which the tenant's local day of `at` began."""
    return window_bounds(Window.DAY, at, zone)[0]


def _to_utc(local: datetime, zone: tzinfo) -> datetime:
    # A midnight that daylight saving skips becomes the first instant after the gap, one that it repeats the first.
    return local.replace(tzinfo=zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class CalendarRule:
    """Temporary."""

    zone: tzinfo
    week_start: int = 0
    fiscal_month: int = 1


@dataclass(frozen=True, slots=True)
class Calendar:
    """Temporary."""

    first: CalendarRule
    changes: tuple[tuple[datetime, CalendarRule], ...] = ()

    def bounds(self, window: Window, at: datetime) -> tuple[datetime, datetime | None]:
        return window_bounds(window, at, self.first.zone)

    def previous(self, window: Window, start: datetime) -> tuple[datetime, datetime]:
        begin, end = window_bounds(window, start - timedelta(seconds=1), self.first.zone)
        assert end is not None
        return begin, end

    def hour(self, at: datetime) -> datetime:
        return local_hour(at, self.first.zone)

    def day(self, at: datetime) -> datetime:
        return local_day(at, self.first.zone)
