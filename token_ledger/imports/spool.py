"""Keeps the calls of an import on disk between reading and booking: all files are read before anything is booked."""

import pickle
from collections.abc import Iterator
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from token_ledger.imports.rows import CallRow, Place

CALLS_OF_A_PIECE = 256


class Spool:
    """A temporary file of calls, in the order in which they were added; gone when it is left."""

    def __init__(self) -> None:
        self.count = 0
        self._piece: list[tuple[str, int, Any]] = []

    def __enter__(self) -> "Spool":
        self._file = TemporaryFile()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, row: CallRow) -> None:
        """Add a call."""
        self._piece.append((row.place.file, row.place.line, row.event))
        self.count += 1
        if len(self._piece) == CALLS_OF_A_PIECE:
            self._write_piece()

    def _write_piece(self) -> None:
        pickle.dump(self._piece, self._file, pickle.HIGHEST_PROTOCOL)
        self._piece = []

    def calls(self) -> Iterator[CallRow]:
        """Yield every call, from the first on."""
        self._write_piece()
        end = self._file.tell()
        self._file.seek(0)
        while self._file.tell() < end:
            # Nobody else can write to this file, which has no name.
            for file, line, event in pickle.load(self._file):  # noqa: S301
                yield CallRow(Place(file, line), event)
