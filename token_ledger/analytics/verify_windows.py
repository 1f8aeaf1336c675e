"""Check of verify: every window is one of the tenant's calendar, and its account was opened within it (design D4).

The calendar is the core's; a change of it is dated ahead, so it says of every window what it said then.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.account import RUN_BUDGET
from token_ledger.core.window import Calendar, Window
from token_ledger.storage.periods import load_calendar

WINDOWS = "every account was opened in a window of the calendar"

# A run's own accounts are of no budget.
_WINDOWS = f"""
select b."window", a.window_start, a.window_end, min(e.booked_at) as first_opened, max(e.booked_at) as last_opened,
       count(*) as accounts, min(a.account_id) as account_id
from accounts as a
left join budgets as b on b.tenant_id = a.tenant_id and b.budget_id = a.budget_id
left join limit_entries as e
  on e.tenant_id = a.tenant_id and e.account_id = a.account_id and e.entry_id = a.account_id
where a.tenant_id = :tenant and (a.budget_id = {RUN_BUDGET} or b.budget_id is not null)
group by 1, 2, 3
"""


async def find_wrong_windows(
    connection: AsyncConnection, values: Mapping[str, Any], most: int
) -> list[dict[str, Any]]:  # fmt: skip
    """Return at most so many windows that the tenant's calendar did not have, or that an account was opened outside."""
    calendar, _ = await load_calendar(connection, values["tenant"])
    found = await connection.execute(text(_WINDOWS), values)
    return list(islice((dict(row) for row in found.mappings() if not _is_window(calendar, row)), most))


def _is_window(calendar: Calendar, row: RowMapping) -> bool:
    window, start, end = Window(row["window"] or Window.RUN), row["window_start"], row["window_end"]
    opened = row["first_opened"], row["last_opened"]
    return calendar.bounds(window, start) == (start, end) and all(
        at is not None and start <= at and (end is None or at < end) for at in opened
    )
