"""Report: calls, tokens and cost over a span of time, grouped by one dimension.

Hours or days that lie wholly in the span are read from the roll-up that has the dimension, and what is left at both
ends from the usage events. So every dimension has the same total, whatever the span. To group by something new, add it
to `Dimension` and name its roll-up and column in `_ROLLUP_OF`; if none has it, begin in `storage.schema.rollup_tables`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.event import NEWEST
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import INSTANT, Calendar
from token_ledger.reports.crossed import crossed_by
from token_ledger.reports.other_kinds import KINDS_OF_A_KEY, KindUse, kinds_query, kinds_read
from token_ledger.reports.span import Span, WholePeriods, whole_days, whole_hours
from token_ledger.reports.sums import EVENT_FIGURES, NOTHING, SUMS, SumRow, add_up
from token_ledger.storage.calendars import load_calendar
from token_ledger.wire.problems import invalid_field

Dimension = Literal["user", "agent_type", "model", "cost_center", "request_type"]


@dataclass(frozen=True, slots=True)
class _Rollup:
    """A roll-up: its table, the column with what an hour or day is kept under, and how these are found."""

    table: str
    period: str
    whole: Callable[[Calendar, Span], WholePeriods]
    start: Callable[[Calendar, datetime], datetime]


_HOURLY = _Rollup("hourly_usage", "hour", whole_hours, Calendar.hour)
_DAILY = _Rollup("daily_usage", "day", whole_days, Calendar.day)

# The roll-up of each dimension, and its column, which usage events have too.
_ROLLUP_OF: Final[Mapping[Dimension, tuple[_Rollup, str]]] = {
    "user": (_DAILY, "user_id"),
    "agent_type": (_HOURLY, "agent_type"),
    "model": (_HOURLY, "model"),
    "cost_center": (_HOURLY, "cost_center"),
    "request_type": (_DAILY, "request_type"),
}


_SPENT, _CROSSED, _IMPORTED = "spent", "crossed", "imported"
"""What the rows of the statement are of."""


@dataclass(frozen=True, slots=True)
class Spend:
    """The report: rows with the highest cost first, and their total."""

    group_by: Dimension
    since: datetime
    until: datetime
    rows: tuple[SumRow, ...]
    total: Figures
    crossed: tuple[SumRow, ...] | None
    """What accounts have of the span besides the rows: calls of leases that began in it and went on after it, less
    those of leases that began before it. None if these may be calls that are no longer kept."""
    imported: tuple[SumRow, ...] | None
    """What of the rows was imported, which is not on accounts whose windows had not ended then. None if these may be
    calls that are no longer kept."""
    kinds: Mapping[str, tuple[KindUse, ...]] | None = None
    """What the calls of each row used of other kinds, where there are any. None unless these were asked for, and if
    calls of the span may no longer be kept."""


async def spend_by(
    connection: AsyncConnection, tenant: TenantId, group_by: Dimension, since: datetime, until: datetime,
    *, with_kinds: bool = False,
) -> Spend:  # fmt: skip
    """Return what a tenant spent on calls that are posted from `since` (inclusive) to `until` (exclusive).

    With `with_kinds` it reads the calls that used other kinds, too. Raises ProblemError if the span begins or ends
    within an hour or day whose events are no longer kept.
    """
    rollup, column = _ROLLUP_OF[group_by]
    calendar, made_at = await load_calendar(connection, tenant)
    end = max(since, until)  # a span that ends before it begins is empty
    whole = rollup.whole(calendar, (since, end))
    values = {
        "tenant": tenant, "since": since, "begin": whole.begin, "first": whole.first, "last": whole.last,
        "end": whole.end, "until": end,
    }  # fmt: skip
    # One statement, so that all of it is read in the same state.
    found = await connection.execute(text(_statement(rollup, column, with_kinds=with_kinds)), values)
    parts: dict[str, list[SumRow]] = {_SPENT: [], _CROSSED: [], _IMPORTED: []}
    kinds: dict[str, tuple[KindUse, ...]] = {}
    for used, part, key, *sums in found:
        parts[part].append(SumRow(key, Figures(*sums)))
        if used is not None:
            kinds[key] = kinds_read(used)
    # Afterwards: what was kept when this is read was kept before.
    for field, edge in (("from", (since, whole.begin)), ("to", (whole.end, end))):
        await _check_kept(connection, tenant, rollup, calendar, field, edge)
    rows, crossed, imported = (
        tuple(row for row in parts[part] if part == _SPENT or row.sums != NOTHING)
        for part in (_SPENT, _CROSSED, _IMPORTED)
    )
    total = add_up(row.sums for row in rows)
    kept = await kept_from(connection, tenant)
    crossed_is_known = kept is None or all(at >= kept or at <= made_at for at in (since, end))
    all_are_kept = kept is None or since >= kept
    return Spend(
        group_by, since, until, rows, total,
        crossed=crossed if crossed_is_known else None,
        imported=imported if all_are_kept else None,
        kinds=kinds if with_kinds and all_are_kept else None,
    )  # fmt: skip


def _statement(rollup: _Rollup, column: str, *, with_kinds: bool) -> str:
    figures = ", ".join(Figures._fields)
    events = f"select {column}, {EVENT_FIGURES} from usage_events where tenant_id = :tenant"
    spent = (
        f"select '{_SPENT}' as part, key, {SUMS} from ("
        f"select {column} as key, {figures} from {rollup.table}"
        f" where tenant_id = :tenant and {rollup.period} >= :first and {rollup.period} < :last"
        f" union all {events} and posted_at >= :since and posted_at < :begin"
        f" union all {events} and posted_at >= :end and posted_at < :until"
        f") as each group by key union all select '{_CROSSED}', crossed.* from ({crossed_by(column)}) as crossed"
        f" union all select '{_IMPORTED}', key, {SUMS} from (select {column}, {EVENT_FIGURES} from usage_events"
        " where tenant_id = :tenant and counts_since is not null and posted_at >= :since and posted_at < :until"
        f") as each (key, {figures}) group by key"
    )
    order = "order by part, cost_nanos desc, spent.key"
    if not with_kinds:
        return f"select null as kinds, spent.* from ({spent}) as spent {order}"
    used = f"select key, {KINDS_OF_A_KEY} as kinds from ({kinds_query(column)}) as used group by key"
    return (
        f"select used.kinds, spent.* from ({spent}) as spent left join ({used}) as used"
        f" on used.key = spent.key and part = '{_SPENT}' {order}"
    )


def column_of(dimension: Dimension) -> str:
    """Return the column of a dimension, in its roll-up and in usage events."""
    return _ROLLUP_OF[dimension][1]


async def kept_from(connection: AsyncConnection, tenant: TenantId) -> datetime | None:
    """Return the instant from which all events are surely kept, None where none was dropped."""
    found = await connection.execute(
        text("select booked_at from checkpoints where tenant_id = :tenant"), {"tenant": tenant}
    )
    booked_at: datetime | None = found.scalar_one_or_none()
    return None if booked_at is None else booked_at + NEWEST


async def _check_kept(
    connection: AsyncConnection, tenant: TenantId, rollup: _Rollup, calendar: Calendar, field: str, edge: Span
) -> None:
    """Raise ProblemError if events of an edge may be gone, which retention drops once their sums are kept."""
    since, until = edge
    if since >= until:
        return
    first, last = rollup.start(calendar, since), rollup.start(calendar, until - INSTANT)
    values: dict[str, Any] = {"tenant": tenant, "first": first, "last": last}
    kept = await kept_from(connection, tenant)
    if kept is None or kept <= since:
        return
    found = await connection.execute(
        text(
            f"select 1 from {rollup.table} where tenant_id = :tenant"
            f" and {rollup.period} >= :first and {rollup.period} <= :last limit 1"
        ),
        values,
    )
    if not found.all():
        return
    begin, end = calendar.day(since).isoformat(), calendar.next_day(until - INSTANT).isoformat()
    raise invalid_field(
        field,
        f"calls before {kept.isoformat()} are kept as sums of whole days, so before that a span begins and ends"
        f" with a day of the tenant's calendar: use {begin} or {end}, or dates",
        Code.TIME_OUT_OF_RANGE,
    )
