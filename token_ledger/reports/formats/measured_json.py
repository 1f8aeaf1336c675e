"""What answers of several reports say: their span, times, shares and rates."""

from datetime import datetime
from fractions import Fraction
from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.window import Calendar
from token_ledger.reports.measured import MeasuredPage, Times
from token_ledger.reports.span import Span
from token_ledger.wire.fields import InstantText, answer, doc, instant

# `from` is a keyword of Python, so this type cannot be written as a class.
SpanAnswer = TypedDict(
    "SpanAnswer",
    {
        "from": Annotated[InstantText, doc("Start of the span, included.", "2026-11-01T00:00:00+00:00")],
        "to": Annotated[InstantText, doc("End of the span, excluded.", "2026-12-01T00:00:00+00:00")],
        "time_zone": Annotated[str, doc("The tenant's time zone at the start of the span.", "Europe/Berlin")],
        "booked_until": Annotated[
            InstantText, doc("Whatever was booked until then is in the report.", "2026-11-21T09:30:00.123456+00:00")
        ],
    },
)
SpanAnswer.__doc__ = "What a report is about."

NextRow = Annotated[str | None, doc("The `after` of the next page; null where this is the last one.", None)]


@answer
class TimesAnswer(TypedDict):
    """How long calls took, of those that were measured and not taken back."""

    measured: Annotated[int, doc("How many calls were measured.", 1_150)]
    p50_ms: Annotated[
        int | None, doc("Half of them took no longer than this, in milliseconds; null if none was measured.", 1_830)
    ]
    p95_ms: Annotated[int | None, doc("95% of them took no longer than this.", 6_240)]


def span_answer(calendar: Calendar, span: Span, booked_until: datetime) -> SpanAnswer:
    """Return what a report is about."""
    since, until = span
    return {
        "from": instant(since),
        "to": instant(until),
        "time_zone": str(calendar.local(since).tzinfo),
        "booked_until": instant(booked_until),
    }


def page_answer(page: MeasuredPage) -> SpanAnswer:
    """Return what a page of rows is about."""
    return span_answer(page.selection.calendar, page.selection.span, page.booked_until)


def times_answer(times: Times) -> TimesAnswer:
    """Return how long calls took."""
    return {"measured": times.measured, "p50_ms": times.p50_ms, "p95_ms": times.p95_ms}


def next_row(page: MeasuredPage) -> str | None:
    """Return the `after` of the next page."""
    return None if page.following is None else str(page.following)


def ratio(part: int, whole: int, digits: int = 4) -> float | None:
    """Return a part divided by the whole, to so many digits after the point; None of nothing."""
    return float(round(Fraction(part, whole), digits)) if whole > 0 else None
