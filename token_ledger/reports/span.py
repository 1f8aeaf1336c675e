"""Owns the span of time of a report: the instants that it names, and which hours or days lie wholly in it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from token_ledger.core.model.window import HOUR, INSTANT, Calendar

_DEFAULT_LENGTH = timedelta(days=31)
_AHEAD = timedelta(hours=1)
"""A call may be posted a few minutes ahead, so a span without an end goes on a little after now."""

Bound = datetime | date
"""An instant, or the start of a local day."""

Span = tuple[datetime, datetime]
"""From an instant, included, to another, excluded."""


def span_of(calendar: Calendar, since: Bound | None, until: Bound | None, now: datetime) -> Span:
    """Return the instants that a span goes from and to: by default the 31 days before its end, and to now."""
    first, last = _bounds(since, until, now)
    return _instant(calendar, first), _instant(calendar, last)


def span_before(calendar: Calendar, since: Bound | None, until: Bound | None, now: datetime) -> Span:
    """Return the span before another: as many days where that goes from a date to a date, else as much time."""
    first, last = _bounds(since, until, now)
    begin, end = _instant(calendar, first), _instant(calendar, last)
    if isinstance(first, datetime) or isinstance(last, datetime):
        return begin - (end - begin), begin
    return calendar.date_start(first - (last - first)), begin


def _bounds(since: Bound | None, until: Bound | None, now: datetime) -> tuple[Bound, Bound]:
    last = now + _AHEAD if until is None else until
    return last - _DEFAULT_LENGTH if since is None else since, last


def _instant(calendar: Calendar, bound: Bound) -> datetime:
    return bound if isinstance(bound, datetime) else calendar.date_start(bound)


@dataclass(frozen=True, slots=True)
class WholePeriods:
    """The hours or days that lie wholly in a span: from `begin` to `end`, kept under `first` to before `last`.

    Where none does, `begin` and `end` are the end of the span, or its start if an hour or day begins there.
    """

    begin: datetime
    end: datetime
    first: datetime
    last: datetime


# What an hour is kept under lies less than an hour back and never falls as time goes on. It need not be in the hour:
# where a clock is put back by half an hour, the half hour after that is kept under the half hour before it.
def whole_hours(calendar: Calendar, span: Span) -> WholePeriods:
    """Return the hours that lie wholly in a span."""
    since, until = span
    before, last = calendar.hour(since - INSTANT), calendar.hour(until)
    begin = _first_instant(since - INSTANT, since + HOUR, lambda at: calendar.hour(at) > before)
    end = _first_instant(until - HOUR, until, lambda at: calendar.hour(at) == last)
    return _whole(span, begin, end, calendar.hour)


def whole_days(calendar: Calendar, span: Span) -> WholePeriods:
    """Return the days that lie wholly in a span."""
    return _whole(span, calendar.next_day(span[0] - INSTANT), calendar.day(span[1]), calendar.day)


def _whole(span: Span, begin: datetime, end: datetime, kept_under: Callable[[datetime], datetime]) -> WholePeriods:
    if begin >= end:
        begin = end = span[0] if begin == span[0] else span[1]
    return WholePeriods(begin, end, kept_under(begin), kept_under(end))


def _first_instant(low: datetime, high: datetime, reached: Callable[[datetime], bool]) -> datetime:
    """Return the first instant after `low` at which something is reached that is reached at `high`."""
    while high - low > INSTANT:
        middle = low + (high - low) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
