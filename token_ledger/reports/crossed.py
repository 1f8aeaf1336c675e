"""Owns the difference between accounts and a report: calls of leases that crossed the start or the end of its span.

A call on a lease is on the accounts of the windows in which the lease began, and in reports at the instant at which it
was made. So the accounts of a span have the report's total, more the calls after the span on leases that began in it,
less the calls in the span on leases that began before it.
"""

from typing import Final

from token_ledger.core.model.usage import Figures
from token_ledger.reports.sums import EVENT_FIGURES

_HOUR: Final = "interval '01:00:00'"
"""Few calls are made longer after the start of their lease; those have an index of their own."""


def _crossing(at: str, sign: int, column: str) -> str:
    """Return the query for calls that were made from an instant on, on leases that began before it."""
    draws = (
        f"select {column}, {sign} as sign, {EVENT_FIGURES} from usage_events"
        f" where tenant_id = :tenant and held_at < :{at}"
    )
    hour_later = f"cast(:{at} as timestamptz) + {_HOUR}"
    return (
        f"{draws} and posted_at >= :{at} and posted_at < {hour_later}"
        f" union all {draws} and posted_at >= {hour_later} and posted_at - held_at > {_HOUR}"
    )


_SUMS = ", ".join(f"sum(sign * {name})::bigint as {name}" for name in Figures._fields)
_COLUMNS = ", ".join(("key", "sign", *Figures._fields))


def crossed_by(column: str) -> str:
    """Return the query for what crossed the ends of the span from `:since` to `:until`.

    It has a row for each value of a column of the events, the value first and then the figures in their order.
    """
    draws = f"{_crossing('until', 1, column)} union all {_crossing('since', -1, column)}"
    return f"select key, {_SUMS} from ({draws}) as draws ({_COLUMNS}) group by key"
