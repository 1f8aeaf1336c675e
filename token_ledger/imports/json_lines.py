"""Reads files that have a JSON object on each line, a line at a time, plain or packed by gzip.

A last line without its line break may be unfinished, because the program that writes the file is still at it. Any other
line that is not a JSON object makes the file unreadable.
"""

import gzip
import json
import os.path
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pydantic_core import from_json

from token_ledger.imports.rows import Place, SkippedRow, SkipReason, UnreadableFile
from token_ledger.imports.text_lines import opened

LONGEST_LINE = 32 * 2**20
"""Bytes of a line that are read. Pictures within a session take a few million."""
SUFFIXES = (".jsonl", ".jsonl.gz")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def files_of(paths: Sequence[Path], suffixes: Sequence[str] = SUFFIXES) -> Sequence[Path]:
    """Return the files, and those of folders whose names end so, each once; folders are walked in sorted order."""
    found: dict[Path, None] = {}
    for path in paths:
        if not os.path.isdir(path):
            found[path] = None
            continue
        inside = sorted(each for each in path.rglob("*") if each.name.endswith(tuple(suffixes)) and each.is_file())
        if not inside:
            raise UnreadableFile(Place(str(path), 0), f"this folder has no file *{suffixes[0]} in it; name another one")
        found.update(dict.fromkeys(inside))
    return [*found]


def check_can_be_read_again(path: Path) -> None:
    """Raise UnreadableFile for a pipe, of which nothing is left after it was read once."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise UnreadableFile(Place(str(path), 0), "this is no file, and traces are read twice; save it to a file first")


def is_empty(path: Path) -> bool:
    """Return whether a file is there and has nothing in it."""
    return os.path.isfile(path) and not os.path.getsize(path)


def lines_of(path: Path, longest: int = LONGEST_LINE) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, each with its number, counted from 1, and with its line break."""
    number = 0
    try:
        with opened(path) as file:
            for number, line in enumerate(iter(partial(file.readline, longest + 1), b""), start=1):
                if number == 1:
                    line = _without_mark(line, path)
                if len(line) > longest:
                    problem = f"this line is longer than {longest:,} bytes; give the file as it was written"
                    raise UnreadableFile(Place(str(path), number), problem)
                if line and not line.isspace():
                    yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        problem = f"the compressed file is damaged or cut off after this line ({error}); copy or download it again"
        raise UnreadableFile(Place(str(path), number), problem) from None
    except OSError as error:
        problem = f"the file can't be read ({error.strerror or error}); check its name and who may read it"
        raise UnreadableFile(Place(str(path), number), problem) from None


def object_of(line: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """Return the JSON object on a line, None for a last line that is unfinished; raises UnreadableFile."""
    try:
        value = from_json(line, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        try:
            value = value_of(line)
        except ValueError as error:
            if is_unfinished(line):
                return None
            _refuse(path, number, f"this line is no JSON ({error}); each line must be a whole JSON object")
    if not isinstance(value, dict):
        _refuse(path, number, f"this line is {kind_of(value)}; each line must be a JSON object, {{…}}")
    return value


def value_of(text: bytes | str) -> Any:
    """Return the value of JSON, also of such that has halves of characters in it; raises ValueError.

    Programs in JavaScript cut texts in the middle of a character, and write the half that is left as an escape.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start + 1}") from None


def is_unfinished(line: bytes) -> bool:
    """Return whether a line may be the start of an object whose rest is not written yet."""
    return not line.endswith(b"\n") and line.lstrip().startswith(b"{")


def looks_whole(line: bytes) -> bool:
    """Return whether a line begins and ends as an object does and is UTF-8: one that need not be parsed."""
    if not (line.startswith(b"{") and line.endswith((b"}\n", b"}", b"}\r\n"))):
        return False
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def kind_of(value: object) -> str:
    """Return what kind of JSON a value is, for people."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    return "a text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a number"


class SkippedRows:
    """The rows of one file that are skipped, counted by reason."""

    def __init__(self, path: Path) -> None:
        self._file = str(path)
        self._found: dict[SkipReason, list[int]] = {}

    def add(self, reason: SkipReason, line: int) -> None:
        """Count a row."""
        found = self._found.get(reason)
        if found is None:
            self._found[reason] = [line, 1]
        else:
            found[1] += 1

    def rows(self) -> Iterator[SkippedRow]:
        """Yield the rows of each reason as one, at the place of the first."""
        for reason, (line, rows) in self._found.items():
            yield SkippedRow(Place(self._file, line), reason, rows)


def _without_mark(line: bytes, path: Path) -> bytes:
    if line.startswith(_UTF_16):
        _refuse(path, 1, "the file is UTF-16; save it as UTF-8")
    return line.removeprefix(_BYTE_ORDER_MARK)


def _refuse(path: Path, number: int, problem: str) -> NoReturn:
    raise UnreadableFile(Place(str(path), number), problem)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
