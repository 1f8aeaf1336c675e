"""Owns how a file of text is opened, whatever wrote it: plain or gzip, UTF-8 with or without a mark, UTF-16.

It is read line by line or piece by piece, so that memory does not grow with the file. What can't be read is refused
with the line at which it was found.
"""

import codecs
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import Any, Final, cast

from token_ledger.imports.rows import Place, UnreadableFile

LONGEST_LINE: Final = 8 * 2**20
"""The longest line that is read, in bytes: prompts and answers that were stored with a call fit in."""
_PIECE: Final = 2**20
_LOST: Final = 2**14
"""How much of a compressed file is decompressed at once, in bytes; where it is cut off, as much is not read."""
_GZIP: Final = b"\x1f\x8b"
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CUT_OFF = "the compressed file ends in the middle: copy it again, or export it anew"


@contextmanager
def opened(path: Path) -> Iterator["io.BufferedReader[Any]"]:
    """Open a file for reading its bytes, decompressed where it is gzip; raises UnreadableFile."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UnreadableFile(Place(str(path), 0), f"it can't be opened: {error.strerror}") from None
    with file:
        if file.peek(2)[:2] == _GZIP:
            with GzipFile(fileobj=file) as plain, io.BufferedReader(cast(io.RawIOBase, plain), _LOST) as buffered:
                yield buffered
        else:
            yield file


def text_lines(path: Path, encoding: str | None = None, longest: int = LONGEST_LINE) -> Iterator[str]:
    """Yield the lines of a text file with their ends; UTF-8 or UTF-16, unless another encoding is named."""
    with opened(path) as file:
        number = 0
        try:
            encoding = encoding or _encoding(path, file)
            if encoding == "utf-16":
                reader = io.TextIOWrapper(file, encoding, newline="")
                for number, text in enumerate(iter(partial(reader.readline, longest + 1), ""), start=1):
                    if len(text) > longest:
                        raise UnreadableFile(Place(str(path), number), _too_long(longest))
                    yield text
                return
            for number, line in enumerate(iter(partial(file.readline, longest + 1), b""), start=1):
                if len(line) > longest:
                    raise UnreadableFile(Place(str(path), number), _too_long(longest))
                yield line.decode(encoding)
                if number == 1 and encoding == "utf-8-sig":
                    encoding = "utf-8"
        except UnicodeDecodeError as error:
            # A line of UTF-16 is decoded while it is looked for, others when they were found.
            raise UnreadableFile(Place(str(path), number + (encoding == "utf-16")), _not_text(error)) from None
        except (EOFError, BadGzipFile, zlib.error) as error:
            raise UnreadableFile(Place(str(path), number + 1), _not_gzip(error)) from None


def text_pieces(path: Path) -> Iterator[str]:
    """Yield a text file in pieces of about a megabyte, for what has no lines; UTF-8 or UTF-16."""
    with opened(path) as file:
        line = 1
        try:
            decoder = codecs.getincrementaldecoder(_encoding(path, file))()
            for piece in iter(partial(file.read, _PIECE), b""):
                text = decoder.decode(piece)
                line += text.count("\n")
                yield text
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            raise UnreadableFile(Place(str(path), line), _not_text(error)) from None
        except (EOFError, BadGzipFile, zlib.error) as error:
            raise UnreadableFile(Place(str(path), line), _not_gzip(error)) from None


def _encoding(path: Path, file: "io.BufferedReader[Any]") -> str:
    begin = file.peek(4)[:4]
    if not begin:
        raise UnreadableFile(Place(str(path), 0), "the file is empty: was it exported as a whole?")
    if begin[:2] in _WIDE:
        return "utf-16"
    if b"\0" in begin:
        raise UnreadableFile(Place(str(path), 1), "it is not UTF-8, but perhaps UTF-16: save the file as UTF-8")
    return "utf-8-sig"


def _too_long(longest: int) -> str:
    return (
        f"the line is longer than {longest // 2**20} MB: is a line break missing, or does the export hold files? "
        "Leave such columns out of the export"
    )


def _not_text(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return (
        f"byte {byte:#04x} is not {error.encoding.upper()}: save the whole file as UTF-8, or, for CSV, name its "
        "`encoding` in the mapping, such as windows-1252"
    )


def _not_gzip(error: Exception) -> str:
    return _CUT_OFF if isinstance(error, EOFError) else f"the compressed file is damaged ({error}): copy it again"
