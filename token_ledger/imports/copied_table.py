"""Reads the rows of one table from what `pg_dump` writes: `COPY … FROM stdin;`, then a row a line."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from token_ledger.imports.rows import Place, UnreadableFile
from token_ledger.imports.text_lines import text_lines

_COPY: Final = re.compile(r'COPY\s+(?:"?[\w$]+"?\.)?"?([\w$]+)"?\s*\((.*)\)\s+FROM\s+stdin;\s*', re.IGNORECASE)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final[Mapping[str, str]] = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
_END: Final = "\\."


def copied_rows(path: Path, table: str) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yield each row of a table with its line; None is a null. Raises UnreadableFile, also without that table."""
    columns: list[str] | None = None
    copying, was_found, number = False, False, 0
    for number, line in enumerate(text_lines(path), start=1):
        if not copying:
            begin = _COPY.fullmatch(line)
            if begin:
                copying = True
                columns = _columns(begin[2]) if begin[1] == table else None
                was_found = was_found or columns is not None
            continue
        text = line.rstrip("\r\n")
        if text == _END:
            copying = False
        elif columns is not None:
            cells = text.split("\t")
            if len(cells) != len(columns):
                problem = f"the row has {len(cells)} cells, but COPY names {len(columns)} columns: dump the table anew"
                raise UnreadableFile(Place(str(path), number), problem)
            yield number, {name: _unescaped(cell) for name, cell in zip(columns, cells, strict=True)}
    if copying:
        raise UnreadableFile(Place(str(path), number), "the dump ends within a table: copy it again, or dump it anew")
    if not was_found:
        problem = f"the dump has no rows of {table!r}: dump it with `pg_dump --data-only --table='\"{table}\"'`"
        raise UnreadableFile(Place(str(path), 0), problem)


def _columns(text: str) -> list[str]:
    return [name.strip().strip('"') for name in text.split(",")]


def _unescaped(cell: str) -> str | None:
    if cell == "\\N":
        return None
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), cell) if "\\" in cell else cell
