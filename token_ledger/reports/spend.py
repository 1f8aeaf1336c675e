"""Report: calls, tokens and cost of the calls of a span, grouped and chosen by any dimensions.

Its parts are read one after the other, so they need a transaction in which all statements see the same state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.call import UNASSIGNED
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import Filters, Key, Selection, select_calls
from token_ledger.reports.crossed import crossing_calls
from token_ledger.reports.dimensions import Dimension, dimension_named
from token_ledger.reports.kept_calls import booked_until, check_kept, kept_from
from token_ledger.reports.other_kinds import PageKinds, page_kinds
from token_ledger.reports.page import TOTALS, Page, PageSums, grouped, less, page_sums, row_name
from token_ledger.reports.span import Span
from token_ledger.reports.sums import EVENT_FIGURES, NOTHING
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.wire.problems import ProblemError

Sort = Literal["key", "cost", "calls", "tokens"]

_ORDERS: Final[Mapping[Sort, str]] = {
    "cost": "cost_nanos desc",
    "calls": "calls desc",
    "tokens": "input_tokens + output_tokens desc",
}
_LINES: Final[Mapping[str, str]] = {
    "unpriced": "unpriced",
    "estimated": "estimated",
    "late": "late",
    "adjusted": "(corrects is not null or recosts is not null)",
}
"""What of the total is told by itself, as a condition on usage events."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: so many rows after the first `after`; and `compared`, the same of another span.

    Without `sort` the dearest come first, but where the first dimension is a time, the earliest.
    """

    group_by: tuple[Dimension, ...]
    span: Span
    filters: Filters = ()
    sort: Sort | None = None
    most: int = 1_000
    after: int = 0
    compared: Span | None = None
    with_kinds: bool = False


@dataclass(frozen=True, slots=True)
class SpendRow:
    """The calls with one value of each dimension."""

    key: Key
    sums: Figures


@dataclass(frozen=True, slots=True)
class Compared:
    """What another span has; what is not under the values of the rows that are shown is the rest of its sums."""

    span: Span
    sums: PageSums


@dataclass(frozen=True, slots=True)
class Spend:
    """The report: the rows that were asked for, of `count`, and the total of all.

    `lines` is what of the total is unattributed, unpriced, estimated, late or adjusted, where there is any; where calls
    may no longer be kept, only the first is known, and `crossed`, `imported` and `kinds` are None. `crossed` is what
    accounts have of the span besides the rows: calls of leases that began in it and went on after it, less those of
    leases that began before it; None where rows are by a time. `imported` is what of the rows was imported, which is
    not on accounts whose windows had not ended then.
    """

    asked: Asked
    calendar: Calendar
    booked_until: datetime
    rows: tuple[SpendRow, ...]
    count: int
    total: Figures
    compared: Compared | None
    lines: Mapping[str, Figures]
    lines_are_complete: bool
    crossed: PageSums | None
    imported: PageSums | None
    kinds: PageKinds | None

    @property
    def rest(self) -> Figures:
        """The sums of all rows but those that were asked for."""
        return less(self.total, [row.sums for row in self.rows])


async def spend_of(
    connection: AsyncConnection, tenant: TenantId, calendar: Calendar, made_at: datetime, asked: Asked
) -> Spend:
    """Return what a tenant spent on calls that are posted from the start of a span to its end, which is excluded.

    `made_at` is when the tenant was made. The transaction has to be a snapshot. Raises ProblemError if this needs
    events that are no longer kept.
    """
    until = await booked_until(connection, tenant)
    kept = await kept_from(connection, tenant)
    selection = await select_calls(connection, tenant, calendar, asked.span, asked.group_by, asked.filters)
    await check_kept(connection, selection, kept)
    rows, page, count, total = await spend_rows(connection, selection, asked)
    compared = None
    if asked.compared is not None:
        before = await select_calls(connection, tenant, calendar, asked.compared, asked.group_by, asked.filters)
        await check_kept(connection, before, kept)
        compared = Compared(asked.compared, await page_sums(connection, before, before.sums(), page))
    all_are_kept = kept is None or asked.span[0] >= kept
    crossed_is_known = kept is None or all(at >= kept or at <= made_at for at in selection.span)
    has_crossed = crossed_is_known and not any(each.is_time for each in asked.group_by)
    lines = await _unattributed(connection, selection, kept)
    imported = selection.events("counts_since is not null and posted_at >= :since and posted_at < :until")
    return Spend(
        asked, calendar, until, rows, count, total, compared,
        lines=lines | (await _lines(connection, selection) if all_are_kept else {}),
        lines_are_complete=all_are_kept,
        crossed=await page_sums(connection, selection, crossing_calls(selection), page) if has_crossed else None,
        imported=await page_sums(connection, selection, imported, page) if all_are_kept else None,
        kinds=await page_kinds(connection, selection, page) if asked.with_kinds and all_are_kept else None,
    )  # fmt: skip


async def spend_rows(
    connection: AsyncConnection, selection: Selection, asked: Asked
) -> tuple[tuple[SpendRow, ...], Page, int, Figures]:
    """Return the rows that were asked for, with their names, how many there are in all, and their total."""
    keys = selection.keys
    order = ", ".join([*_order(asked), *(f"{key} nulls last" for key in keys), "calls"])
    statement = (
        f"with grouped as materialized ({grouped(selection, selection.sums())}),"
        f" placed as (select row_number() over (order by {order}) as place, {row_name(selection)} as name, grouped.*"
        " from grouped)"
        " select * from placed where place > :skipped and place <= :shown"
        f" union all select -count(*), null, {''.join('null, ' for _ in keys)} {TOTALS} from grouped order by place"
    )
    place = {"skipped": asked.after, "shown": asked.after + asked.most}
    total, *rows = await fetch_rows(connection, statement, **selection.values, **place)
    first = 2 + len(keys)
    found = tuple(SpendRow(selection.key(row[2:first]), Figures(*row[first:])) for row in rows)
    # The total comes first: its place is not positive.
    return found, [row[1] for row in rows], -total[0], Figures(*total[first:])


def _order(asked: Asked) -> list[str]:
    sort = asked.sort or ("key" if asked.group_by and asked.group_by[0].is_time else "cost")
    return [_ORDERS[sort]] if sort in _ORDERS else []


async def _lines(connection: AsyncConnection, selection: Selection) -> dict[str, Figures]:
    """Return what of the total is told by itself, where there is any."""
    columns = ", ".join(
        f"coalesce(sum({figure}) filter (where {condition}), 0)::bigint"
        for condition in _LINES.values()
        for figure in EVENT_FIGURES
    )
    marked = selection.where(f"({' or '.join(_LINES.values())}) and posted_at >= :since and posted_at < :until")
    [row] = await fetch_rows(connection, f"select {columns} from usage_events {marked}", **selection.values)
    width = len(NOTHING)
    found = {name: Figures(*row[place * width : (place + 1) * width]) for place, name in enumerate(_LINES)}
    return {name: sums for name, sums in found.items() if sums != NOTHING}


async def _unattributed(connection: AsyncConnection, selection: Selection, kept: datetime | None) -> dict[str, Figures]:
    """Return what of the total has no cost center, if there is any and it is still known."""
    filters = (*selection.filters, (dimension_named("cost_center"), (UNASSIGNED,)))
    chosen = replace(selection, group_by=(), filters=filters)
    try:
        await check_kept(connection, chosen, kept)
    except ProblemError:
        return {}
    sums = await page_sums(connection, chosen, chosen.sums(), ())
    return {} if sums.total == NOTHING else {"unattributed": sums.total}
