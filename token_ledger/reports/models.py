"""Report: models compared: calls and how many failed, how long they took, how fast they wrote, what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import Filters, Key, select_calls
from token_ledger.reports.dimensions import dimension_named
from token_ledger.reports.measured import (
    IS_TAKEN_BACK,
    MeasuredPage,
    Times,
    detail,
    measured_page,
    times_of,
    times_sql,
)
from token_ledger.reports.span import Span
from token_ledger.reports.sums import EVENT_FIGURES

Sort = Literal["cost", "calls", "failed", "latency", "first_token", "key"]

# What a cache or a tool took says nothing of a model: these count no call. Nor does what only repeats a call.
_IS_MEASURED: Final = f"calls > 0 and not {IS_TAKEN_BACK}"
_WRITING: Final = "is_measured and first_token_ms < latency_ms"
_COLUMNS: Final[Mapping[str, str]] = {
    **dict(zip(Figures._fields, EVENT_FIGURES, strict=True)),
    "failed": "failed",
    "is_measured": _IS_MEASURED,
    "latency_ms": detail("latency_ms"),
    "first_token_ms": detail("first_token_ms"),
}
_FIGURES: Final[Mapping[str, str]] = {
    **{name: f"coalesce(sum({name}), 0)::bigint" for name in Figures._fields},
    "failed_calls": "coalesce(sum(calls) filter (where failed), 0)::bigint",
    **times_sql("latency", "case when is_measured then latency_ms end"),
    **times_sql("first_token", "case when is_measured then first_token_ms end"),
    "written_tokens": f"coalesce(sum(output_tokens) filter (where {_WRITING}), 0)::bigint",
    "writing_ms": f"coalesce(sum(latency_ms - first_token_ms) filter (where {_WRITING}), 0)::bigint",
}
_ORDERS: Final[Mapping[Sort, Sequence[str]]] = {
    "cost": ("cost_nanos desc",),
    "calls": ("calls desc",),
    "failed": ("failed_calls desc",),
    "latency": ("latency[2] desc nulls last",),
    "first_token": ("first_token[2] desc nulls last",),
    "key": (),
}


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """What is told of the calls of a model, or of all.

    `written_tokens` came in `writing_ms`: the output of calls of which latency and time to the first token are known,
    and the time from one to the other.
    """

    sums: Figures
    failed_calls: int
    latency: Times
    first_token: Times
    written_tokens: int
    writing_ms: int


@dataclass(frozen=True, slots=True)
class Models:
    """The report: rows by provider and model."""

    page: MeasuredPage
    rows: tuple[tuple[Key, ModelFigures], ...]
    total: ModelFigures


async def compare_models(
    connection: AsyncConnection, tenant: TenantId, calendar: Calendar, span: Span, filters: Filters,
    *, sort: Sort, after: int, most: int,
) -> Models:  # fmt: skip
    """Return what the calls of a span are like, by provider and model.

    The transaction has to be a snapshot. Raises ProblemError if events of the span may no longer be kept.
    """
    by = dimension_named("provider"), dimension_named("model")
    selection = await select_calls(connection, tenant, calendar, span, by, filters)
    page = await measured_page(
        connection, selection, _COLUMNS, _FIGURES, order=_ORDERS[sort], after=after, most=most
    )  # fmt: skip
    return Models(page, tuple((key, _figures(row)) for key, row in page.rows), _figures(page.total))


def _figures(row: Mapping[str, Any]) -> ModelFigures:
    return ModelFigures(
        Figures(*(row[name] for name in Figures._fields)), row["failed_calls"], times_of(row, "latency"),
        times_of(row, "first_token"), row["written_tokens"], row["writing_ms"],
    )  # fmt: skip
