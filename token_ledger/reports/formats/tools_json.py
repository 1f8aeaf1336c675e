"""Answers of the report of tools."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.money import format_money
from token_ledger.reports.formats.measured_json import (
    NextRow,
    SpanAnswer,
    TimesAnswer,
    next_row,
    page_answer,
    ratio,
    times_answer,
)
from token_ledger.reports.tools import ToolFigures, Tools
from token_ledger.wire.fields import answer, doc, example_of


@answer
class ToolFiguresAnswer(TypedDict):
    """Calls of tools, without those that were taken back. Shares are parts of 1, to four digits."""

    calls: Annotated[int, doc("Calls.", 420)]
    failed_calls: Annotated[int, doc("How many of them failed.", 21)]
    failed_share: Annotated[float | None, doc("Their share of the calls; null where there are none.", 0.05)]
    time: Annotated[
        TimesAnswer,
        doc("From the start of calls to their end, of those that no cache answered.", example_of(TimesAnswer)),
    ]
    cached_calls: Annotated[int, doc("How many of the calls a cache answered.", 105)]
    cached_share: Annotated[float | None, doc("Their share of the calls; null where there are none.", 0.25)]
    retries: Annotated[int | None, doc("How often they were tried again; null where nobody has counted.", 12)]
    cost: Annotated[str, doc("Cost in dollars.", "2.100000000")]


@answer
class ToolRowAnswer(ToolFiguresAnswer):
    """The calls of a tool."""

    tool: Annotated[str, doc("The tool.", "web_search")]


@answer
class ToolReport(SpanAnswer):
    """Tools compared."""

    rows: Annotated[list[ToolRowAnswer], doc("A row per tool, in the order asked for.", [example_of(ToolRowAnswer)])]
    next: NextRow
    total: Annotated[ToolFiguresAnswer, doc("The same of all tools.", example_of(ToolFiguresAnswer))]


def tool_report(tools: Tools) -> ToolReport:
    """Return a comparison of tools."""
    return {
        **page_answer(tools.page),
        "rows": [{"tool": tool, **_figures(figures)} for tool, figures in tools.rows],
        "next": next_row(tools.page),
        "total": _figures(tools.total),
    }


def _figures(figures: ToolFigures) -> ToolFiguresAnswer:
    return {
        "calls": figures.calls,
        "failed_calls": figures.failed_calls,
        "failed_share": ratio(figures.failed_calls, figures.calls),
        "time": times_answer(figures.time),
        "cached_calls": figures.cached_calls,
        "cached_share": ratio(figures.cached_calls, figures.calls),
        "retries": figures.retries,
        "cost": format_money(figures.cost_nanos),
    }
