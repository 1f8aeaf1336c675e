"""Report: calls, tokens and cost of the calls of a span, grouped and chosen by any dimensions.

Its parts are read one after the other, so they need a transaction in which all statements see the same state.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.call import UNASSIGNED
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import Filters, Key, Selection
from token_ledger.reports.crossed import crossing_calls
from token_ledger.reports.dimensions import Dimension, dimension_named
from token_ledger.reports.kept_calls import check_kept, kept_from
from token_ledger.reports.other_kinds import KindUse, kinds_of
from token_ledger.reports.span import Span
from token_ledger.reports.sums import EVENT_FIGURES, NOTHING, SUMS
from token_ledger.storage.calendars import load_calendar
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
_BOOKED_UNTIL: Final = "select booked_at from tenant_ledgers where tenant_id = :tenant"


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
    """The calls with one value of each dimension; `kinds` is what they used of other kinds."""

    key: Key
    sums: Figures
    compared: Figures | None = None
    kinds: tuple[KindUse, ...] = ()


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
    compared: Figures | None
    lines: Mapping[str, Figures]
    lines_are_complete: bool
    crossed: Mapping[Key, Figures] | None
    imported: Mapping[Key, Figures] | None
    kinds: Mapping[Key, tuple[KindUse, ...]] | None

    @property
    def rest(self) -> Figures:
        """The sums of all rows but those that were asked for."""
        return _less(self.total, [row.sums for row in self.rows])

    @property
    def compared_rest(self) -> Figures | None:
        """The same of the other span, with what has no row in this one."""
        shown = [row.compared for row in self.rows if row.compared is not None]
        return None if self.compared is None else _less(self.compared, shown)


async def spend_of(connection: AsyncConnection, tenant: TenantId, asked: Asked) -> Spend:
    """Return what a tenant spent on calls that are posted from the start of a span to its end, which is excluded.

    The transaction has to be a snapshot. Raises ProblemError if this needs events that are no longer kept.
    """
    calendar, made_at = await load_calendar(connection, tenant)
    [(booked_until,)] = await fetch_rows(connection, _BOOKED_UNTIL, tenant=tenant)
    kept = await kept_from(connection, tenant)
    selection = _selection(tenant, calendar, asked.span, asked)
    await check_kept(connection, selection, kept)
    rows, count, total = await _rows(connection, selection, asked)
    total_before = None
    if asked.compared is not None:
        before = _selection(tenant, calendar, asked.compared, asked)
        await check_kept(connection, before, kept)
        sums = await sums_of(connection, before, before.sums())
        rows = tuple(replace(row, compared=sums.get(row.key, NOTHING)) for row in rows)
        total_before = Figures(*map(sum, zip(NOTHING, *sums.values(), strict=True)))
    all_are_kept = kept is None or asked.span[0] >= kept
    crossed_is_known = kept is None or all(at >= kept or at <= made_at for at in selection.span)
    has_crossed = crossed_is_known and not any(each.is_time for each in asked.group_by)
    lines = await _unattributed(connection, selection, kept)
    imported = selection.events("counts_since is not null and posted_at >= :since and posted_at < :until")
    return Spend(
        asked, calendar, booked_until, rows, count, total, total_before,
        lines=lines | (await _lines(connection, selection) if all_are_kept else {}),
        lines_are_complete=all_are_kept,
        crossed=await _known(connection, selection, crossing_calls(selection)) if has_crossed else None,
        imported=await _known(connection, selection, imported) if all_are_kept else None,
        kinds=await kinds_of(connection, selection) if asked.with_kinds and all_are_kept else None,
    )  # fmt: skip


def _selection(tenant: TenantId, calendar: Calendar, span: Span, asked: Asked) -> Selection:
    since, until = span
    return Selection(tenant, calendar, (since, max(since, until)), asked.group_by, asked.filters)


async def _rows(
    connection: AsyncConnection, selection: Selection, asked: Asked
) -> tuple[tuple[SpendRow, ...], int, Figures]:
    """Return the rows that were asked for, how many there are in all, and their total."""
    keys = selection.keys
    order = ", ".join([*_order(asked), *(f"{key} nulls last" for key in keys), "calls"])
    totals = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in Figures._fields)
    statement = (
        f"with grouped as materialized ({_grouped(selection, selection.sums())}),"
        f" placed as (select row_number() over (order by {order}) as place, grouped.* from grouped)"
        " select * from placed where place > :skipped and place <= :shown"
        f" union all select -count(*), {''.join('null, ' for _ in keys)} {totals} from grouped order by place"
    )
    values = selection.values | {"skipped": asked.after, "shown": asked.after + asked.most}
    total, *rows = await fetch_rows(connection, statement, **values)  # the total first: its place is not positive
    first = 1 + len(keys)
    found = (SpendRow(selection.key(row[1:first]), Figures(*row[first:])) for row in rows)
    return tuple(found), -total[0], Figures(*total[first:])


def _order(asked: Asked) -> list[str]:
    sort = asked.sort or ("key" if asked.group_by and asked.group_by[0].is_time else "cost")
    return [_ORDERS[sort]] if sort in _ORDERS else []


def _grouped(selection: Selection, calls: str) -> str:
    keys, columns = selection.keys, ", ".join((*selection.keys, *Figures._fields))
    by = f"group by {', '.join(keys)}" if keys else "having count(*) > 0"
    return f"select {''.join(f'{key}, ' for key in keys)} {SUMS} from ({calls}) as calls ({columns}) {by}"


async def sums_of(connection: AsyncConnection, selection: Selection, calls: str) -> dict[Key, Figures]:
    """Return the sums of the calls of a query, by what a selection groups by."""
    width = len(selection.group_by)
    rows = await fetch_rows(connection, _grouped(selection, calls), **selection.values)
    return {selection.key(row[:width]): Figures(*row[width:]) for row in rows}


async def _known(connection: AsyncConnection, selection: Selection, calls: str) -> dict[Key, Figures]:
    return {key: sums for key, sums in (await sums_of(connection, selection, calls)).items() if sums != NOTHING}


async def _lines(connection: AsyncConnection, selection: Selection) -> dict[str, Figures]:
    """Return what of the total is told by itself, where there is any."""
    columns = ", ".join(
        f"coalesce(sum({figure}) filter (where {condition}), 0)::bigint"
        for condition in _LINES.values()
        for figure in EVENT_FIGURES.split(", ")
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
    sums = await sums_of(connection, chosen, chosen.sums())
    return {"unattributed": sums[()]} if sums else {}


def _less(whole: Figures, parts: Iterable[Figures]) -> Figures:
    return Figures(*(figure - sum(taken) for figure, *taken in zip(whole, *parts, strict=True)))
