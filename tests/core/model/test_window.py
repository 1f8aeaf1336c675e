"""Windows in real zones: days that are not 24 hours long, hours that are not 60 minutes, changed calendars."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from token_ledger.core.model.window import ALL_TIME, Calendar, CalendarRule, Window

ENDING = [window for window in Window if window not in (Window.RUN, Window.TOTAL)]
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Goose_Bay", "America/Havana",
    "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca",
    "Asia/Tehran", "Atlantic/Azores",
)  # fmt: skip


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def calendar(zone: str, week_start: int = 0, fiscal_month: int = 1) -> Calendar:
    return Calendar(CalendarRule(ZoneInfo(zone), week_start, fiscal_month))


def changed(zone: str, *changes: tuple[str, CalendarRule]) -> Calendar:
    return Calendar(CalendarRule(ZoneInfo(zone)), tuple((at(instant), rule) for instant, rule in changes))


@pytest.mark.parametrize(
    ("window", "zone", "instant", "start", "end"),
    [
        ("day", "UTC", "2026-11-21T23:59:59.999999Z", "2026-11-21T00:00Z", "2026-11-22T00:00Z"),
        ("day", "Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("day", "Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        ("day", "America/Sao_Paulo", "2018-11-04T12:00Z", "2018-11-04T03:00Z", "2018-11-05T02:00Z"),
        ("day", "America/Sao_Paulo", "2018-02-18T02:30Z", "2018-02-17T02:00Z", "2018-02-18T03:00Z"),
        ("day", "Asia/Kathmandu", "2026-11-21T18:14Z", "2026-11-20T18:15Z", "2026-11-21T18:15Z"),
        ("day", "Australia/Lord_Howe", "2026-04-04T20:00Z", "2026-04-04T13:00Z", "2026-04-05T13:30Z"),
        ("day", "Australia/Lord_Howe", "2026-10-03T20:00Z", "2026-10-03T13:30Z", "2026-10-04T13:00Z"),
        ("day", "Pacific/Apia", "2011-12-30T09:59Z", "2011-12-29T10:00Z", "2011-12-30T10:00Z"),
        ("day", "Pacific/Apia", "2011-12-30T10:00Z", "2011-12-30T10:00Z", "2011-12-31T10:00Z"),
        # At 00:01 the clock goes back to 23:01 of the day before, so midnight comes twice.
        ("day", "America/Goose_Bay", "2010-11-07T03:30Z", "2010-11-07T03:00Z", "2010-11-08T04:00Z"),
        ("hour", "Asia/Kolkata", "2026-11-21T10:29Z", "2026-11-21T09:30Z", "2026-11-21T10:30Z"),
        ("hour", "Asia/Kathmandu", "2026-11-21T10:15Z", "2026-11-21T10:15Z", "2026-11-21T11:15Z"),
        ("hour", "Europe/Berlin", "2026-10-25T00:30Z", "2026-10-25T00:00Z", "2026-10-25T01:00Z"),
        ("hour", "Europe/Berlin", "2026-10-25T01:30Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z"),
        ("hour", "Australia/Lord_Howe", "2026-04-04T15:10Z", "2026-04-04T14:00Z", "2026-04-04T15:30Z"),
        ("hour", "Australia/Lord_Howe", "2026-10-03T15:40Z", "2026-10-03T14:30Z", "2026-10-03T16:00Z"),
        ("week", "UTC", "2026-11-22T12:00Z", "2026-11-16T00:00Z", "2026-11-23T00:00Z"),
        ("week", "Europe/Berlin", "2026-03-29T12:00Z", "2026-03-22T23:00Z", "2026-03-29T22:00Z"),
        ("month", "Europe/Berlin", "2026-10-15T00:00Z", "2026-09-30T22:00Z", "2026-10-31T23:00Z"),
        ("month", "UTC", "2026-12-31T23:00Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        ("quarter", "UTC", "2026-11-21T00:00Z", "2026-10-01T00:00Z", "2027-01-01T00:00Z"),
        ("year", "Asia/Kolkata", "2026-11-21T00:00Z", "2025-12-31T18:30Z", "2026-12-31T18:30Z"),
    ],
)  # fmt: skip
def test_a_window_in_its_zone(window: str, zone: str, instant: str, start: str, end: str) -> None:
    assert calendar(zone).bounds(Window(window), at(instant)) == (at(start), at(end))


@pytest.mark.parametrize(
    ("window", "week_start", "fiscal_month", "instant", "start", "end"),
    [
        ("week", 6, 1, "2026-11-22T12:00Z", "2026-11-22T00:00Z", "2026-11-29T00:00Z"),
        ("week", 5, 1, "2026-11-20T12:00Z", "2026-11-14T00:00Z", "2026-11-21T00:00Z"),
        ("year", 0, 4, "2026-03-31T23:00Z", "2025-04-01T00:00Z", "2026-04-01T00:00Z"),
        ("year", 0, 4, "2026-04-01T00:00Z", "2026-04-01T00:00Z", "2027-04-01T00:00Z"),
        ("year", 0, 10, "2026-11-21T00:00Z", "2026-10-01T00:00Z", "2027-10-01T00:00Z"),
        ("quarter", 0, 2, "2026-11-21T00:00Z", "2026-11-01T00:00Z", "2027-02-01T00:00Z"),
        ("quarter", 0, 2, "2026-01-31T00:00Z", "2025-11-01T00:00Z", "2026-02-01T00:00Z"),
        ("month", 0, 7, "2026-11-21T00:00Z", "2026-11-01T00:00Z", "2026-12-01T00:00Z"),
    ],
)
def test_weeks_and_years_begin_where_the_rule_says(
    window: str, week_start: int, fiscal_month: int, instant: str, start: str, end: str
) -> None:
    found = calendar("UTC", week_start, fiscal_month).bounds(Window(window), at(instant))
    assert found == (at(start), at(end))


NEW_YORK = CalendarRule(ZoneInfo("America/New_York"))
TOKYO = CalendarRule(ZoneInfo("Asia/Tokyo"))


@pytest.mark.parametrize(
    ("changes", "window", "instant", "start", "end"),
    [
        # The day of the change ends in Berlin at 23:00Z; the next one ends at New York's midnight, 05:00Z.
        ([("2026-11-21T12:00Z", NEW_YORK)], "day", "2026-11-21T13:00Z", "2026-11-20T23:00Z", "2026-11-21T23:00Z"),
        ([("2026-11-21T12:00Z", NEW_YORK)], "day", "2026-11-21T23:00Z", "2026-11-21T23:00Z", "2026-11-22T05:00Z"),
        ([("2026-11-21T12:00Z", NEW_YORK)], "day", "2026-11-22T05:00Z", "2026-11-22T05:00Z", "2026-11-23T05:00Z"),
        ([("2026-11-21T12:00Z", TOKYO)], "day", "2026-11-22T10:00Z", "2026-11-21T23:00Z", "2026-11-22T15:00Z"),
        # A change on the boundary of a window takes effect there.
        ([("2026-11-21T23:00Z", NEW_YORK)], "day", "2026-11-21T23:00Z", "2026-11-21T23:00Z", "2026-11-22T05:00Z"),
        # Of two changes in one window the first is never in force.
        ([("2026-11-21T12:00Z", TOKYO), ("2026-11-21T13:00Z", NEW_YORK)], "day", "2026-11-22T00:00Z",
         "2026-11-21T23:00Z", "2026-11-22T05:00Z"),
        # For each kind of window the change takes effect at its own end.
        ([("2026-11-21T12:00Z", NEW_YORK)], "month", "2026-11-30T23:30Z", "2026-11-30T23:00Z", "2026-12-01T05:00Z"),
        ([("2026-11-21T12:00Z", NEW_YORK)], "hour", "2026-11-21T13:30Z", "2026-11-21T13:00Z", "2026-11-21T14:00Z"),
        ([("2026-11-21T12:20Z", CalendarRule(ZoneInfo("Asia/Kolkata")))], "hour", "2026-11-21T13:10Z",
         "2026-11-21T13:00Z", "2026-11-21T13:30Z"),
        ([("2026-11-21T12:00Z", CalendarRule(ZoneInfo("Europe/Berlin"), 6))], "week", "2026-11-23T12:00Z",
         "2026-11-22T23:00Z", "2026-11-28T23:00Z"),
        ([("2026-11-21T12:00Z", CalendarRule(ZoneInfo("Europe/Berlin"), 0, 4))], "year", "2027-02-01T12:00Z",
         "2026-12-31T23:00Z", "2027-03-31T22:00Z"),
    ],
)  # fmt: skip
def test_a_change_begins_with_the_next_window(
    changes: list[tuple[str, CalendarRule]], window: str, instant: str, start: str, end: str
) -> None:
    assert changed("Europe/Berlin", *changes).bounds(Window(window), at(instant)) == (at(start), at(end))


@pytest.mark.parametrize("window", [Window.RUN, Window.TOTAL])
def test_a_run_and_a_total_never_start_anew(window: Window) -> None:
    assert calendar("Asia/Tokyo").bounds(window, at("2026-11-21T00:00Z")) == (ALL_TIME, None)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"week_start": 7}, "week_start"),
        ({"week_start": -1}, "week_start"),
        ({"fiscal_month": 0}, "fiscal_month"),
        ({"fiscal_month": 13}, "fiscal_month"),
    ],
)
def test_a_rule_out_of_range_is_refused(fields: dict[str, int], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        CalendarRule(UTC, **fields)


@pytest.mark.parametrize(
    "instants",
    [["2026-01-02T00:00Z", "2026-01-01T00:00Z"], ["2026-01-01T00:00Z", "2026-01-01T00:00Z"]],
)
def test_changes_that_do_not_ascend_are_refused(instants: list[str]) -> None:
    with pytest.raises(ValueError, match="later"):
        changed("UTC", *((instant, TOKYO) for instant in instants))


instants = st.datetimes(datetime(1985, 1, 1), datetime(2040, 1, 1)).map(lambda found: found.replace(tzinfo=UTC))
rules = st.builds(CalendarRule, st.sampled_from(ZONES).map(ZoneInfo), st.integers(0, 6), st.integers(1, 12))
calendars = st.builds(
    lambda first, changes: Calendar(first, tuple(sorted({when: (when, rule) for when, rule in changes}.values(),
                                                        key=lambda change: change[0]))),
    rules,
    st.lists(st.tuples(instants, rules), max_size=3),
)  # fmt: skip


@given(calendars, st.sampled_from(ENDING), instants, st.integers(0, 10**6))
def test_windows_leave_no_gap_and_do_not_overlap(found: Calendar, window: Window, instant: datetime, part: int) -> None:
    start, end = found.bounds(window, instant)
    assert end is not None
    assert start <= instant < end
    for inside in (start, start + (end - start) * part / 10**6 if part < 10**6 else end, end - timedelta(0, 0, 1)):
        if inside < end:
            assert anew(found).bounds(window, inside) == (start, end)
    assert anew(found).bounds(window, end)[0] == end
    assert anew(found).previous(window, start)[1] == start


def anew(known: Calendar) -> Calendar:
    """Return the same calendar, which has not been asked anything."""
    return Calendar(known.first, known.changes)


@given(calendars, st.lists(st.tuples(st.sampled_from(ENDING), instants, st.integers(-90, 90)), max_size=4))
def test_windows_do_not_depend_on_what_was_asked_before(
    found: Calendar, asked: list[tuple[Window, datetime, int]]
) -> None:
    for window, instant, minutes in asked:
        for near in (instant, instant + timedelta(minutes=minutes), found.bounds(window, instant)[1] or instant):
            assert found.bounds(window, near) == anew(found).bounds(window, near)


@given(rules, instants)
def test_a_day_is_the_time_that_one_date_is_shown(rule: CalendarRule, instant: datetime) -> None:
    start, end = rule.bounds(Window.DAY, instant)
    steps = int((end - start) / timedelta(minutes=15))
    dates = [(start + timedelta(minutes=15 * step)).astimezone(rule.zone).date() for step in range(steps)]
    assume(str(rule.zone) != "America/Goose_Bay")  # its clock was put back over midnight
    assert len(set(dates)) == 1


@pytest.mark.parametrize(
    ("zone", "instant", "hour"),
    [
        ("UTC", "2026-11-21T10:59:59Z", "2026-11-21T10:00Z"),
        ("Asia/Kolkata", "2026-11-21T10:29:59Z", "2026-11-21T09:30Z"),
        ("Asia/Kathmandu", "2026-11-21T10:15Z", "2026-11-21T10:15Z"),
        ("Europe/Berlin", "2026-10-25T01:30Z", "2026-10-25T01:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:10Z", "2026-04-04T14:30Z"),
    ],
)
def test_the_hour_of_a_roll_up_is_the_instant_less_its_minutes(zone: str, instant: str, hour: str) -> None:
    assert calendar(zone).hour(at(instant)) == at(hour)


def test_the_keys_of_roll_ups_change_with_the_calendar() -> None:
    found = changed("Asia/Kolkata", ("2026-11-21T12:10Z", CalendarRule(UTC)))
    assert [found.hour(at(f"2026-11-21T{time}Z")) for time in ("12:20", "12:40", "13:05")] == [
        at("2026-11-21T11:30Z"), at("2026-11-21T12:30Z"), at("2026-11-21T13:00Z"),
    ]  # fmt: skip
    assert found.rules(Window.HOUR) == (
        (None, CalendarRule(ZoneInfo("Asia/Kolkata"))),
        (at("2026-11-21T12:30Z"), CalendarRule(UTC)),
    )
    assert found.day(at("2026-11-21T18:40Z")) == at("2026-11-21T18:30Z")
    assert found.day(at("2026-11-22T00:40Z")) == at("2026-11-22T00:00Z")


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", "2026-10-25T01:00Z"),
        ("America/St_Johns", "2010-11-07T02:31Z"),  # a minute past midnight, so the day before was shown again
        ("America/Sao_Paulo", "2018-11-04T03:00Z"),  # midnight was left out
        ("Australia/Lord_Howe", "2026-04-04T15:00Z"),  # by half an hour
        ("Australia/Lord_Howe", "2026-10-03T15:30Z"),
        ("Asia/Pyongyang", "2018-05-04T15:00Z"),
        ("Asia/Kathmandu", "2026-11-21T18:15Z"),  # a midnight without a change
    ],
)
def test_hour_and_day_of_an_instant_are_the_same_however_they_are_found(zone: str, change: str) -> None:
    found = calendar(zone)
    for minutes in range(-180, 180):
        for seconds in (0, 59):
            instant = at(change) + timedelta(minutes=minutes, seconds=seconds)
            assert found.period(instant) == (found.hour(instant), anew(found).day(instant)), instant


@given(rules, instants)
def test_hour_and_day_do_not_depend_on_what_was_asked_before(rule: CalendarRule, instant: datetime) -> None:
    found = Calendar(rule)
    for step in (0, 59, 1, -59, 0):
        near = instant + timedelta(minutes=step)
        assert found.period(near) == (found.hour(near), anew(found).day(near))
        since, before, period = found.period_span(near)
        assert since == before or since <= near < before
        for other in (since, before - timedelta(microseconds=1)) if since < before else ():
            assert period == (found.hour(other), anew(found).day(other))
