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


def wants_csv(wanted: str | None, accept: str) -> bool:
    """Tell whether a request asks for CSV: with `format`, else with its `Accept` header."""
    return wanted == "csv" or (wanted is None and CSV in accept)


def also_csv(description: str, *others: str) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of an answer that may be CSV, or of other media types."""
    content = {CSV: {"schema": {"type": "string"}}}
    content |= {each: {"schema": {"type": "string", "format": "binary"}} for each in others}
    return {200: {"content": content, "description": description}}


def csv_answer(lines: Iterator[bytes] | AsyncIterator[bytes], what: str, span: Span) -> StreamingResponse:
    """Return lines of CSV as a file that is named after what they are of; plain iterators run in a thread."""
    return file_answer(lines, CSV, f"{what}.csv", span)


def file_answer(
    parts: Iterator[bytes] | AsyncIterator[bytes], media_type: str, name: str, span: Span
) -> StreamingResponse:
    """Return parts of a file whose name says of which days it is."""
    what, dot, kind = name.rpartition(".")
    named = f"{what}-{span[0]:%Y-%m-%d}-{span[1]:%Y-%m-%d}{dot}{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{named}"'}
    return StreamingResponse(parts, media_type=media_type, headers=headers)
