"""Owns the difference between accounts and a report: calls of leases that crossed the start or the end of its span.

A call on a lease is on the accounts of the windows in which the lease began, and in reports at the instant at which it
was made. So the accounts of a span have the report's total, more the calls after the span on leases that began in it,
less the calls in the span on leases that began before it.
"""

from typing import Final

from token_ledger.reports.calls import Selection

_HOUR: Final = "interval '01:00:00'"
"""Few calls are made longer after the start of their lease; those have an index of their own."""


def crossing_calls(selection: Selection) -> str:
    """Return the query for the calls that crossed the ends of a span; negative are those that accounts do not have."""
    return " union all ".join([*_crossing(selection, "until", 1), *_crossing(selection, "since", -1)])


def _crossing(selection: Selection, at: str, sign: int) -> list[str]:
    """Return queries for calls that were made from an instant on, on leases that began before it."""
    hour_later = f"cast(:{at} as timestamptz) + {_HOUR}"
    return [
        selection.events(f"held_at < :{at} and {condition}", sign=sign)
        for condition in (
            f"posted_at >= :{at} and posted_at < {hour_later}",
            f"posted_at >= {hour_later} and posted_at - held_at > {_HOUR}",
        )
    ]
