"""Windows follow the tenant's clock: days of 23 and 25 hours, midnights that do not exist, zones at :30 and :45."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_ledger.core.window import ALL_TIME, Window, local_day, local_hour, window_bounds

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Pacific/Apia",
)
instants = st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "instant", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", 23),
        ("Europe/Berlin", "2026-10-25T02:30+01:00", "2026-10-25T00:00+02:00", 25),
        ("Europe/Berlin", "2026-10-24T23:59:59+02:00", "2026-10-24T00:00+02:00", 24),
        ("America/Sao_Paulo", "2018-11-04T01:00-02:00", "2018-11-04T01:00-02:00", 23),
        ("America/Sao_Paulo", "2018-11-03T23:59:59-03:00", "2018-11-03T00:00-03:00", 24),
        ("America/Sao_Paulo", "2018-02-17T23:30-03:00", "2018-02-17T00:00-02:00", 25),
        ("America/Havana", "2026-11-01T00:30-05:00", "2026-11-01T00:00-04:00", 25),
        ("Asia/Kolkata", "2026-01-01T00:00+05:30", "2026-01-01T00:00+05:30", 24),
        ("Asia/Kathmandu", "2025-12-31T23:59:59+05:45", "2025-12-31T00:00+05:45", 24),
        ("Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-29T00:00-10:00", 24),
    ],
)
def test_a_day_is_the_local_one(zone: str, instant: str, start: str, hours: int) -> None:
    begins, ends = window_bounds(Window.DAY, at(instant), ZoneInfo(zone))
    assert ends is not None
    assert (begins, ends - begins) == (at(start), timedelta(hours=hours))


@pytest.mark.parametrize(
    ("zone", "instant", "start", "end"),
    [
        ("Europe/Berlin", "2026-03-31T23:59+02:00", "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"),
        ("Europe/Berlin", "2026-04-01T00:00+02:00", "2026-04-01T00:00+02:00", "2026-05-01T00:00+02:00"),
        ("Asia/Kathmandu", "2026-12-31T23:59+05:45", "2026-12-01T00:00+05:45", "2027-01-01T00:00+05:45"),
        ("Asia/Kolkata", "2024-02-29T12:00+05:30", "2024-02-01T00:00+05:30", "2024-03-01T00:00+05:30"),
    ],
)
def test_a_month_is_the_local_one(zone: str, instant: str, start: str, end: str) -> None:
    assert window_bounds(Window.MONTH, at(instant), ZoneInfo(zone)) == (at(start), at(end))


@pytest.mark.parametrize("window", [Window.RUN, Window.TOTAL])
def test_a_window_without_an_end_starts_once(window: Window) -> None:
    assert window_bounds(window, at("2026-11-21T00:00Z"), ZoneInfo("Asia/Tokyo")) == (ALL_TIME, None)


@given(instants, st.sampled_from(ZONES), st.sampled_from((Window.DAY, Window.MONTH)))
def test_an_instant_lies_in_its_window_and_windows_meet(instant: datetime, name: str, window: Window) -> None:
    zone = ZoneInfo(name)
    start, end = window_bounds(window, instant, zone)
    assert end is not None
    assert start <= instant < end
    assert window_bounds(window, start, zone) == (start, end)
    assert window_bounds(window, end - timedelta(microseconds=1), zone) == (start, end)
    assert window_bounds(window, end, zone)[0] == end


@pytest.mark.parametrize(
    ("zone", "instant", "hour"),
    [
        ("Asia/Kolkata", "2026-11-21T10:29:59Z", "2026-11-21T09:30Z"),
        ("Asia/Kolkata", "2026-11-21T10:30Z", "2026-11-21T10:30Z"),
        ("Asia/Kathmandu", "2026-11-21T10:14:59Z", "2026-11-21T09:15Z"),
        ("Asia/Kathmandu", "2026-11-21T10:15Z", "2026-11-21T10:15Z"),
        ("Europe/Berlin", "2026-10-25T02:59+02:00", "2026-10-25T02:00+02:00"),
        ("Europe/Berlin", "2026-10-25T02:59+01:00", "2026-10-25T02:00+01:00"),
    ],
)
def test_an_hour_is_the_local_one_and_a_repeated_hour_is_two(zone: str, instant: str, hour: str) -> None:
    assert local_hour(at(instant), ZoneInfo(zone)) == at(hour)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-21", 24)])
def test_the_hours_of_a_day_fill_it(day: str, hours: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=zone)
    start, end = window_bounds(Window.DAY, noon, zone)
    assert end is not None
    minutes = [start + timedelta(minutes=m) for m in range(int((end - start).total_seconds()) // 60)]
    found = sorted({local_hour(minute, zone) for minute in minutes})
    assert len(found) == hours
    assert all(later - earlier == timedelta(hours=1) for earlier, later in pairwise(found))
    assert {local_day(minute, zone) for minute in minutes} == {start}
