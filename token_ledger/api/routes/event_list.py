"""The route of the list of events."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json

from token_ledger.api.access import Finance
from token_ledger.api.csv_answers import Accept, Format, also_csv, csv_answer, wants_csv
from token_ledger.api.parameters import From, PageSize, To
from token_ledger.api.report_parameters import Chosen, Period, spans_of
from token_ledger.api.service import reading
from token_ledger.reports.event_list import list_events, parse_place, read_events
from token_ledger.reports.formats.event_csv import event_csv
from token_ledger.reports.formats.event_json import EventListAnswer, event_list_answer
from token_ledger.storage.calendars import load_calendar

router = APIRouter(prefix="/v1", tags=["events"])

AfterEvent = Annotated[
    str | None,
    Query(
        description="Return the page that begins here: the `next` of another page.", examples=["1795253400000000.9.9"]
    ),
]


@router.get("/events", response_model=EventListAnswer, responses=also_csv("Events."))
async def list_usage_events(
    request: Request, finance: Finance, chosen: Chosen, since: From = None, until: To = None, period: Period = None,
    after: AfterEvent = None, limit: PageSize = 100, wanted: Format = None, accept: Accept = "*/*",
) -> Response:  # fmt: skip
    """List events.

    The events of a span, the newest first, chosen by any dimensions: what was called and used, and what it cost. As CSV
    all of them come in one answer, whatever the `limit`; its last line says how many there are and a check sum, so an
    answer without it has been cut off.
    """
    tenant = finance.tenant
    place = None if after is None else parse_place(after)
    async with reading(request, tenant) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        span, _ = spans_of(calendar, since, until, period, compare=False)
        listed = await list_events(connection, tenant, calendar, span, chosen, place)
        if wants_csv(wanted, accept):
            return csv_answer(event_csv(partial(reading, request, tenant), listed), "events", listed.selection.span)
        events, following = await read_events(connection, listed, limit)
    return Response(to_json(event_list_answer(listed, events, following)), media_type="application/json")
