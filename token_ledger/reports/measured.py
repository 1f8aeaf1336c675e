"""Adds up what was measured of single calls, by dimensions, in pages: rows, and the same figures of all calls.

A median of medians is none, so figures of all calls are found from all calls, and a page knows nothing of other rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.reports.calls import Key, Selection
from token_ledger.reports.kept_calls import booked_until, check_events_kept
from token_ledger.storage.reads.query import fetch_rows

IS_TAKEN_BACK: Final = (
    "(event_id in (select corrects from usage_events where tenant_id = :tenant and corrects is not null"
    " and posted_at >= :since and posted_at < :until))"
)
"""Whether an event was taken back: a correction has its instant, so it is in the span, too.

Not a join: the planner expects few rows of a tenant, and would look each event up in every month.
"""


@dataclass(frozen=True, slots=True)
class Times:
    """How long calls took, in milliseconds: how many were measured, and the times that half and 95% do not exceed."""

    measured: int
    p50_ms: int | None
    p95_ms: int | None


@dataclass(frozen=True, slots=True)
class MeasuredPage:
    """The rows of a page, each with its key and figures; `total` has the figures of all calls."""

    selection: Selection
    booked_until: datetime
    rows: Sequence[tuple[Key, Mapping[str, Any]]]
    total: Mapping[str, Any]
    following: int | None


def detail(name: str) -> str:
    """Return a number that was measured of an event, as SQL on usage events; null where nobody measured it."""
    return f"(details ->> '{name}')::bigint"


def times_of(figures: Mapping[str, Any], name: str) -> Times:
    """Return the times whose SQL `times_sql` gives."""
    p50, p95 = figures[name] or (None, None)
    return Times(figures[f"{name}_measured"], p50, p95)


def times_sql(name: str, milliseconds: str) -> dict[str, str]:
    """Return what finds the times of calls, as SQL by name; milliseconds that are null count nowhere."""
    return {
        name: f"percentile_disc(array[0.5, 0.95]) within group (order by {milliseconds})",
        f"{name}_measured": f"count({milliseconds})",
    }


async def measured_page(
    connection: AsyncConnection, selection: Selection, columns: Mapping[str, str], figures: Mapping[str, str],
    *, order: Sequence[str], after: int, most: int,
) -> MeasuredPage:  # fmt: skip
    """Return the rows of a selection after so many, in an order, and then in that of their keys.

    `columns` are what is read of each event, as SQL by name, and `figures` what a row says, as aggregates of these; the
    `order` names figures. Raises ProblemError if events of the span may no longer be kept.
    """
    await check_events_kept(connection, selection)
    keys = ", ".join(selection.keys)
    places = ", ".join([*order, *(f"nullif({key}, '') nulls last" for key in selection.keys)])
    read = {**dict(zip(selection.keys, selection.texts(), strict=True)), **columns}
    where = selection.where("posted_at >= :since and posted_at < :until")
    # Without `offset 0` what is measured would be read from the details only after these were sorted.
    statement = (
        f"with found as (select {_listed(read)} from usage_events {where} offset 0),"
        f" grouped as (select grouping({keys}) > 0 as is_total, {keys}, {_listed(figures)} from found"
        f" group by grouping sets (({keys}), ())),"
        f" placed as (select row_number() over (partition by is_total order by {places}) as place, * from grouped)"
        " select * from placed where is_total or (place > :skipped and place <= :shown) order by is_total desc, place"
    )
    total, *rows = await fetch_rows(
        connection, statement, **selection.values, skipped=after, shown=after + most + 1
    )  # fmt: skip
    first = 2 + len(selection.keys)
    return MeasuredPage(
        selection, await booked_until(connection, selection.tenant),
        [(selection.key(row[2:first]), row._mapping) for row in rows[:most]], total._mapping,
        after + most if len(rows) > most else None,
    )  # fmt: skip


def _listed(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{sql} as {name}" for name, sql in columns.items())
