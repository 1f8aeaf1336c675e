"""Answers of the cost report; pages and tables are made from the same."""

from typing import Annotated, Literal, NotRequired, cast

from typing_extensions import TypedDict

from token_ledger.core.model.money import format_money
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import INSTANT
from token_ledger.reports.cost_report import CostReport, Table
from token_ledger.reports.formats.spend_json import LinesAnswer, lines_answer
from token_ledger.reports.savings import Recommendation, Technique
from token_ledger.reports.sums import NOTHING
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant
from token_ledger.wire.token_kinds import SumsAnswer, sums_answer

Detail = Literal["summary", "detailed"]


@answer
class CostRowAnswer(SumsAnswer):
    """Calls, tokens and cost of one value of a dimension."""

    key: Annotated[str | None, doc("The value; null where calls have none.", "research")]
    share: Annotated[float | None, doc("Its part of the cost of all; null where all cost nothing.", 0.25)]
    before: NotRequired[Annotated[SumsAnswer, doc("The same of the period before.", example_of(SumsAnswer))]]


@answer
class CostTableAnswer(TypedDict):
    """The calls of the period by one dimension; rows and rest add up to the total of the report."""

    by: Annotated[str, doc("The dimension.", "cost_center")]
    rows: Annotated[list[CostRowAnswer], doc("The dearest first, or by time.", [example_of(CostRowAnswer)])]
    rest: Annotated[SumsAnswer, doc("The sum of all other rows.", example_of(SumsAnswer))]
    others: Annotated[int, doc("How many other rows that are.", 0)]


@answer
class TopConsumer(TypedDict):
    """What of a dimension has cost most."""

    by: Annotated[str, doc("The dimension.", "cost_center")]
    key: Annotated[str | None, doc("The value; null where calls have none.", "research")]
    cost: Annotated[str, doc("Cost in dollars.", "812.006900000")]


@answer
class TechniqueAnswer(TypedDict):
    """What a technique did."""

    technique: Annotated[str, doc("The technique.", "model_downgrade")]
    fired: Annotated[int, doc("How often it was called for.", 120)]
    applied: Annotated[int, doc("How often it was applied.", 80)]
    saved: Annotated[str | None, doc("What it saved, in dollars; null where that is not measured.", None)]


@answer
class RecommendationAnswer(TypedDict):
    """What to do next."""

    action: Annotated[str, doc("What to do.", "find out why calls fail")]
    evidence: Annotated[str, doc("What shows it.", "31 failed calls cost 4.100000000 dollars")]
    saves: Annotated[str | None, doc("What it should save, in dollars; null where that is not measured.", "4.1")]


# `from` is a keyword of Python, so this type cannot be written as a class.
CostReportAnswer = TypedDict(
    "CostReportAnswer",
    {
        "tenant": Annotated[str, doc("The tenant.", "acme")],
        "from": Annotated[InstantText, doc("Start of the period, included.", "2026-11-01T00:00:00+00:00")],
        "to": Annotated[InstantText, doc("End of the period, excluded.", "2026-12-01T00:00:00+00:00")],
        "time_zone": Annotated[str, doc("The tenant's time zone at the start of the period.", "Europe/Berlin")],
        "first_day": Annotated[str, doc("The tenant's day on which the period begins.", "2026-11-01")],
        "last_day": Annotated[str, doc("The tenant's day on which it ends, included.", "2026-11-30")],
        "booked_until": Annotated[
            InstantText, doc("Whatever was booked until then is in the report.", "2026-12-02T09:30:00.123456+00:00")
        ],
        "total": Annotated[SumsAnswer, doc("All calls of the period.", example_of(SumsAnswer))],
        "cost_per_call": Annotated[str | None, doc("Cost of a call in dollars, rounded; null without calls.", "0.01")],
        "before": Annotated[SumsAnswer, doc("All calls of the period before.", example_of(SumsAnswer))],
        "change": Annotated[
            float | None,
            doc("How much more it cost than before, as a part of that; null where that cost nothing.", 0.12),
        ],
        "lines": Annotated[LinesAnswer, doc("What of the total is told by itself.", example_of(LinesAnswer))],
        "lines_are_complete": Annotated[bool, doc("False if only `unattributed` is known any more.", True)],
        "top": Annotated[list[TopConsumer], doc("What has cost most.", [example_of(TopConsumer)])],
        "saved": Annotated[str | None, doc("What was saved, in dollars; null where nothing is measured.", None)],
        "recommendations": Annotated[
            list[RecommendationAnswer], doc("What to do first, at most three.", [example_of(RecommendationAnswer)])
        ],
        "tables": NotRequired[
            Annotated[
                list[CostTableAnswer],
                doc("The same calls by each dimension. Not in a summary.", [example_of(CostTableAnswer)]),
            ]
        ],
        "trend": NotRequired[
            Annotated[
                CostTableAnswer,
                doc("By day, of a long period by month. Not in a summary.", example_of(CostTableAnswer)),
            ]
        ],
        "techniques": NotRequired[
            Annotated[
                list[TechniqueAnswer] | None,
                doc(
                    "What each technique did; null if that may no longer be known. Not in a summary.",
                    [example_of(TechniqueAnswer)],
                ),
            ]
        ],
    },
)
CostReportAnswer.__doc__ = "What a period has cost."


