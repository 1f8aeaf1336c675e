"""Checks: every account's window is one of the tenant's calendar, and has the instants of all that is on the account.

The calendar of the core is applied again. Changes of it are dated, so it gives past windows as they were then.
"""

from itertools import islice

from sqlalchemy import RowMapping, text

from token_ledger.core.model.account import RUN_BUDGET
from token_ledger.core.model.window import Calendar, Window
from token_ledger.proof.check import Check, Row, Scope, sql_check
from token_ledger.storage.calendars import load_calendar

# The accounts of a run's own limits belong to no budget.
_WINDOWS = f"""
select b."window", a.window_start, a.window_end, min(e.booked_at) as first_opened,
       count(*) as accounts, min(a.account_id) as account_id
from accounts as a
left join budgets as b on b.tenant_id = a.tenant_id and b.budget_id = a.budget_id
left join limit_entries as e
  on e.tenant_id = a.tenant_id and e.account_id = a.account_id and e.entry_id = a.account_id
where a.tenant_id = :tenant and (a.budget_id = {RUN_BUDGET} or b.budget_id is not null)
group by 1, 2, 3
"""


async def _find_wrong_windows(scope: Scope) -> list[Row]:
    """Return windows that the calendar does not have, and those with accounts that were opened before them."""
    calendar, _ = await load_calendar(scope.connection, scope.parameters["tenant"])
    found = await scope.connection.execute(text(_WINDOWS), scope.parameters)
    wrong = (dict(row) for row in found.mappings() if not _is_window(calendar, row))
    return list(islice(wrong, scope.most_rows))


def _is_window(calendar: Calendar, row: RowMapping) -> bool:
    window, start, end = Window(row["window"] or Window.RUN), row["window_start"], row["window_end"]
    opened = row["first_opened"]
    return calendar.bounds(window, start) == (start, end) and opened is not None and opened >= start


# A call belongs to the instant of its hold, one on a lease to that of the lease, and one without a hold to its own.
_INSTANTS = """
with booked as (
    select event_id as id, 'event' as of, path, coalesce(held_at, posted_at) as at from usage_events
    where tenant_id = :tenant and event_id > :cut
    union all
    select reservation_id, 'hold', path, created_at from reservations where tenant_id = :tenant
)
select b.id, b.of, b.at, a.account_id, a.budget, a.subject, a.window_start, a.window_end
from booked as b cross join lateral unnest(b.path) as p (account_id)
join accounts as a on a.tenant_id = :tenant and a.account_id = p.account_id
where b.at < a.window_start or b.at >= a.window_end
"""

CHECKS = (
    Check("no account was opened before its window, which is one of the calendar", _find_wrong_windows),
    sql_check("everything is on accounts of the window that it happened in", _INSTANTS),
)
