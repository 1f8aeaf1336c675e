"""Owns windows of time: when the window of an instant starts and ends in a tenant's calendar.

Nothing is ever reset: a new window is a new account, so no reset can be late or missed. A change of the calendar takes
effect with the next window: the window under way ends as it would have without the change.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)

FIRST_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
"""The instants that every zone, the database and every format of an answer can show."""


class Window(StrEnum):
    """The span of time that one account covers."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    RUN = "run"
    TOTAL = "total"


ALL_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The start of the windows `run` and `total`, which never end."""

_REMEMBERED_HOURS = 1_000
_MONTHS = {Window.MONTH: 1, Window.QUARTER: 3, Window.YEAR: 12}


@dataclass(frozen=True, slots=True)
class CalendarRule:
    """A time zone, the first day of a week (0 is Monday), and the first month of a year."""

    zone: tzinfo
    week_start: int = 0
    fiscal_month: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.week_start <= 6:
            raise ValueError(f"week_start is {self.week_start}; use 0 (Monday) to 6 (Sunday)")
        if not 1 <= self.fiscal_month <= 12:
            raise ValueError(f"fiscal_month is {self.fiscal_month}; use 1 (January) to 12 (December)")

    def bounds(self, window: Window, at: datetime) -> tuple[datetime, datetime]:
        """Return start and end of the window of an instant, as if this rule had always been in force."""
        if window is Window.HOUR:
            return _hour_bounds(at, self.zone)
        start = self._local_start(window, at.astimezone(self.zone))
        following = self._local_next(window, start)
        while (end := _to_utc(following, self.zone)) <= at:
            # The clock showed this midnight and was then put back to before it: the day has begun already.
            start, following = following, self._local_next(window, following)
        return _to_utc(start, self.zone), end

    def _local_start(self, window: Window, local: datetime) -> datetime:
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
        if window is Window.DAY:
            return day
        if window is Window.WEEK:
            return day - timedelta(days=(day.weekday() - self.week_start) % 7)
        return _add_months(day.replace(day=1), -((day.month - self.fiscal_month) % _MONTHS[window]))

    def _local_next(self, window: Window, start: datetime) -> datetime:
        if window is Window.DAY:
            return start + timedelta(days=1)
        if window is Window.WEEK:
            return start + timedelta(days=7)
        return _add_months(start, _MONTHS[window])


Period = tuple[datetime, datetime]
"""When the local hour and the local day of an instant began."""

PeriodSpan = tuple[datetime, datetime, Period]
"""A period, after a span of instants that have it: from the first on, before the second."""

NO_PERIOD: PeriodSpan = (FIRST_INSTANT, FIRST_INSTANT, (FIRST_INSTANT, FIRST_INSTANT))
"""A span without instants."""

_Periods = tuple[datetime, Period, Period]


@dataclass(frozen=True, slots=True)
class Calendar:
    """A tenant's first rule and its changes, ascending, each with the instant from which it applies."""

    first: CalendarRule
    changes: tuple[tuple[datetime, CalendarRule], ...] = ()
    _periods: dict[datetime, _Periods | None] = field(init=False, default_factory=dict, compare=False, repr=False)
    _bounds: dict[Window, tuple[datetime, datetime]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        instants = [instant for instant, _ in self.changes]
        if any(instant.tzinfo is None for instant in instants) or sorted(set(instants)) != instants:
            raise ValueError("changes of a calendar need instants with a time zone, each later than the one before")

    def bounds(self, window: Window, at: datetime) -> tuple[datetime, datetime | None]:
        """Return start and end in UTC of the window that holds the aware instant `at`; the end is exclusive.

        Those that were found last are remembered, because most calls lie in the window of the one before.
        """
        if window is Window.RUN or window is Window.TOTAL:
            return ALL_TIME, None
        found = self._bounds.get(window)
        if found is None or not found[0] <= at < found[1]:
            found = _bounds(self.rules(window), window, at) if self.changes else self.first.bounds(window, at)
            self._bounds[window] = found
        return found

    def previous(self, window: Window, start: datetime) -> tuple[datetime, datetime]:
        """Return the bounds of the window before the one that begins at `start`; not for `run` and `total`."""
        begin, end = self.bounds(window, start - INSTANT)
        assert end is not None, "run and total have no window before them"
        return begin, end

    def hour(self, at: datetime) -> datetime:
        """Return when the local hour of an instant began: the key of the hourly roll-ups."""
        since, rule = _in_force(self.rules(Window.HOUR), at) if self.changes else (None, self.first)
        start = (at - _past_the_hour(at.astimezone(rule.zone))).astimezone(UTC)
        return start if since is None else max(start, since)

    def day(self, at: datetime) -> datetime:
        """Return when the local day of an instant began: the key of the daily roll-ups."""
        return self.bounds(Window.DAY, at)[0]

    def rule(self, at: datetime) -> CalendarRule:
        """Return the rule that is in force for the day of an instant."""
        return _in_force(self.rules(Window.DAY), at)[1] if self.changes else self.first

    def local(self, at: datetime) -> datetime:
        """Return the local time of an instant, with the zone of its day."""
        return at.astimezone(self.rule(at).zone)

    def local_date(self, at: datetime) -> date:
        """Return the local date of an instant."""
        return self.local(at).date()

    def period(self, at: datetime) -> Period:
        """Return when the local hour and the local day of an instant began."""
        return self.period_span(at)[2]

    def period_span(self, at: datetime) -> PeriodSpan:
        """Return the period of an instant, with a span that the instant lies in, if any is known.

        Periods are remembered by the hour in UTC, because calls of any minute come one after another; not where the
        rule or the clock changes, which may be within one.
        """
        if self.changes:
            return at, at, (self.hour(at), self.day(at))
        hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if hour in self._periods:
            found = self._periods[hour]
        else:
            if len(self._periods) >= _REMEMBERED_HOURS:
                self._periods.clear()
            found = self._periods[hour] = self._periods_of(hour)
        if found is None:
            return at, at, (self.hour(at), self.day(at))
        turn, before, since = found
        return (hour, turn, before) if at < turn else (turn, hour + HOUR, since)

    def _periods_of(self, hour: datetime) -> _Periods | None:
        """Return when in an hour of UTC a local one begins, and the periods before and since; None if clocks change.

        No clock is changed twice within an hour.
        """
        zone = self.first.zone
        if hour.astimezone(zone).utcoffset() != (hour + HOUR - INSTANT).astimezone(zone).utcoffset():
            return None
        start = self.hour(hour)
        if start == hour:
            return hour, (start, self.day(hour)), (start, self.day(hour))
        turn = start + HOUR
        return turn, (start, self.day(hour)), (turn, self.day(turn))

    def next_day(self, at: datetime) -> datetime:
        """Return when the local day after that of an instant begins."""
        _, end = self.bounds(Window.DAY, at)
        assert end is not None, "a day ends"
        return end

    def date_start(self, day: date) -> datetime:
        """Return when a local date began, the first time where a change of the zone brought it twice."""
        midnight = datetime.combine(day, time())
        rules = self.rules(Window.DAY)
        ends = [since for since, _ in rules[1:]]
        for (since, rule), until in zip(rules, [*ends, None], strict=True):
            start, end = (_to_utc(each, rule.zone) for each in (midnight, midnight + timedelta(days=1)))
            if since is not None and end > since:
                start = max(start, since)
            if until is None or start < until:
                break
        return start

    def rules(self, window: Window) -> tuple[tuple[datetime | None, CalendarRule], ...]:
        """Return the rules for a kind of window, each with the instant from which it is in force (None: always)."""
        rules: list[tuple[datetime | None, CalendarRule]] = [(None, self.first)]
        for instant, rule in self.changes:
            start, end = _bounds(tuple(rules), window, instant)
            switch = instant if start == instant else end
            if rules[-1][0] == switch:
                rules.pop()
            rules.append((switch, rule))
        return tuple(rules)


def _bounds(
    rules: tuple[tuple[datetime | None, CalendarRule], ...], window: Window, at: datetime
) -> tuple[datetime, datetime]:
    since, rule = _in_force(rules, at)
    start, end = rule.bounds(window, at)
    return (start if since is None else max(start, since)), end


def _in_force(
    rules: tuple[tuple[datetime | None, CalendarRule], ...], at: datetime
) -> tuple[datetime | None, CalendarRule]:
    return next((since, rule) for since, rule in reversed(rules) if since is None or since <= at)


def _hour_bounds(at: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the bounds of a local hour; it has 90 minutes where the clock is changed by half an hour."""
    start = at - _past_the_hour(at.astimezone(zone))
    before = start.astimezone(zone)
    if before.utcoffset() != at.astimezone(zone).utcoffset():
        start -= _past_the_hour(before)
        later = (start + HOUR).astimezone(zone)
        if later.utcoffset() == before.utcoffset() and start + HOUR <= at:
            start += HOUR
    return start.astimezone(UTC), _next_full_hour(start, zone).astimezone(UTC)


def _next_full_hour(start: datetime, zone: tzinfo) -> datetime:
    end = start + HOUR
    local = end.astimezone(zone)
    past = _past_the_hour(local)
    if not past:
        return end
    earlier = end - past
    if earlier > start and earlier.astimezone(zone).utcoffset() == local.utcoffset():
        return earlier
    return earlier + HOUR


def _past_the_hour(local: datetime) -> timedelta:
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _add_months(first_of_month: datetime, months: int) -> datetime:
    month = first_of_month.year * 12 + first_of_month.month - 1 + months
    return first_of_month.replace(year=month // 12, month=month % 12 + 1)


def _to_utc(local: datetime, zone: tzinfo) -> datetime:
    # A midnight that daylight saving skips becomes the first instant after the gap; of a repeated one the first counts.
    return local.replace(tzinfo=zone).astimezone(UTC)
