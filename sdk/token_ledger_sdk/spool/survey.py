"""What waits in the spools of this machine, read without changing anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from .lines import Found, NewerFormat, read_lines, read_record
from .segments import DAMAGED, SUFFIX, Segment
from .spool import ASIDE


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in the directory of one owner: the records of calls that the service does not have yet.

    `in_use` counts the files that living processes have, which send them themselves, and `in_use_records` what is in
    them. `oldest` is when the first call ended, `refused` counts what the service will not book, `damaged` the copies
    of files with damaged lines. `unreadable` names files and says what is wrong with them.
    """

    directory: Path
    service: str | None = None
    files: int = 0
    records: int = 0
    size_bytes: int = 0
    in_use: int = 0
    in_use_records: int = 0
    oldest: datetime | None = None
    refused: int = 0
    damaged: int = 0
    unreadable: tuple[str, ...] = field(default=())

    @property
    def owner(self) -> str:
        """Whose it is: `tenant-` and its id, or `key-` and a hash while a key's tenant is not known."""
        return self.directory.name


def survey(home: Path) -> list[Waiting]:
    """Return what waits, a row for each service and owner, but for owners of whom nothing is left."""
    found = [survey_owner(directory) for directory in sorted(home.glob("*/*")) if directory.is_dir()]
    return [each for each in found if each.files or each.refused or each.damaged]


def survey_owner(directory: Path) -> Waiting:
    """Return what lies in the directory of one owner."""
    waiting = Waiting(directory, refused=_lines_of(directory / ASIDE), damaged=len([*directory.glob(f"*{DAMAGED}")]))
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError):  # its process has just deleted it
            waiting = _with_file(waiting, path)
    return waiting


def _with_file(waiting: Waiting, path: Path) -> Waiting:
    in_use = Segment.is_in_use(path)
    content = path.read_bytes()
    waiting = replace(
        waiting,
        files=waiting.files + 1,
        size_bytes=waiting.size_bytes + len(content),
        in_use=waiting.in_use + in_use,
    )
    try:
        # A last line that is not whole is being written, or its process died before it was kept.
        found = read_lines(content[: content.rfind(b"\n") + 1])
    except (NewerFormat, ValueError) as error:
        return replace(waiting, unreadable=(*waiting.unreadable, f"{path.name}: {error}"))
    times = [time for time in (waiting.oldest, next(_times(content, found), None)) if time is not None]
    return replace(
        waiting,
        service=found.service,
        records=waiting.records + len(found.waiting),
        in_use_records=waiting.in_use_records + (len(found.waiting) if in_use else 0),
        oldest=min(times, default=None),
    )


def _times(content: bytes, found: Found) -> Iterator[datetime]:
    """Yield when calls ended, the oldest first, of those that say so."""
    for place in found.waiting:
        record = read_record(content[place.offset : place.offset + place.length])
        for text in (record.operation, record.call):
            with suppress(KeyError, TypeError, ValueError):
                yield datetime.fromisoformat(json.loads(text)["occurred_at"])


def _lines_of(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
