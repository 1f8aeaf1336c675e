"""Hours and days as SQL finds them are those that the calendar keeps roll-ups under, whatever the clock does."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from token_ledger.core.model.window import Calendar, CalendarRule
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import add_tenant
from token_ledger.storage.upkeep.periods import DAY_OF_POST, HOUR_OF_POST, load_periods, periods_between

BEGIN, END = datetime(2026, 2, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC)

# Midnights that come twice (Havana, Azores) or never (Beirut, Cairo), shifts by half an hour (Lord Howe), offsets with
# minutes, days of 23 and 25 hours, one whose rules differ between releases of the time zone database (Vancouver).
ZONES = (
    "UTC", "America/Havana", "Atlantic/Azores", "Asia/Beirut", "Africa/Cairo", "Australia/Lord_Howe",
    "Asia/Kathmandu", "America/St_Johns", "Europe/Berlin", "America/New_York", "America/Vancouver",
    "Pacific/Kiritimati", "Pacific/Chatham",
)  # fmt: skip
FOUND = text(
    f"select posted_at, {HOUR_OF_POST} as hour, {DAY_OF_POST} as day"
    " from unnest(cast(:instants as timestamptz[])) as e (posted_at)"
)


@pytest.fixture(scope="module")
async def database(server_url: str) -> AsyncIterator[Database]:
    opened = Database(server_url, readers=1)
    yield opened
    await opened.close()


def _instants(calendar: Calendar) -> list[datetime]:
    """Return some instants, many of them where the offset from UTC or the calendar changes."""
    chance = random.Random(7)
    chosen = [BEGIN + timedelta(seconds=chance.randrange(480 * 86_400)) for _ in range(100)]
    turns = [instant for instant, _ in calendar.changes]
    hours = [BEGIN + timedelta(hours=number) for number in range(480 * 24)]
    for zone in {calendar.first.zone, *(rule.zone for _, rule in calendar.changes)}:
        offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
        turns += [hours[n] for n in range(1, len(hours)) if offsets[n] != offsets[n - 1]]
    return chosen + [turn + timedelta(minutes=10 * step) for turn in turns for step in range(-160, 160)]


async def _check(database: Database, calendar: Calendar) -> None:
    values = {**periods_between(calendar, BEGIN, END).values, "instants": _instants(calendar)}
    async with database.reading() as connection:
        rows = (await connection.execute(FOUND, values)).all()
    wrong = [row for row in rows if row[1:] != (calendar.hour(row[0]), calendar.day(row[0]))]
    assert (len(rows) >= 100, wrong) == (True, [])


@pytest.mark.parametrize("zone", ZONES)
async def test_of_one_zone(zone: str, database: Database) -> None:
    await _check(database, Calendar(CalendarRule(ZoneInfo(zone))))


@pytest.mark.parametrize("seed", range(6))
async def test_of_calendars_that_change(seed: int, database: Database) -> None:
    chance = random.Random(seed)
    at, changes = BEGIN, []
    for _ in range(chance.randrange(1, 5)):
        at += timedelta(seconds=chance.randrange(100 * 86_400))
        changes.append((at, CalendarRule(ZoneInfo(chance.choice(ZONES)))))
    await _check(database, Calendar(CalendarRule(ZoneInfo(chance.choice(ZONES))), tuple(changes)))


async def test_an_instant_before_all_that_is_known_has_no_day(database: Database) -> None:
    values = periods_between(Calendar(CalendarRule(UTC)), BEGIN, END).values
    async with database.reading() as connection:
        row = (await connection.execute(FOUND, {**values, "instants": [BEGIN - timedelta(days=1)]})).one()
    assert (row.hour, row.day) == (None, None)


async def test_a_tenants_calendar_is_loaded_with_its_changes(database_url: str) -> None:
    database = Database(database_url, readers=1)
    try:
        async with database.reading() as connection:
            tenant = await add_tenant(connection, "acme", "America/Havana")
            assert tenant is not None
            await connection.execute(
                text(
                    "insert into calendar_changes values (:tenant, now() - interval '3 days', 'Asia/Tokyo', 6, 4, 3),"
                    # What was decided before, for then or later, does not stand any more.
                    " (:tenant, now() - interval '3 days', 'Asia/Kathmandu', 0, 1, 2),"
                    " (:tenant, now() - interval '1 day', 'Asia/Kathmandu', 0, 1, 1)"
                ),
                {"tenant": tenant},
            )
            calendar, made_at = await load_calendar(connection, tenant)
            periods = await load_periods(connection, tenant)
    finally:
        await database.close()
    assert calendar.first == CalendarRule(ZoneInfo("America/Havana"))
    [(since, rule)] = calendar.changes
    assert rule == CalendarRule(ZoneInfo("Asia/Tokyo"), 6, 4)
    assert made_at - since > timedelta(days=2)
    # An event may be posted 35 days before its tenant was made, and a little ahead of now.
    assert periods.day_starts[0] < made_at - timedelta(days=35)
    assert periods.day_starts[-1] > made_at + timedelta(hours=12)
    assert {calendar.day(start) for start in periods.day_starts} == set(periods.day_starts)