def cost_report_answer(report: CostReport, detail: Detail) -> CostReportAnswer:
    """Return the cost report of a period."""
    spend, calendar = report.spend, report.spend.calendar
    since, until = report.wanted.span
    total, before = spend.total, spend.compared.sums.total if spend.compared is not None else NOTHING
    measured = [each.saved_nanos for each in report.techniques or () if each.saved_nanos is not None]
    found: CostReportAnswer = {
        "tenant": report.tenant_name,
        "from": instant(since),
        "to": instant(until),
        "time_zone": str(calendar.local(since).tzinfo),
        "first_day": calendar.local_date(since).isoformat(),
        "last_day": calendar.local_date(max(since, until - INSTANT)).isoformat(),
        "booked_until": instant(spend.booked_until),
        "total": sums_answer(total),
        "cost_per_call": _each(total.cost_nanos, total.calls),
        "before": sums_answer(before),
        "change": _part(total.cost_nanos - before.cost_nanos, before.cost_nanos),
        "lines": lines_answer(spend),
        "lines_are_complete": spend.lines_are_complete,
        "top": [_top(table) for table in report.tables if table.rows],
        "saved": format_money(sum(measured)) if measured else None,
        "recommendations": [_recommendation(each) for each in report.recommendations],
    }
    if detail == "detailed":
        found["tables"] = [_table(table, total) for table in report.tables]
        found["trend"] = _table(report.trend, total)
        found["techniques"] = None if report.techniques is None else [_technique(each) for each in report.techniques]
    return found


def _table(table: Table, total: Figures) -> CostTableAnswer:
    rows: list[CostRowAnswer] = []
    for row in table.rows:
        share = _part(row.sums.cost_nanos, total.cost_nanos)
        shown = cast(CostRowAnswer, {"key": row.key[0], "share": share, **sums_answer(row.sums)})
        if table.before is not None:
            shown["before"] = sums_answer(table.before.rows.get(row.key, NOTHING))
        rows.append(shown)
    others = max(table.count - len(rows), 0)  # days without calls are rows, too
    return {"by": table.dimension.name, "rows": rows, "rest": sums_answer(table.rest), "others": others}


def _top(table: Table) -> TopConsumer:
    first = table.rows[0]
    return {"by": table.dimension.name, "key": first.key[0], "cost": format_money(first.sums.cost_nanos)}


def _technique(each: Technique) -> TechniqueAnswer:
    saved = None if each.saved_nanos is None else format_money(each.saved_nanos)
    return {"technique": each.name, "fired": each.fired, "applied": each.applied, "saved": saved}


def _recommendation(each: Recommendation) -> RecommendationAnswer:
    saves = None if each.saves_nanos is None else format_money(each.saves_nanos)
    return {"action": each.action, "evidence": each.evidence, "saves": saves}


def _part(nanos: int, of: int) -> float | None:
    return round(nanos / of, 4) if of else None


def _each(nanos: int, calls: int) -> str | None:
    return format_money((2 * nanos + calls) // (2 * calls)) if calls > 0 else None
