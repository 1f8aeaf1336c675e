"""Reads the objects of a JSON file one after the other: an object a line, an array, or documents over several lines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from token_ledger.imports.rows import Place, UnreadableFile
from token_ledger.imports.text_lines import LONGEST_LINE, text_lines, text_pieces

LONGEST_DOCUMENT: Final = 64 * 2**20
"""The longest document over several lines that is read, in characters: a page of a provider's usage has far less."""
_WHITE_SPACE: Final = " \t\r\n"
_OPENED: Final = ("{", "[", ",")

Object = dict[str, Any]


class _NoJson(ValueError):
    """A value that Python would read and JSON does not have."""


def _refuse(name: str) -> NoReturn:
    raise _NoJson(f"{name} is not JSON: write null where there is no number")


_decoder: Final = json.JSONDecoder(parse_constant=_refuse)


class UnfinishedLine(UnreadableFile):
    """The last line of several ends within its object: the program that writes the file may still be at it."""


def json_objects(path: Path, longest: int = LONGEST_LINE) -> Iterator[tuple[int, Object]]:
    """Yield each object with the line on which it begins; `longest` is that of a line and of an object of an array.

    A file that begins with `[` is an array of objects, however it is broken into lines. Else each line is an object,
    or, where the first line ends within one, the file is documents one after the other. Raises UnreadableFile.
    """
    first = first_line(path)
    if first.startswith("["):
        yield from _values(path, longest, in_array=True)
    elif first.endswith(_OPENED):
        yield from _values(path, LONGEST_DOCUMENT, in_array=False)
    else:
        yield from _of_lines(path, longest)


def parsed(text: str) -> Any:
    """Return the value of a text in JSON; raises ValueError with what is wrong."""
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {_what(error)} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("it is nested hundreds of levels deep, which no call is") from None


def first_line(path: Path) -> str:
    """Return the first line that is not blank, or its start, without white space around it."""
    begin = ""
    for piece in text_pieces(path):
        begin = (begin + piece).lstrip()
        line, found, _ = begin.partition("\n")
        if found or len(begin) > LONGEST_LINE:
            return line.rstrip()
    if not begin:
        raise UnreadableFile(Place(str(path), 1), "the file is empty: was it exported as a whole?")
    return begin.rstrip()


def _of_lines(path: Path, longest: int) -> Iterator[tuple[int, Object]]:
    decode = _decoder.decode
    for number, line in enumerate(text_lines(path, longest=longest), start=1):
        try:
            value = decode(line)
        except (ValueError, RecursionError) as error:
            if not line.strip():
                continue
            is_cut_off = number > 1 and line.lstrip().startswith("{") and not line.endswith("\n")
            kind = UnfinishedLine if is_cut_off else UnreadableFile
            raise kind(Place(str(path), number), _line_problem(line, error)) from None
        if type(value) is not dict:
            raise UnreadableFile(Place(str(path), number), _no_object(value))
        yield number, value


def _line_problem(line: str, error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            problem = f"it is not JSON: {_what(error)} at character {error.pos + 1}"
            if not line.endswith("\n"):
                problem += "; it is the last line, so the file may have been cut off: export it anew"
            return problem
        case RecursionError():
            return "it is nested hundreds of levels deep, which no call is"
    return str(error)


def _values(path: Path, longest: int, *, in_array: bool) -> Iterator[tuple[int, Object]]:
    """Yield the objects of an array, or those that follow each other, from pieces that end anywhere."""
    text = _Pieces(path)
    if in_array:
        text.skip()
        text.take("[")
    is_first = True
    while True:
        here = text.skip()
        if in_array:
            if here == "]" or (here == "," and not is_first):
                text.take(here)
                if here == "]":
                    break
                here = text.skip()
            elif not is_first:
                raise text.problem("the array goes on without a comma, or was cut off: export it anew")
        elif here == "":
            return
        yield text.line, text.next_object(longest)
        is_first = False
    if text.skip():
        raise text.problem("something follows the array: a file has one array, or an object a line")


class _Pieces:
    """The text of a file from a place on, as much as is needed of it."""

    def __init__(self, path: Path) -> None:
        self._path, self._pieces = path, text_pieces(path)
        self._text, self._at, self.line = "", 0, 1

    def skip(self) -> str:
        """Go to the next character that is no white space, and return it; "" at the end."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _WHITE_SPACE:
                self.line += text[at] == "\n"
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if not self._read_on():
                return ""

    def take(self, character: str) -> None:
        """Go beyond a character that is next."""
        assert self._text[self._at] == character
        self._at += 1

    def next_object(self, longest: int) -> Object:
        """Return the object that begins here, and go beyond it."""
        while True:
            if self._text[self._at : self._at + 1] not in ("{", ""):
                raise self.problem("an object with the fields of a call must begin here, with {")
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > longest:
                    raise self.problem(_too_long(longest)) from None
                if self._read_on():
                    continue
                line = self.line + self._text.count("\n", self._at, error.pos)
                problem = f"it is not JSON: {_what(error)}, or the file was cut off there: export it anew"
                raise UnreadableFile(Place(str(self._path), line), problem) from None
            except (ValueError, RecursionError) as error:
                raise self.problem(_line_problem("", error)) from None
            if end - self._at > longest:
                raise self.problem(_too_long(longest))
            self.line += self._text.count("\n", self._at, end)
            self._at = end
            return value  # type: ignore[no-any-return]

    def problem(self, text: str) -> UnreadableFile:
        return UnreadableFile(Place(str(self._path), self.line), text)

    def _read_on(self) -> bool:
        """Read at least a piece and as much as is left, so that a long value is tried a few times only."""
        wanted = max(1, len(self._text) - self._at)
        read: list[str] = []
        while wanted > 0 and (piece := next(self._pieces, "")):
            read.append(piece)
            wanted -= len(piece)
        self._text, self._at = self._text[self._at :] + "".join(read), 0
        return bool(read)


def _what(error: json.JSONDecodeError) -> str:
    text = error.msg.removesuffix(" starting at").removesuffix(" at")
    return text[:1].lower() + text[1:]


def _no_object(value: object) -> str:
    return f"a line must be an object with the fields of a call, not {json.dumps(value)[:40]}"


def _too_long(longest: int) -> str:
    return f"the object is longer than {longest // 2**20} MB: export an object a line, or smaller pages"
