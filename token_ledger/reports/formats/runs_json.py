"""Answers of the report of runs."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.run import RunState
from token_ledger.reports.formats.measured_json import SpanAnswer, span_answer
from token_ledger.reports.runs import RunRow, Runs
from token_ledger.wire.answers.runs import Iterations, iterations_answer
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant, optional_id, optional_instant
from token_ledger.wire.token_kinds import SumsAnswer, sums_answer


@answer
class RunRowAnswer(TypedDict):
    """A run and what it has used until now, also after the span."""

    run_id: Annotated[str, doc("The run.", "68288512")]
    parent_run_id: Annotated[str | None, doc("The run that it is part of.", None)]
    depth: Annotated[int, doc("1 for a run, 2 for its sub-runs, and so on, up to 8.", 1)]
    sub_runs: Annotated[int, doc("How many runs are part of it, at whatever depth.", 2)]
    external_id: Annotated[str | None, doc("Your own id of the run.", "chat-2041")]
    user: Annotated[str, doc("The user for whom it works.", "ada")]
    cost_center: Annotated[str, doc("The cost center that it is charged to.", "research")]
    state: Annotated[RunState, doc("Where the run stands.", "closed")]
    began_at: Annotated[InstantText, doc("When it was opened.", "2026-11-21T09:30:00+00:00")]
    ended_at: Annotated[
        InstantText | None,
        doc("When it was closed or cancelled; null while it is open.", "2026-11-21T09:34:10+00:00"),
    ]
    iterations: Annotated[Iterations, doc("Steps it may take and has taken.", example_of(Iterations))]
    own: Annotated[SumsAnswer, doc("What its own calls used.", example_of(SumsAnswer))]
    whole: Annotated[SumsAnswer, doc("What these and the calls of its sub-runs used.", example_of(SumsAnswer))]


@answer
class RunReport(SpanAnswer):
    """Runs that began in a span."""

    rows: Annotated[list[RunRowAnswer], doc("A row per run, the newest first.", [example_of(RunRowAnswer)])]
    next: Annotated[str | None, doc("The `after` of the next page; null where this is the last one.", None)]


def run_report(runs: Runs) -> RunReport:
    """Return a page of runs."""
    return {
        **span_answer(runs.calendar, runs.span, runs.booked_until),
        "rows": [_row(row) for row in runs.rows],
        "next": optional_id(runs.following),
    }


def _row(row: RunRow) -> RunRowAnswer:
    run = row.run
    return {
        "run_id": str(run.run_id),
        "parent_run_id": str(run.ancestors[-1]) if run.ancestors else None,
        "depth": len(run.lineage),
        "sub_runs": row.sub_runs,
        "external_id": run.external_id,
        "user": run.user,
        "cost_center": run.cost_center,
        "state": run.state,
        "began_at": instant(run.created_at),
        "ended_at": optional_instant(run.ended_at),
        "iterations": iterations_answer(run),
        "own": sums_answer(row.own),
        "whole": sums_answer(row.whole),
    }
