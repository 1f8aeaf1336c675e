"""Writes a list of events as Parquet, of any length, a group of rows for each page.

A file that was cut off lacks its end, and no reader takes it. Amounts are decimals of dollars. pyarrow is installed
with the extra `parquet` only.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from token_ledger.reports.event_list import COLUMNS, As, EventList
from token_ledger.reports.formats.event_csv import WRITTEN, Reading, pages

_WRITTEN: Final[Mapping[As, str]] = {**WRITTEN, As.NAME: "{0}"}


class NoParquet(Exception):
    """pyarrow is not installed; says what to do."""


async def event_parquet(reading: Reading, listed: EventList) -> AsyncIterator[bytes]:
    """Yield the events from a list's place on as a file of Parquet."""
    file = _File()
    async for lines in pages(reading, listed, _WRITTEN):
        yield await asyncio.to_thread(file.add, lines.text)
    yield await asyncio.to_thread(file.end)


class _File:
    """A file of Parquet that is made from lines of CSV; what is written is given away piece by piece."""

    def __init__(self) -> None:
        pyarrow, csv, parquet = _pyarrow()
        kinds = {
            As.ID: pyarrow.int64(), As.WORD: pyarrow.string(), As.NAME: pyarrow.string(), As.COUNT: pyarrow.int64(),
            As.MONEY: pyarrow.decimal128(19, 9), As.FLAG: pyarrow.bool_(), As.INSTANT: pyarrow.timestamp("us", "UTC"),
            As.OBJECT: pyarrow.string(),
        }  # fmt: skip
        schema = pyarrow.schema([(column.name, kinds[column.kind]) for column in COLUMNS])
        self._read = csv.read_csv
        self._options = {
            "read_options": csv.ReadOptions(column_names=schema.names, use_threads=False),
            "parse_options": csv.ParseOptions(newlines_in_values=True),
            # An empty text stands in quotes, and nothing is no text.
            "convert_options": csv.ConvertOptions(
                column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        }
        self._sink = _Sink()
        self._writer: Any = parquet.ParquetWriter(pyarrow.PythonFile(self._sink, "w"), schema, compression="zstd")

    def add(self, lines: bytes) -> bytes:
        """Add lines, and return what was written since the last time."""
        self._writer.write_table(self._read(io.BytesIO(lines), **self._options))
        return self._sink.take()

    def end(self) -> bytes:
        """End the file, and return the rest of it."""
        self._writer.close()
        return self._sink.take()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken, and tells how much that was in all."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        self._written += len(self._parts[-1])
        return len(self._parts[-1])

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def check_parquet() -> None:
    """Raise NoParquet if files of Parquet can't be written here."""
    _pyarrow()


def _pyarrow() -> tuple[Any, Any, Any]:
    try:
        import pyarrow
        from pyarrow import csv, parquet
    except ImportError:
        raise NoParquet(
            "the server has no package for Parquet: pip install 'token-ledger[parquet]', or ask for csv"
        ) from None
    return pyarrow, csv, parquet
