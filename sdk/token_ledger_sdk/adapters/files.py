"""Looks at the files of a request that the openai library has prepared, without changing where they are read from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any


def parts_named(files: object, *names: str) -> Sequence[object]:
    """Return the contents of the files that are sent under one of these names, also as a list of it (`image[]`)."""
    pairs: Any = files.items() if isinstance(files, Mapping) else files or ()
    return [_content(each) for name, each in pairs if str(name).partition("[")[0] in names]


def size_of(content: object) -> int | None:
    """Return how many bytes are left to read of a content; None if it does not say it."""
    if isinstance(content, bytes | bytearray):
        return len(content)
    if isinstance(content, str):
        return len(content.encode())
    with suppress(Exception):  # whatever an object of the caller's raises: it is no file then that can be measured
        file: Any = content
        at = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(at)
        return max(0, int(end) - int(at))
    return None


def beginning_of(content: object, size: int) -> bytes:
    """Return the first bytes of a content, without taking them from it; nothing if that can't be done."""
    if isinstance(content, bytes | bytearray):
        return bytes(content[:size])
    with suppress(Exception):
        file: Any = content
        at = file.tell()
        begin = file.read(size)
        file.seek(at)
        return begin if isinstance(begin, bytes) else b""
    return b""


def _content(part: object) -> object:
    """Return what is sent of a file that may be given with its name, its type and headers."""
    return part[1] if isinstance(part, tuple) and len(part) > 1 else part
