"""Report: calls of tools: how many failed, how long they took, what came from a cache, what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.details import Kind
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import Filters, select_calls
from token_ledger.reports.dimensions import dimension_named
from token_ledger.reports.measured import IS_TAKEN_BACK, MeasuredPage, Times, detail, measured_page, times_of, times_sql
from token_ledger.reports.span import Span

Sort = Literal["time", "cost", "calls", "failed", "key"]

_CACHED: Final = "coalesce((details ->> 'from_cache')::boolean, false)"
_COLUMNS: Final[Mapping[str, str]] = {
    "cost_nanos": "cost_nanos",
    # What is no call of a model counts no call, so what is derived of it is not told by its count.
    "stands": f"corrects is null and recosts is null and not {IS_TAKEN_BACK}",
    "failed": "failed",
    "cached": _CACHED,
    "time_ms": f"case when not {_CACHED} then {detail('latency_ms')} end",
    "retries": detail("retries"),
}
_FIGURES: Final[Mapping[str, str]] = {
    "calls": "count(*) filter (where stands)",
    "failed_calls": "count(*) filter (where stands and failed)",
    "cached_calls": "count(*) filter (where stands and cached)",
    "retries": "(sum(retries) filter (where stands))::bigint",
    "cost_nanos": "coalesce(sum(cost_nanos), 0)::bigint",
    **times_sql("time", "case when stands then time_ms end"),
}
_ORDERS: Final[Mapping[Sort, Sequence[str]]] = {
    "time": ("time[2] desc nulls last",),
    "cost": ("cost_nanos desc",),
    "calls": ("calls desc",),
    "failed": ("failed_calls desc",),
    "key": (),
}


@dataclass(frozen=True, slots=True)
class ToolFigures:
    """What is told of the calls of a tool, or of all.

    `time` is that of calls which no cache answered; `retries` are None where nobody has counted any.
    """

    calls: int
    failed_calls: int
    cached_calls: int
    retries: int | None
    cost_nanos: int
    time: Times


@dataclass(frozen=True, slots=True)
class Tools:
    """The report: rows by tool."""

    page: MeasuredPage
    rows: tuple[tuple[str, ToolFigures], ...]
    total: ToolFigures


async def compare_tools(
    connection: AsyncConnection, tenant: TenantId, calendar: Calendar, span: Span, filters: Filters,
    *, sort: Sort, after: int, most: int,
) -> Tools:  # fmt: skip
    """Return what the calls of tools of a span are like, by tool.

    The transaction has to be a snapshot. Raises ProblemError if events of the span may no longer be kept.
    """
    of_tools = (*filters, (dimension_named("kind"), (Kind.TOOL_CALL.value,)))
    selection = await select_calls(connection, tenant, calendar, span, (dimension_named("tool"),), of_tools)
    page = await measured_page(connection, selection, _COLUMNS, _FIGURES, order=_ORDERS[sort], after=after, most=most)
    return Tools(page, tuple((key[0] or "", _figures(row)) for key, row in page.rows), _figures(page.total))


def _figures(row: Mapping[str, Any]) -> ToolFigures:
    return ToolFigures(
        row["calls"], row["failed_calls"], row["cached_calls"], row["retries"], row["cost_nanos"], times_of(row, "time")
    )
