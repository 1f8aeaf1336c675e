"""Gives SQL the starts of a tenant's hours and days, as instants computed from its calendar.

Names of time zones are not used in SQL: the server may have other rules than this process, and of a midnight that
occurs twice it takes the second.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import ALL_TIME, HOUR, INSTANT, Calendar, Window
from token_ledger.storage.calendars import load_calendar

_DAY = timedelta(days=1)

OLDEST_POST = timedelta(days=36)
"""A little more than how far before a tenant was made one of its events can be posted (`core.model.event.OLDEST`).

Only what was imported is older.
"""

_BUCKET = "width_bucket(posted_at, cast(:hour_since as timestamptz[]))"

HOUR_OF_POST = (
    f"greatest(date_bin('1 hour', posted_at, (cast(:hour_origin as timestamptz[]))[{_BUCKET}]),"
    f" (cast(:hour_floor as timestamptz[]))[{_BUCKET}])"
)
"""The key of the hourly roll-up of an event, with the values of `Periods.values` bound."""

DAY_NUMBER = "width_bucket({}, cast(:day_starts as timestamptz[]))"
"""Which of the days an instant is in, with the values of `Periods.values` bound; the first is 1."""

DAY_OF_POST = f"(cast(:day_starts as timestamptz[]))[{DAY_NUMBER.format('posted_at')}]"
"""The key of the daily roll-ups of an event, with the values of `Periods.values` bound."""


@dataclass(frozen=True, slots=True)
class Periods:
    """A tenant's hours and days within a span of time.

    From `hour_since[n]` on, hours begin whole hours after `hour_origin[n]`, though none before `hour_floor[n]`, which
    is when a change of the calendar took effect. `day_starts` has every day's start.
    """

    hour_since: list[datetime]
    hour_origin: list[datetime]
    hour_floor: list[datetime]
    day_starts: list[datetime]

    @property
    def values(self) -> dict[str, Any]:
        """The values that `HOUR_OF_POST` and `DAY_OF_POST` are bound to."""
        return {name: getattr(self, name) for name in ("hour_since", "hour_origin", "hour_floor", "day_starts")}


async def load_periods(connection: AsyncConnection, tenant: TenantId) -> Periods:
    """Return the hours and days of a tenant, from the oldest event that it can have to a day ahead of now."""
    calendar, made_at = await load_calendar(connection, tenant)
    first = await connection.execute(
        text("select min(day) from daily_usage where tenant_id = :tenant"), {"tenant": tenant}
    )
    begin = min(made_at - OLDEST_POST, first.scalar_one() or made_at)
    return periods_between(calendar, begin, await database_now(connection) + 2 * _DAY)


async def database_now(connection: AsyncConnection) -> datetime:
    """Return the instant that it is by the database's clock, the one that decides."""
    now: datetime = (await connection.execute(text("select clock_timestamp()"))).scalar_one()
    return now


def periods_between(calendar: Calendar, begin: datetime, end: datetime) -> Periods:
    """Return the hours and days of a calendar from one instant to another."""
    rules = calendar.rules(Window.HOUR)
    ends = [since for since, _ in rules[1:]]
    periods = Periods([], [], [], list(_day_starts(calendar, begin, end)))
    for (since, rule), until in zip(rules, [*ends, None], strict=True):
        at, last = max(since or begin, begin), min(until or end, end)
        while at < last:
            origin = rule_hour(rule.zone, at)
            periods.hour_since.append(at)
            periods.hour_origin.append(origin)
            periods.hour_floor.append(since or ALL_TIME)
            at = _next_shift(rule.zone, at, last)
    return periods


def rule_hour(zone: Any, at: datetime) -> datetime:
    """Return the instant at which the clock of a zone showed the last full hour, by its offset of `at`."""
    local = at.astimezone(zone)
    return at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _next_shift(zone: Any, at: datetime, last: datetime) -> datetime:
    """Return when the hours of a zone begin at other minutes than they do at an instant, at the latest `last`."""
    minutes = _past_the_hour(zone, at)
    while at < last and _past_the_hour(zone, at + _DAY) == minutes:
        at += _DAY
    low, high = at, at + _DAY
    while high - low > INSTANT:
        middle = low + (high - low) // 2
        if _past_the_hour(zone, middle) == minutes:
            low = middle
        else:
            high = middle
    return min(high, last)


def _past_the_hour(zone: Any, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset % HOUR


def _day_starts(calendar: Calendar, begin: datetime, end: datetime) -> Any:
    at: datetime | None = begin
    while at is not None and at < end:
        start, at = calendar.bounds(Window.DAY, at)
        yield start
