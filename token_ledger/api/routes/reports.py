"""Routes of reports."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from token_ledger.api.access import Finance
from token_ledger.api.csv_answers import Accept, Format, also_csv, csv_answer, wants_csv
from token_ledger.api.parameters import After, From, OlderThan, PageSize, RunPageSize, To
from token_ledger.api.report_parameters import Chosen, Compare, GroupBy, Period, dimensions_of, spans_of
from token_ledger.api.service import reading
from token_ledger.core.model.run import RunState
from token_ledger.reports.budgets import budget_use
from token_ledger.reports.denials import denials_by_account, would_have_denied
from token_ledger.reports.formats import json as answers
from token_ledger.reports.formats.budgets_json import BudgetReport, budget_report
from token_ledger.reports.formats.models_json import ModelReport, model_report
from token_ledger.reports.formats.runs_json import RunReport, run_report
from token_ledger.reports.formats.spend_csv import spend_csv
from token_ledger.reports.formats.spend_json import SpendReport, spend_report
from token_ledger.reports.formats.tools_json import ToolReport, tool_report
from token_ledger.reports.kinds import kinds_by
from token_ledger.reports.models import Sort as ModelSort
from token_ledger.reports.models import compare_models
from token_ledger.reports.runs import runs_begun
from token_ledger.reports.span import span_of
from token_ledger.reports.spend import Asked, Sort, spend_of
from token_ledger.reports.tools import Sort as ToolSort
from token_ledger.reports.tools import compare_tools
from token_ledger.reports.triggers import firings_by_trigger
from token_ledger.storage.calendars import load_calendar
from token_ledger.wire.fields import Name
from token_ledger.wire.problems import invalid_field

router = APIRouter(prefix="/v1", tags=["reports"])

SortBy = Annotated[
    Sort | None,
    Query(
        description="What the rows are in the order of: `cost`, `calls` or `tokens`, the most first, or the `key`. By "
        "default the cost; the key if the first dimension is a time.",
        examples=["cost"],
    ),
]
Top = Annotated[
    int,
    Query(ge=0, le=10_000, description="Return so many rows at most; `rest` has the sum of all others.", examples=[10]),
]
AfterRow = Annotated[
    int, Query(ge=0, le=10**9, description="Return rows after so many: the `next` of another page.", examples=[1_000])
]
WithKinds = Annotated[
    bool,
    Query(
        description="Whether each row and the total say what was used of other kinds (audio, images, searches, …). "
        "These are read from the calls that have any, so such a report takes longer.",
        examples=[True],
    ),
]
ModelsBy = Annotated[
    ModelSort,
    Query(
        description="What the models are in the order of: `cost`, `calls` or `failed`, the most first; the 95th "
        "percentile of `latency` or `first_token`, the slowest first; or the `key`.",
        examples=["latency"],
    ),
]
ToolsBy = Annotated[
    ToolSort,
    Query(
        description="What the tools are in the order of: the 95th percentile of their `time`, the slowest first; "
        "`cost`, `calls` or `failed`, the most first; or the `key`.",
        examples=["cost"],
    ),
]


@router.get("/reports/spend", response_model=SpendReport, responses=also_csv("Spend."))
async def report_spend(
    request: Request, finance: Finance, chosen: Chosen, since: From = None, until: To = None, period: Period = None,
    group_by: GroupBy = None, compare: Compare = None, sort: SortBy = None, top: Top = 1_000, after: AfterRow = 0,
    kinds: WithKinds = False, wanted: Format = None, accept: Accept = "*/*",
) -> SpendReport | Response:  # fmt: skip
    """Report spend by any dimensions.

    Calls, tokens by kind and cost of the calls of a span, grouped and filtered by any dimensions. The same calls have
    the same total, whatever they are grouped by. A call counts at the instant that it is posted at, to the microsecond;
    of months that are no longer kept, there are whole days only, by some dimensions. `lines` says what of the total is
    unattributed, unpriced, estimated, late or adjusted. With `kinds` every row says how much of other kinds was used.
    As CSV there is a line per row, then the rest and the total, told apart by the first column, `line`.
    """
    tenant, dimensions = finance.tenant, dimensions_of(group_by)
    if compare is not None and any(each.is_time for each in dimensions):
        raise invalid_field("compare", "rows by a time have no counterpart in another span; group by something else")
    as_csv = wants_csv(wanted, accept)
    if as_csv and kinds:
        raise invalid_field("kinds", "a table has no place for them; ask for JSON, or for /v1/reports/kinds")
    async with reading(request, tenant, snapshot=True) as connection:
        calendar, made_at = await load_calendar(connection, tenant)
        span, compared = spans_of(calendar, since, until, period, compare=compare is not None)
        asked = Asked(dimensions, span, chosen, sort, top, after, compared, kinds)
        spend = await spend_of(connection, tenant, calendar, made_at, asked)
    return csv_answer(spend_csv(spend), "spend", span) if as_csv else spend_report(spend)


@router.get("/reports/models")
async def report_models(
    request: Request, finance: Finance, chosen: Chosen, since: From = None, until: To = None, period: Period = None,
    sort: ModelsBy = "cost", limit: PageSize = 100, after: AfterRow = 0,
) -> ModelReport:  # fmt: skip
    """Compare models.

    By provider and model: calls and how many of them failed, latency, time to the first token, output tokens per
    second, cost, cost per call, and the share of the input that came from a cache. Times are those that callers
    measured; where nobody did, they are null.
    """
    tenant = finance.tenant
    async with reading(request, tenant, snapshot=True) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        span, _ = spans_of(calendar, since, until, period, compare=False)
        return model_report(
            await compare_models(connection, tenant, calendar, span, chosen, sort=sort, after=after, most=limit)
        )


@router.get("/reports/tools")
async def report_tools(
    request: Request, finance: Finance, chosen: Chosen, since: From = None, until: To = None, period: Period = None,
    sort: ToolsBy = "time", limit: PageSize = 100, after: AfterRow = 0,
) -> ToolReport:  # fmt: skip
    """Compare tools.

    By tool: calls, how many failed and how many a cache answered, how long they took, how often they were tried again,
    and what they cost. The slowest come first.
    """
    tenant = finance.tenant
    async with reading(request, tenant, snapshot=True) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        span, _ = spans_of(calendar, since, until, period, compare=False)
        return tool_report(
            await compare_tools(connection, tenant, calendar, span, chosen, sort=sort, after=after, most=limit)
        )


@router.get("/reports/runs")
async def report_runs(
    request: Request,
    finance: Finance,
    since: From = None,
    until: To = None,
    period: Period = None,
    user: Annotated[Name | None, Query(description="Return runs of this user.", examples=["ada"])] = None,
    state: Annotated[RunState | None, Query(description="Return runs in this state.", examples=["closed"])] = None,
    after: OlderThan = None,
    limit: RunPageSize = 100,
) -> RunReport:
    """Report runs.

    The runs that began in a span, the newest first: how they stand, the steps that they took, and what they have used
    until now, by themselves and with their sub-runs.
    """
    tenant = finance.tenant
    async with reading(request, tenant, snapshot=True) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        span, _ = spans_of(calendar, since, until, period, compare=False)
        older = None if after is None else int(after)
        return run_report(
            await runs_begun(connection, tenant, calendar, span, user=user, state=state, after=older, most=limit)
        )


@router.get("/reports/budgets")
async def report_budgets(
    request: Request,
    finance: Finance,
    budget: Annotated[Name | None, Query(description="Return accounts of this budget.", examples=["user day"])] = None,
    cost_center: Annotated[
        Name | None,
        Query(description="Return accounts on which only this cost center's calls fall.", examples=["research"]),
    ] = None,
    after: After = "0",
    limit: PageSize = 200,
) -> BudgetReport:
    """Report budget against actual.

    The accounts of budgets whose windows are under way: what is settled and held of their limits, how much of the
    window is over, and where a straight line leads by its end: whether it passes the limit, and when.
    """
    async with reading(request, finance.tenant) as connection:
        use = await budget_use(
            connection, finance.tenant, budget=budget, cost_center=cost_center, after=int(after), most=limit
        )
        return budget_report(use)


@router.get("/reports/kinds")
async def report_kinds(
    request: Request, finance: Finance, since: From = None, until: To = None, group_by: GroupBy = None
) -> answers.KindReport:
    """Report what was used of other kinds.

    Searches, audio, images and whatever else few calls have: how many of each kind, and what they cost of the spend.
    """
    tenant = finance.tenant
    [dimension, *others] = dimensions_of(group_by)
    if others:
        raise invalid_field("group_by", "this report has one dimension; /v1/reports/spend has several, with `kinds`")
    async with reading(request, tenant) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        span = span_of(calendar, since, until, datetime.now(UTC))
        return answers.kind_report(await kinds_by(connection, tenant, calendar, dimension, span))


@router.get("/reports/denials")
async def report_denials(request: Request, finance: Finance) -> answers.DenialReport:
    """Report denials by account.

    Those of soft and shadow budgets included. What an emergency stop refuses, or a run without iterations left, is not
    among them: no account refused it, so nothing is recorded.
    """
    async with reading(request, finance.tenant) as connection:
        return answers.denial_report(await denials_by_account(connection, finance.tenant))


@router.get("/reports/would-have-denied")
async def report_would_have_denied(
    request: Request, finance: Finance, since: From = None, until: To = None
) -> answers.WouldHaveDeniedReport:
    """Report what soft and shadow budgets would have denied.

    Look here before you make a budget hard.
    """
    tenant = finance.tenant
    async with reading(request, tenant) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        span = span_of(calendar, since, until, datetime.now(UTC))
        return answers.would_have_denied_report(await would_have_denied(connection, tenant, *span))


@router.get("/reports/triggers")
async def report_triggers(request: Request, finance: Finance) -> answers.FiringReport:
    """Report how often triggers fired.

    And whether their techniques were applied to the calls.
    """
    async with reading(request, finance.tenant) as connection:
        return answers.firing_report(await firings_by_trigger(connection, finance.tenant))
