"""What tests of readers share: a file of given bytes, its calls, and what the ledger makes of them."""

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from token_ledger.core.batch.commands import Quarantine, Record
from token_ledger.imports.rows import CallRow, Row, SkippedRow, SkipReason
from token_ledger.wire.commands.events import event_commands

Event = dict[str, Any]


def a_file(folder: Path, content: str | bytes, name: str = "export", *, compressed: bool = False) -> Path:
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if compressed else raw)
    return path


def events(rows: Iterable[Row]) -> list[Event]:
    """Return the events of rows that are all calls."""
    found = []
    for row in rows:
        assert isinstance(row, CallRow), row
        found.append(dict(row.event))
    return found


def keys(rows: Iterable[Row]) -> list[str]:
    return [event["idempotency_key"] for event in events(rows)]


def skipped(rows: Iterable[Row]) -> list[tuple[int, SkipReason]]:
    return [(row.place.line, row.reason) for row in rows if isinstance(row, SkippedRow)]


def accepted(event: Event) -> Record:
    """Return the command that the ledger makes of an event that it takes."""
    [command], field = event_commands(event, "event")
    assert isinstance(command, Record), field
    return command


def quarantined(event: Event) -> str:
    """Return the field for which the ledger keeps an event and does not book it."""
    [command], field = event_commands(event, "event")
    assert isinstance(command, Quarantine)
    assert field is not None
    return field.removeprefix("event.")


def calls_of(rows: Sequence[Row]) -> Sequence[Row]:
    return [row for row in rows if isinstance(row, CallRow)]
