"""Reads the session logs of Claude Code: `~/.claude/projects`, or single files of it.

A call is written again where a session is resumed or forked into a new file, and where the log of a session repeats
those of its sub-agents; `claude_code_file` says what one file knows of it. A call is yielded in the order of the first
file that has its `stop_reason`; one without is held until the end of all files, because a copy may have more of it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from token_ledger.imports.claude_code_file import FileCall, FileRow, rows_of_file
from token_ledger.imports.json_lines import files_of
from token_ledger.imports.rows import CallRow, Defaults, Place, Row, SkippedRow, SkipReason
from token_ledger.imports.second_process import rows_in_two

MOST_UNFINISHED = 20_000
"""Calls without a `stop_reason` that are held for a copy with more in another file."""

_OF_THE_FIGURES = frozenset({"provider", "model", "usage", "response_id", "body", "service_tier"})
_OF_THE_END = frozenset({"estimated", "measured"})
_FIELDS = (
    "source", "idempotency_key", "agent_type", "provider", "model", "occurred_at", "tags", "body", "usage",
    "response_id", "user", "cost_center", "service_tier", "estimated", "measured",
)  # fmt: skip


def read(paths: Sequence[Path], defaults: Defaults) -> Iterator[Row]:
    """Yield the calls of session logs, and how many of their lines are none; raises UnreadableFile."""
    return _put_together(row for path in files_of(paths) for row in rows_of_file(path, defaults))


def read_in_two(paths: Sequence[Path], defaults: Defaults) -> Iterator[Row]:
    """Yield the same as `read`; a second process reads some of the files meanwhile, if that is worth it."""
    return _put_together(rows_in_two(files_of(paths), rows_of_file, defaults))


def _put_together(rows: Iterable[FileRow]) -> Iterator[Row]:
    """Yield the rows of all files, each call once, with the figures of the file that has the most output of it."""
    yielded: set[bytes] = set()
    # The first of a dict is found by passing over all that was taken out before it.
    unfinished: OrderedDict[bytes, FileCall] = OrderedDict()
    for row in rows:
        if isinstance(row, SkippedRow):
            yield row
            continue
        digest = row[0]
        if digest in yielded:
            yield SkippedRow(Place(row.file, row.line), SkipReason.SAME_CALL)
            continue
        held = unfinished.pop(digest, None)
        if held is not None:
            yield SkippedRow(Place(row.file, row.line), SkipReason.SAME_CALL)
            row = _merged(held, row)
        if row.stop_reason is None:
            unfinished[digest] = row
            if len(unfinished) <= MOST_UNFINISHED:
                continue
            digest, row = unfinished.popitem(last=False)
        yielded.add(digest)
        yield _row(row)
    for row in unfinished.values():
        yield _row(row)


def _row(call: FileCall) -> Row:
    place = Place(call.file, call.line)
    return SkippedRow(place, SkipReason.NO_USAGE) if call.is_empty else CallRow(place, call.event)


def _merged(first: FileCall, later: FileCall) -> FileCall:
    """Return a call with what two files know of it; of equal output, the later figures count."""
    figures = later if later.output >= first.output else first
    event = {}
    for name in _FIELDS:
        said = figures if name in _OF_THE_FIGURES else later if name in _OF_THE_END else first
        if name in said.event:
            event[name] = said.event[name]
    return figures._replace(stop_reason=later.stop_reason, event=event)
