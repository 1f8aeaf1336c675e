"""What the tests of readers have in common: reading files, and what was read."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from token_ledger.core.batch.commands import Record
from token_ledger.imports.rows import CallRow, Defaults, Row, SkippedRow, UnreadableFile
from token_ledger.wire.commands.events import event_commands

Read = Callable[[Sequence[Path], Defaults], Iterator[Row]]
ADA = Defaults(user="ada")


def events_of(read: Read, *paths: Path, defaults: Defaults = ADA) -> list[dict[str, Any]]:
    """Return the events of files, each of which the service takes as it is."""
    events = [dict(row.event) for row in read(paths, defaults) if isinstance(row, CallRow)]
    for event in events:
        commands, field = event_commands(event, "events[0]")
        assert field is None
        assert all(isinstance(command, Record) for command in commands)
        json.dumps(event, allow_nan=False)
    return events


def skipped_in(read: Read, *paths: Path, defaults: Defaults = ADA) -> dict[str, int]:
    """Return how many rows were skipped, by reason."""
    skipped: Counter[str] = Counter()
    for row in read(paths, defaults):
        if isinstance(row, SkippedRow):
            skipped[row.reason.name] += row.rows
    return dict(skipped)


def sums_of(events: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Return the sums of all usage."""
    sums: Counter[str] = Counter()
    for event in events:
        sums.update(event["usage"])
    return {kind: count for kind, count in sums.items() if count}


def written(path: Path, *lines: object) -> Path:
    """Write a file with a line for each value: texts and bytes as they are, others as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def problem_of(read: Read, *paths: Path, defaults: Defaults = ADA) -> UnreadableFile:
    """Return why files can't be read."""
    with pytest.raises(UnreadableFile) as raised:
        list(read(paths, defaults))
    return raised.value
