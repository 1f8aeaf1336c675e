"""Gives up what is old: months of usage events, with what belongs to them, once checkpoints say what they add up to.

Design D11. The service's role can't delete from a journal. These are the functions of the database that can: each
checks by itself that what it takes is old enough and in a checkpoint, so that the order in which they are called, and
where that stops, can lose nothing. A month's partition is the last to go: while it is there, the month is not done.
"""

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.tenant import TenantId
from token_ledger.storage.periods import Periods

FEWEST_MONTHS = 3
"""Whole months that are kept at least, besides the current one."""

# An idempotency key goes before the row that it leads to: a repeated key must never find that its row is gone.
FORGOTTEN = ("operation_keys", "denials", "trigger_firings", "run_steps", "threshold_events", "reservations")
"""The tables of which old rows are forgotten, in this order."""

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


async def forget(connection: AsyncConnection, table: str, first_block: int, blocks: int) -> tuple[int, int | None]:
    """Delete what is in checkpoints, or belongs to it, from so many blocks of a table, of all tenants.

    Return how many rows that was, and the block to go on from, None at the end of the table.
    """
    done = await connection.execute(
        text("select * from token_ledger_forget(:table, :first_block, :blocks)"),
        {"table": table, "first_block": first_block, "blocks": blocks},
    )
    row = done.one()
    return row.forgotten, row.next_block


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
