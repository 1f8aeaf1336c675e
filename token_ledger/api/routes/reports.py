"""Routes of reports."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request

from token_ledger.api.access import Finance
from token_ledger.api.parameters import From, To
from token_ledger.api.service import reading
from token_ledger.reports.denials import denials_by_account, would_have_denied
from token_ledger.reports.formats import json as answers
from token_ledger.reports.kinds import kinds_by
from token_ledger.reports.span import find_span
from token_ledger.reports.spend import Dimension, spend_by
from token_ledger.reports.triggers import firings_by_trigger

router = APIRouter(prefix="/v1", tags=["reports"])

GroupBy = Annotated[Dimension, Query(description="The dimension of the rows.", examples=["user"])]

WithKinds = Annotated[
    bool,
    Query(
        description="Whether each row and the total say what was used of other kinds (audio, images, searches, …). "
        "These are read from the calls that have any, so such a report takes longer.",
        examples=[True],
    ),
]


@router.get("/reports/spend")
async def report_spend(
    request: Request, finance: Finance, since: From = None, until: To = None, group_by: GroupBy = "user",
    kinds: WithKinds = False,
) -> answers.SpendReport:  # fmt: skip
    """Report spend by a dimension.

    Calls, tokens by kind and cost of each value, dearest first. Every dimension has the same total. A call counts at
    the instant that it is posted at, to the microsecond; of months that are no longer kept, there are whole days only.
    With `kinds` every row says how much of other kinds was used, too.
    """
    tenant = finance.tenant
    async with reading(request, tenant) as connection:
        span = await find_span(connection, tenant, since, until, datetime.now(UTC))
        return answers.spend_report(
            await spend_by(connection, tenant, group_by, *span, with_kinds=kinds), with_kinds=kinds
        )


@router.get("/reports/kinds")
async def report_kinds(
    request: Request, finance: Finance, since: From = None, until: To = None, group_by: GroupBy = "user"
) -> answers.KindReport:
    """Report what was used of other kinds.

    Searches, audio, images and whatever else few calls have: how many of each kind, and what they cost of the spend.
    """
    tenant = finance.tenant
    async with reading(request, tenant) as connection:
        span = await find_span(connection, tenant, since, until, datetime.now(UTC))
        return answers.kind_report(await kinds_by(connection, tenant, group_by, *span))


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
        span = await find_span(connection, tenant, since, until, datetime.now(UTC))
        return answers.would_have_denied_report(await would_have_denied(connection, tenant, *span))


@router.get("/reports/triggers")
async def report_triggers(request: Request, finance: Finance) -> answers.FiringReport:
    """Report how often triggers fired.

    And whether their techniques were applied to the calls.
    """
    async with reading(request, finance.tenant) as connection:
        return answers.firing_report(await firings_by_trigger(connection, finance.tenant))
