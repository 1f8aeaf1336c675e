"""Writes a list of events as CSV, of any length: PostgreSQL writes the lines, some thousands at a time.

Amounts are dollars with nine digits after a point, instants are of UTC, days those of the tenant's calendar. The last
line says how many events there are and what the SHA-256 of all before it is, so that a part is not taken for the whole.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.reports.event_list import COLUMNS, FOLLOW_THE_INDEX, As, EventList
from token_ledger.reports.formats.csv_lines import last_line, plain_name_sql

_LINES_AT_A_TIME: Final = 5_000
_BIND: Final = re.compile(r"(?<!:):([a-z_][a-z_0-9]*)")
_HEADER: Final = (",".join(column.name for column in COLUMNS) + "\n").encode()
WRITTEN: Final[Mapping[As, str]] = {
    As.ID: "{0}",
    As.WORD: "{0}",
    As.NAME: plain_name_sql("{0}"),
    As.COUNT: "{0}",
    As.MONEY: "{0} * 0.000000001",  # a quotient might be rounded
    As.FLAG: "({0})::text",
    As.INSTANT: "to_char({0} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    As.OBJECT: "({0})::text",
}

Reading = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""Begins a transaction that sees the rows of the tenant."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of CSV, and how many events they are of."""

    text: bytes
    count: int


async def event_csv(reading: Reading, listed: EventList) -> AsyncIterator[bytes]:
    """Yield the events from a list's place on as CSV."""
    hashed, count = sha256(_HEADER), 0
    yield _HEADER
    async for lines in pages(reading, listed, WRITTEN):
        hashed.update(lines.text)
        count += lines.count
        yield lines.text
    yield last_line(f"{count} events", hashed)


async def pages(reading: Reading, listed: EventList, written: Mapping[As, str]) -> AsyncIterator[Lines]:
    """Yield the lines of the events from a list's place on; `written` is how values of each kind are written."""
    while True:
        async with reading() as connection:
            lines = await _copy(connection, listed.query(written), listed.values(_LINES_AT_A_TIME))
        if lines.count:
            yield lines
        if lines.count < _LINES_AT_A_TIME:
            return
        event_id, posted_at, _ = _last_line(lines.text).split(b",", 2)
        at = datetime.fromisoformat(posted_at.decode())
        listed = replace(listed, place=replace(listed.place, posted_at=at, event_id=int(event_id)))


async def _copy(connection: AsyncConnection, query: str, values: Mapping[str, Any]) -> Lines:
    """Return what a query finds as lines of CSV."""
    names = [*dict.fromkeys(_BIND.findall(query))]
    numbered = _BIND.sub(lambda found: f"${names.index(found[1]) + 1}", query)
    text = bytearray()

    async def keep(part: bytes) -> None:
        text.extend(part)

    await connection.exec_driver_sql(FOLLOW_THE_INDEX)
    driver: Any = (await connection.get_raw_connection()).driver_connection
    done = await driver.copy_from_query(numbered, *(values[name] for name in names), output=keep, format="csv")
    return Lines(bytes(text), int(done.removeprefix("COPY ")))


def _last_line(text: bytes) -> bytes:
    """Return the last line of CSV; a line break between quotes ends none."""
    begin = text.rfind(b"\n", 0, len(text) - 1)
    while begin >= 0 and text.count(b'"', begin) % 2:
        begin = text.rfind(b"\n", 0, begin)
    return text[begin + 1 :]
