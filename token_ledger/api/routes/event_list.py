"""The route of the list of events."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from token_ledger.api.access import Finance
from token_ledger.api.parameters import From, PageSize, To
from token_ledger.api.report_parameters import Chosen, Period, spans_of
from token_ledger.api.service import reading
from token_ledger.reports.event_list import list_events, parse_place, read_events
from token_ledger.reports.formats.event_csv import event_csv
from token_ledger.reports.formats.event_json import EventListAnswer, event_list_answer
from token_ledger.storage.calendars import load_calendar

router = APIRouter(prefix="/v1", tags=["events"])

CSV = "text/csv"
Accept = Annotated[str, Header(description="`text/csv` for all events as a table.", examples=[CSV])]
Format = Annotated[
    Literal["json", "csv"] | None,
    Query(alias="format", description="What an `Accept` header says, for whoever can't send one.", examples=["csv"]),
]
AfterEvent = Annotated[
    str | None,
    Query(
        description="Return the page that begins here: the `next` of another page.", examples=["1795253400000000.9.9"]
    ),
]


@router.get(
    "/events", response_model=EventListAnswer,
    responses={200: {"content": {CSV: {"schema": {"type": "string"}}}, "description": "Events."}},
)  # fmt: skip
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
        if wanted == "csv" or (wanted is None and CSV in accept):
            name = f"events-{listed.selection.span[0]:%Y-%m-%d}-{listed.selection.span[1]:%Y-%m-%d}.csv"
            return StreamingResponse(
                event_csv(partial(reading, request, tenant), listed), media_type=CSV,
                headers={"Content-Disposition": f'attachment; filename="{name}"'},
            )  # fmt: skip
        events, following = await read_events(connection, listed, limit)
    return Response(to_json(event_list_answer(listed, events, following)), media_type="application/json")
