"""Deletes old months of usage events, and what belongs to them, once checkpoints have their sums.

The service's role can't delete from a journal, so functions of the database do. Each checks by itself that what it
deletes is old enough and in a checkpoint, so nothing is lost whatever the order of calls and wherever they stop. The
month's partition goes last: while it is there, the month is not done.
"""

import json
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.upkeep.periods import Periods

# An idempotency key goes before the row that it leads to: a repeated key must never find that its row is gone.
FORGOTTEN = ("operation_keys", "denials", "trigger_firings", "run_steps", "threshold_events", "reservations")
"""The tables whose old rows are deleted, in this order."""

_LOCK_NOT_AVAILABLE = "55P03"


class MonthInUse(Exception):
    """A partition can't be dropped just now, because someone reads usage events. Try again after a moment."""


async def due_months(connection: AsyncConnection, months: int) -> list[str]:
    """Return the partitions of usage events that are older than so many whole months, the oldest first."""
    found = await connection.execute(text("select token_ledger_due_months(:months)"), {"months": months})
    return [str(name) for name in found.scalars()]


async def add_to_checkpoint(
    connection: AsyncConnection, tenant: TenantId, periods: Periods, months: int, events: int
) -> int:
    """Add the next events of a tenant, at least so many if there are, to its checkpoints; return how many were added.

    0 means that all of its events from before the months that are kept are in checkpoints.
    """
    added = await connection.execute(
        text(
            "select token_ledger_checkpoint(:tenant, :months, :events, cast(:hour_since as timestamptz[]),"
            " cast(:hour_origin as timestamptz[]), cast(:hour_floor as timestamptz[]),"
            " cast(:day_starts as timestamptz[]))"
        ),
        {"tenant": tenant, "months": months, "events": events, **periods.values},
    )
    return int(added.scalar_one())


Place = dict[str, Any]
"""The key of the last row that was looked at, in a table whose old rows are deleted."""


async def forget(
    connection: AsyncConnection, tenant: TenantId, table: str, after: Place | None, rows: int
) -> tuple[int, Place | None]:
    """Delete what is in a tenant's checkpoints, or belongs to it, from the next rows of a table.

    Return how many were deleted, and the place to go on after, None at the end of the table.
    """
    done = await connection.execute(
        text("select * from token_ledger_forget(:tenant, :table, cast(:after as jsonb), :rows)"),
        {"tenant": tenant, "table": table, "after": None if after is None else json.dumps(after), "rows": rows},
    )
    row = done.one()
    return row.forgotten, row.reached


async def drop_month(connection: AsyncConnection, months: int) -> str | None:
    """Drop the oldest partition that is due and return its name, None where none is.

    Raises MonthInUse, and an error of the database if the partition has events that are in no checkpoint.
    """
    try:
        dropped = await connection.execute(text("select token_ledger_drop_month(:months)"), {"months": months})
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise MonthInUse("usage events are being read") from error
    name = dropped.scalar_one()
    return None if name is None else str(name)
