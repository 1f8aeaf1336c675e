"""Answers of the report of budget against actual."""

from datetime import datetime
from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.budget import Enforcement, Unit
from token_ledger.core.model.window import INSTANT, Window
from token_ledger.reports.budgets import AccountUse, BudgetUse, UnitUse
from token_ledger.reports.formats.measured_json import ratio
from token_ledger.wire.answers.amounts import amount_in
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant, optional_id, optional_instant


@answer
class UnitUseAnswer(TypedDict):
    """What is used of a limit in one unit. Money is a string of dollars."""

    unit: Annotated[Unit, doc("Unit of the limit.", "cost")]
    limit: Annotated[int | str, doc("The limit, with all that was granted or rolled over.", "500.000000000")]
    settled: Annotated[int | str, doc("What settled calls used.", "200.000000000")]
    held: Annotated[int | str, doc("What open holds may still use.", "5.000000000")]
    used_share: Annotated[
        float | None, doc("Share of the limit that is settled or held, as a part of 1; null of a limit of 0.", 0.41)
    ]
    projected: Annotated[
        int | str | None,
        doc("What will be settled at the end of the window at this rate; null before `projected_from`.",
            "600.000000000"),
    ]  # fmt: skip
    will_pass: Annotated[
        bool | None,
        doc("Whether more than the limit is settled, or will be by then; null while that is not told.", True),
    ]
    will_pass_at: Annotated[
        InstantText | None,
        doc("When the limit will be reached at this rate; null where it won't be, or is passed already.",
            "2026-11-26T00:00:00+00:00"),
    ]  # fmt: skip


@answer
class AccountUseAnswer(TypedDict):
    """What an open account has used of its limits."""

    account_id: Annotated[str, doc("The account.", "68288513")]
    budget_id: Annotated[str, doc("Its budget.", "3")]
    budget: Annotated[str, doc("Name of its budget.", "research month")]
    subject: Annotated[dict[str, str], doc("The values that it stands for.", {"cost_center": "research"})]
    cost_center: Annotated[
        str | None, doc("The one cost center whose calls fall on it; null where there may be several.", "research")
    ]
    window: Annotated[Window, doc("Kind of its window.", "month")]
    enforcement: Annotated[Enforcement, doc("What happens to a call that does not fit.", "hard")]
    window_start: Annotated[InstantText, doc("When its window began.", "2026-11-01T00:00:00+00:00")]
    window_end: Annotated[InstantText, doc("When it ends.", "2026-12-01T00:00:00+00:00")]
    passed_share: Annotated[float, doc("Share of the window that is over, as a part of 1.", 0.3333)]
    projected_from: Annotated[InstantText, doc("From when it is told where this leads.", "2026-11-04T00:00:00+00:00")]
    limits: Annotated[list[UnitUseAnswer], doc("A row per unit with a limit.", [example_of(UnitUseAnswer)])]


@answer
class BudgetReport(TypedDict):
    """Budget against actual."""

    at: Annotated[InstantText, doc("The instant that this is told of.", "2026-11-11T00:00:00+00:00")]
    rows: Annotated[
        list[AccountUseAnswer],
        doc("A row per open account, in the order they were made.", [example_of(AccountUseAnswer)]),
    ]
    next: Annotated[str | None, doc("The `after` of the next page; null where this is the last one.", None)]


def budget_report(use: BudgetUse) -> BudgetReport:
    """Return a page of budget against actual."""
    return {
        "at": instant(use.at),
        "rows": [_row(row, use.at) for row in use.rows],
        "next": optional_id(use.following),
    }


def _row(row: AccountUse, at: datetime) -> AccountUseAnswer:
    begin, end = row.bounds
    return {
        "account_id": str(row.account_id),
        "budget_id": str(row.budget_id),
        "budget": row.budget,
        "subject": dict(row.subject.pairs),
        "cost_center": row.cost_center,
        "window": row.window,
        "enforcement": row.enforcement,
        "window_start": instant(begin),
        "window_end": instant(end),
        "passed_share": ratio((at - begin) // INSTANT, (end - begin) // INSTANT) or 0.0,
        "projected_from": instant(row.projected_from),
        "limits": [_unit(use) for use in row.units],
    }


def _unit(use: UnitUse) -> UnitUseAnswer:
    projection = use.projection
    return {
        "unit": use.unit,
        "limit": amount_in(use.unit, use.limit),
        "settled": amount_in(use.unit, use.settled),
        "held": amount_in(use.unit, use.held),
        "used_share": ratio(use.settled + use.held, use.limit),
        "projected": None if projection is None else amount_in(use.unit, projection.amount),
        "will_pass": use.passes,
        "will_pass_at": None if projection is None else optional_instant(projection.passes_at),
    }
