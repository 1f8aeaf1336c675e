"""Owns how routes answer with CSV: who asks for it, and what the file is called."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final, Literal

from fastapi import Header, Query
from fastapi.responses import StreamingResponse

from token_ledger.reports.span import Span

CSV: Final = "text/csv"
Accept = Annotated[str, Header(description="`text/csv` for a table.", examples=[CSV])]
Format = Annotated[
    Literal["json", "csv"] | None,
    Query(alias="format", description="What an `Accept` header says, for whoever can't send one.", examples=["csv"]),
]


def wants_csv(wanted: Literal["json", "csv"] | None, accept: str) -> bool:
    """Tell whether a request asks for CSV: with `format`, else with its `Accept` header."""
    return wanted == "csv" or (wanted is None and CSV in accept)


def also_csv(description: str) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of an answer that may be CSV."""
    return {200: {"content": {CSV: {"schema": {"type": "string"}}}, "description": description}}


def csv_answer(lines: Iterator[bytes] | AsyncIterator[bytes], what: str, span: Span) -> StreamingResponse:
    """Return lines of CSV as a file that is named after what they are of; plain iterators run in a thread."""
    name = f"{what}-{span[0]:%Y-%m-%d}-{span[1]:%Y-%m-%d}.csv"
    return StreamingResponse(lines, media_type=CSV, headers={"Content-Disposition": f'attachment; filename="{name}"'})
