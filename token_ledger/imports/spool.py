"""Keeps the calls of an import on disk between reading and booking: all files are read before anything is booked."""

import json
from collections.abc import Iterator
from tempfile import TemporaryFile
from types import TracebackType

from token_ledger.imports.rows import CallRow, Place


class Spool:
    """A temporary file of calls, in the order in which they were added; gone when it is left."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Spool":
        self._file = TemporaryFile("w+", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, row: CallRow) -> None:
        """Add a call."""
        self._file.write(json.dumps([row.place.file, row.place.line, row.event]) + "\n")
        self.count += 1

    def calls(self) -> Iterator[CallRow]:
        """Yield every call, from the first on."""
        self._file.seek(0)
        for line in self._file:
            file, number, event = json.loads(line)
            yield CallRow(Place(file, number), event)
