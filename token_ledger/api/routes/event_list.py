"""The route of the list of events."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json

from token_ledger.api.access import Finance
from token_ledger.api.csv_answers import Accept, also_csv, csv_answer, file_answer, wants_csv
from token_ledger.api.parameters import From, PageSize, To
from token_ledger.api.report_parameters import Chosen, Period, spans_of
from token_ledger.api.service import reading
from token_ledger.reports.event_list import list_events, parse_place, read_events
from token_ledger.reports.formats.event_csv import event_csv
from token_ledger.reports.formats.event_json import EventListAnswer, event_list_answer
from token_ledger.reports.formats.event_parquet import NoParquet, check_parquet, event_parquet
from token_ledger.storage.calendars import load_calendar
from token_ledger.wire.problems import invalid_field

router = APIRouter(prefix="/v1", tags=["events"])

PARQUET = "application/vnd.apache.parquet"
Format = Annotated[
    Literal["json", "csv", "parquet"] | None,
    Query(
        alias="format", description="What an `Accept` header says, for whoever can't send one.", examples=["parquet"]
    ),
]
AfterEvent = Annotated[
    str | None,
    Query(
        description="Return the page that begins here: the `next` of another page.", examples=["1795253400000000.9.9"]
    ),
]


@router.get("/events", response_model=EventListAnswer, responses=also_csv("Events.", PARQUET))
async def list_usage_events(
    request: Request, finance: Finance, chosen: Chosen, since: From = None, until: To = None, period: Period = None,
    after: AfterEvent = None, limit: PageSize = 100, wanted: Format = None, accept: Accept = "*/*",
) -> Response:  # fmt: skip
    """List events.

    The events of a span, the newest first, chosen by any dimensions: what was called and used, and what it cost. As CSV
    or Parquet all of them come in one answer, whatever the `limit`. The last line of CSV says how many there are and a
    check sum, so an answer without it has been cut off; Parquet that was cut off can't be read.
    """
    tenant = finance.tenant
    place = None if after is None else parse_place(after)
    async with reading(request, tenant) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        span, _ = spans_of(calendar, since, until, period, compare=False)
        listed = await list_events(connection, tenant, calendar, span, chosen, place)
        if wanted == "parquet" or (wanted is None and PARQUET in accept):
            _check_parquet()
            parts = event_parquet(partial(reading, request, tenant), listed)
            return file_answer(parts, PARQUET, "events.parquet", listed.selection.span)
        if wants_csv(wanted, accept):
            return csv_answer(event_csv(partial(reading, request, tenant), listed), "events", listed.selection.span)
        events, following = await read_events(connection, listed, limit)
    return Response(to_json(event_list_answer(listed, events, following)), media_type="application/json")


def _check_parquet() -> None:
    try:
        check_parquet()
    except NoParquet as error:
        raise invalid_field("format", str(error)) from None
