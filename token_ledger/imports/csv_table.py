"""Reads a table of calls in CSV, gzip or plain, separated as its mapping says, else as its header shows.

A row is refused with the line on which it begins if it has not the cells of the header.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from token_ledger.imports.mapped_rows import RowMaker
from token_ledger.imports.mapping import DELIMITERS, TableMapping
from token_ledger.imports.rows import Defaults, Place, Row, SkippedRow, SkipReason, UnreadableFile
from token_ledger.imports.stated_costs import StatedCosts
from token_ledger.imports.text_lines import LONGEST_LINE, text_lines

_SAID: Final = re.compile(r"\s*sep=(.)\s*", re.IGNORECASE)
"""What spreadsheets write before the header of a file that is not separated by commas."""


class CsvRows:
    """The header and the rows of a file, each with the line on which it begins; raises UnreadableFile."""

    def __init__(self, path: Path, mapping: TableMapping | None = None) -> None:
        self._path = path
        self._lines = text_lines(path, None if mapping is None else mapping.encoding)
        self._read = 0
        first = self._first_line()
        told = _SAID.fullmatch(first)
        header = self._first_line() if told else first
        named = DELIMITERS[mapping.delimiter] if mapping is not None and mapping.delimiter else None
        self.delimiter = named or (told[1] if told else _sniffed(header, mapping))
        self._begin, self._header_line = self._read, header
        csv.field_size_limit(LONGEST_LINE)  # of this process; the longest line is bounded already
        self._rows = csv.reader(self._all(), delimiter=self.delimiter, strict=True)
        _, cells = next(self.rows(), (0, []))
        self.header = [cell.strip() for cell in cells]
        self.place = Place(str(path), self._begin)
        _check_header(self.place, self.header)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the cells of each row that is not an empty line."""
        rows, before = self._rows, self._begin
        line = before + rows.line_num
        try:
            for cells in rows:
                if cells:
                    yield line, cells
                line = before + rows.line_num
        except csv.Error as error:
            raise UnreadableFile(Place(str(self._path), line), _problem(error)) from None

    def _first_line(self) -> str:
        for line in self._lines:
            self._read += 1
            if line.strip():
                return line
        raise UnreadableFile(Place(str(self._path), self._read), "there is no header: the first line names the columns")

    def _all(self) -> Iterator[str]:
        yield self._header_line
        yield from self._lines


def read(path: Path, defaults: Defaults, mapping: TableMapping, stated: StatedCosts | None = None) -> Iterator[Row]:
    """Yield every row of a file; `stated` gets what its rows say that they cost. Raises UnreadableFile."""
    table = CsvRows(path, mapping)
    if mapping.decimal is None and table.delimiter == ",":
        mapping = mapping.model_copy(update={"decimal": "point"})
    maker = RowMaker(table.place, table.header, mapping, defaults, stated, _content)
    file, width, row = str(path), len(table.header), maker.row
    for line, cells in table.rows():
        place = Place(file, line)
        if len(cells) != width:
            if not any(cells):
                yield SkippedRow(place, SkipReason.NO_CALL)
                continue
            raise UnreadableFile(place, wrong_width(len(cells), width))
        if not any(cells):
            yield SkippedRow(place, SkipReason.NO_CALL)  # a spreadsheet keeps rows that were emptied
            continue
        yield row(place, cells, cells)


def _content(cells: Sequence[str]) -> bytes:
    return "\x1f".join(cells).encode()


def _sniffed(header: str, mapping: TableMapping | None) -> str:
    """Return the delimiter that finds most of the mapping's columns, else the one that the header has most often."""
    wanted = set() if mapping is None else {*mapping.columns.values(), *mapping.tags.values()}

    def fits(delimiter: str) -> tuple[int, int]:
        try:
            cells = {cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])}
        except csv.Error:  # which reading it says again, with its line
            return 0, 0
        return len(wanted & cells), len(cells)

    return max(DELIMITERS.values(), key=fits)


def _check_header(place: Place, header: Sequence[str]) -> None:
    places: dict[str, list[int]] = {}
    for number, name in enumerate(header, start=1):
        places.setdefault(name, []).append(number)
    for name, numbers in places.items():
        if name and len(numbers) > 1:
            where = " and ".join(map(str, numbers))
            raise UnreadableFile(place, f"columns {where} are both called {name!r}: give each column a name of its own")


def wrong_width(cells: int, width: int) -> str:
    """Return what is wrong with a row that has not the cells of the header."""
    found = f"the row has {cells} cell{'s' * (cells != 1)}, but the header has {width}"
    if cells > width:
        return f"{found}: put a cell that has the delimiter in it in quotes"
    return f"{found}: is the line cut off, or is a quote missing?"


def _problem(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text or "field larger" in text:
        return "a quote that opens in this row is not closed: close it, or double a quote that is part of a cell"
    if "new-line" in text:
        return "its lines end with a carriage return only: save the file with the line ends of Windows or Unix"
    return f"it is not CSV: {text}; a quote within a quoted cell is written twice"
