"""The route of the cost report."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic_core import to_json

from token_ledger.api.access import Finance
from token_ledger.api.parameters import From, To
from token_ledger.api.report_parameters import Chosen, Period, dimensions_of, spans_of
from token_ledger.api.service import reading
from token_ledger.reports.cost_report import Wanted, cost_report
from token_ledger.reports.formats.cost_html import cost_html
from token_ledger.reports.formats.cost_json import CostReportAnswer, Detail, cost_report_answer
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.tenants import tenant_name
from token_ledger.wire.problems import invalid_field

router = APIRouter(prefix="/v1", tags=["reports"])

HTML = "text/html"
By = Annotated[
    list[str] | None,
    Query(
        description="The dimensions of the first tables, each of its own; by default `cost_center`.",
        examples=[["user"]],
    ),
]
DetailOf = Annotated[
    Detail | None,
    Query(description="Whether the tables and the trend are in the answer; by default they are.", examples=["summary"]),
]
Format = Annotated[
    Literal["json", "html"] | None,
    Query(alias="format", description="What an `Accept` header says, for whoever can't send one.", examples=["html"]),
]
Accept = Annotated[str, Header(description="`text/html` for a page that needs nothing else.", examples=[HTML])]


@router.get(
    "/reports/cost", response_model=CostReportAnswer,
    responses={200: {"content": {HTML: {"schema": {"type": "string"}}}, "description": "The report."}},
)  # fmt: skip
async def report_cost(
    request: Request, finance: Finance, chosen: Chosen, since: From = None, until: To = None, period: Period = None,
    by: By = None, detail: DetailOf = None, wanted: Format = None, accept: Accept = "*/*",
) -> Response:  # fmt: skip
    """Report what a period has cost.

    For whoever closes it: the total and that of the period before, what it went to by each dimension, the trend, what
    of it is told by itself, what techniques did, and what to do first. As HTML it is a page to print or to send. What
    nobody measures is null, and said to be not measured.
    """
    tenant = finance.tenant
    as_html = wanted == "html" or (wanted is None and HTML in accept)
    if as_html and detail == "summary":
        raise invalid_field("detail", "a page is always detailed; leave `detail` out, or ask for JSON")
    async with reading(request, tenant, snapshot=True) as connection:
        calendar, made_at = await load_calendar(connection, tenant)
        span, before = spans_of(calendar, since, until, period, compare=True)
        assert before is not None, "it is asked for"
        asked = Wanted(span, before, chosen, dimensions_of(["cost_center"] if by is None else by, "by"))
        name = await tenant_name(connection, tenant)
        report = await cost_report(connection, tenant, name, calendar, made_at, asked)
    answer = cost_report_answer(report, "summary" if detail == "summary" else "detailed")
    if as_html:
        return Response(cost_html(answer), media_type=HTML)
    return Response(to_json(answer), media_type="application/json")
