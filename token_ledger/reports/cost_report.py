"""Report: what a period has cost, for people who close it: totals, the period before, what it went to, what to do.

Every table has the same total, because each is another grouping of the same calls, read from one snapshot.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import Filters, select_calls
from token_ledger.reports.dimensions import Dimension, dimension_named
from token_ledger.reports.kept_calls import check_kept, kept_from
from token_ledger.reports.page import PageSums, less, page_sums
from token_ledger.reports.savings import Recommendation, Technique, failed_calls, recommended, techniques_of
from token_ledger.reports.span import Span
from token_ledger.reports.spend import Asked, Spend, SpendRow, spend_of, spend_rows
from token_ledger.reports.sums import NOTHING

MOST_ROWS: Final = 25
"""How many rows a table has; the rest of it is one more."""
_MOST_DAYS: Final = timedelta(days=93)
"""Of how long a span the trend is by days; of a longer one it is by months."""
_MOST_TIMES: Final = 1_000

_ALWAYS: Final = ("agent_type", "model")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls a report is about, what they are compared with, and by what else they are grouped."""

    span: Span
    before: Span
    filters: Filters = ()
    by: tuple[Dimension, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """The calls of a report by the values of a dimension, the dearest first.

    `before` is the same of the period before, None where rows are by a time.
    """

    dimension: Dimension
    rows: tuple[SpendRow, ...]
    count: int
    total: Figures
    before: PageSums | None

    @property
    def rest(self) -> Figures:
        """The sums of all rows that are not shown."""
        return less(self.total, [row.sums for row in self.rows])


@dataclass(frozen=True, slots=True)
class CostReport:
    """The report: `spend` has the totals and what is told by itself; `trend` is by day, or by month."""

    tenant_name: str
    wanted: Wanted
    spend: Spend
    tables: tuple[Table, ...]
    trend: Table
    techniques: tuple[Technique, ...] | None
    recommendations: tuple[Recommendation, ...]


async def cost_report(
    connection: AsyncConnection, tenant: TenantId, name: str, calendar: Calendar, made_at: datetime, wanted: Wanted
) -> CostReport:
    """Return the report of a span. The transaction has to be a snapshot. Raises ProblemError as `spend_of` does.

    Techniques are None where calls may no longer be kept.
    """
    asked = Asked((), wanted.span, wanted.filters, most=0, compared=wanted.before)
    spend = await spend_of(connection, tenant, calendar, made_at, asked)
    kept = await kept_from(connection, tenant)
    groups = dict.fromkeys([*wanted.by, *map(dimension_named, _ALWAYS)])
    tables = [await _table(connection, tenant, calendar, wanted, kept, group) for group in groups]
    is_short = wanted.span[1] - wanted.span[0] <= _MOST_DAYS
    trend = await _table(connection, tenant, calendar, wanted, kept, dimension_named("day" if is_short else "month"))
    if is_short:
        trend = replace(trend, rows=_every_day(trend.rows, calendar, wanted.span, spend.booked_until))
    selection = await select_calls(connection, tenant, calendar, wanted.span, (), wanted.filters)
    techniques = await techniques_of(connection, selection) if spend.lines_are_complete else None
    failed = await failed_calls(connection, selection) if spend.lines_are_complete else (0, 0)
    lines = spend.lines
    advice = recommended(
        techniques or (), failed, lines.get("unpriced", NOTHING), lines.get("unattributed", NOTHING)
    )  # fmt: skip
    return CostReport(name, wanted, spend, tuple(tables), trend, techniques, advice)


def _every_day(
    rows: Iterable[SpendRow], calendar: Calendar, span: Span, booked_until: datetime
) -> tuple[SpendRow, ...]:  # fmt: skip
    """Return the rows of days, with one for each day of the past that has no calls."""
    found = {row.key: row for row in rows}
    day, until = calendar.day(span[0]), min(span[1], booked_until)
    while day < until:
        key = (calendar.local_date(day).isoformat(),)
        found.setdefault(key, SpendRow(key, NOTHING))
        day = calendar.next_day(day)
    return tuple(found[key] for key in sorted(found, key=lambda key: key[0] or ""))


async def _table(
    connection: AsyncConnection, tenant: TenantId, calendar: Calendar, wanted: Wanted, kept: datetime | None,
    dimension: Dimension,
) -> Table:  # fmt: skip
    selection = await select_calls(connection, tenant, calendar, wanted.span, (dimension,), wanted.filters)
    await check_kept(connection, selection, kept)
    most = _MOST_TIMES if dimension.is_time else MOST_ROWS
    rows, page, count, total = await spend_rows(connection, selection, Asked((dimension,), wanted.span, most=most))
    before = None
    if not dimension.is_time:
        earlier = await select_calls(connection, tenant, calendar, wanted.before, (dimension,), wanted.filters)
        await check_kept(connection, earlier, kept)
        before = await page_sums(connection, earlier, earlier.sums(), page)
    return Table(dimension, rows, count, total, before)
