"""The lines of a spool's file: a checksum and JSON each, so that a torn or damaged line is known for one.

The first line says the format, the service and the owner. Then come records, each with a number of its own, and between
them the numbers of those that are done.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import LedgerError

FORMAT = 1


class NewerFormat(LedgerError):
    """A spool's file was written by a newer version of this package, which has to send it."""


class Record(NamedTuple):
    """What is to be sent: an operation (JSON text, with its idempotency key), and the call that it is about.

    `call` (JSON text) says whose call it was and of which model. The service is sent it only if it knows nothing of the
    hold any more, so that people can still book it.
    """

    operation: str
    call: str = "{}"


class Place(NamedTuple):
    """Where in its file a record stands."""

    number: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Found:
    """What stands in a file: where its records are that are not done, and how many lines were damaged."""

    service: str
    owner: str
    waiting: tuple[Place, ...]
    damaged: int


def head_line(service: str, owner: str) -> bytes:
    """Return the first line of a file."""
    return _line(json.dumps({"format": FORMAT, "service": service, "owner": owner}))


def record_line(number: int, record: Record) -> bytes:
    """Return the line of a record; how long its call is lets it be read without being parsed."""
    length = len(record.call.encode())
    return _line(f'{{"number":{number},"length":{length},"call":{record.call},"operation":{record.operation}}}')


def done_line(numbers: Iterable[int]) -> bytes:
    """Return the line that says which records are done."""
    return _line(f'{{"done":{json.dumps([*numbers])}}}')


def read_record(line: bytes) -> Record:
    """Read the line of a record; raises ValueError if it is damaged."""
    text = _checked(line)
    head = _RECORD.match(text)
    if head is None:
        raise ValueError("the line is not that of a record")
    end = head.end() + int(head["length"])
    return Record(text[end + len(_OPERATION) : -1].decode(), text[head.end() : end].decode())


def read_lines(content: bytes) -> Found:
    """Read a whole file, but for damaged lines; raises NewerFormat, and ValueError if its first line is damaged."""
    lines = content.splitlines(keepends=True)
    head = _stored(lines[0] if lines else b"")
    if head.get("format", 0) > FORMAT:
        raise NewerFormat(
            f"format {head['format']} is newer than {FORMAT}, which this version of token-ledger-sdk writes: install"
            " the newer one, its next client sends what is kept here"
        )
    waiting: dict[int, Place] = {}
    damaged, offset = 0, len(lines[0])
    for line in lines[1:]:
        try:
            stored = _stored(line)
        except ValueError:
            stored, damaged = {}, damaged + 1
        if "number" in stored:
            waiting[stored["number"]] = Place(stored["number"], offset, len(line))
        for number in stored.get("done", ()):
            waiting.pop(number, None)
        offset += len(line)
    return Found(head["service"], head["owner"], tuple(waiting.values()), damaged)


def _line(text: str) -> bytes:
    encoded = text.encode()
    return b"%08x %b\n" % (zlib.crc32(encoded), encoded)


def _stored(line: bytes) -> dict[str, Any]:
    stored = json.loads(_checked(line))
    if not isinstance(stored, dict):
        raise ValueError("the line is damaged")
    return stored


def _checked(line: bytes) -> bytes:
    if line[8:9] != b" " or not line.endswith(b"\n"):
        raise ValueError("the line is not whole")
    text = line[9:-1]
    if b"%08x" % zlib.crc32(text) != line[:8]:
        raise ValueError("the line is damaged")
    return text


_RECORD = re.compile(rb'\{"number":\d+,"length":(?P<length>\d+),"call":')
_OPERATION = b',"operation":'
