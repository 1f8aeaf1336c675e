"""Reads the session logs of Claude Code: `~/.claude/projects`, or single files of it.

A call is written on up to 18 lines, one per block of its answer, and `output_tokens` grows from a placeholder to what
it was in the end: the line with the most counts. It is written again where a session is resumed or forked into a new
file, and where the log of a session repeats those of its sub-agents. So calls are known by the ids of message and
request. A call is yielded at the end of the file that has its `stop_reason`; one without is held until the end of all
files, because a copy may have more of it.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from token_ledger_sdk.providers import Reading
from token_ledger_sdk.providers.anthropic import read_anthropic
from token_ledger_sdk.providers.reading import valid_id

from token_ledger.imports import calls
from token_ledger.imports.json_lines import SkippedRows, files_of, lines_of, looks_whole, object_of
from token_ledger.imports.rows import CallRow, Defaults, Place, Row, SkippedRow, SkipReason, UnreadableFile

SOURCE = "claude-code"
AGENT_TYPE = "claude-code"
SUB_AGENT_TYPE = "claude-code-subagent"
SYNTHETIC_MODEL = "<synthetic>"
MOST_OPEN = 2_000
"""Calls of one file that may still get a line. Lines of a call follow each other, but for those of other agents."""
MOST_UNFINISHED = 20_000
"""Calls without a `stop_reason` that are held for a copy with more in another file."""

_USAGE = b'"usage"'
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_DEEPEST = 8
_SEPARATOR = re.compile(r"[^a-zA-Z0-9]")
_FOLDER = re.compile(r"-|[A-Z]--")
_Key = tuple[str, str]


class _Call:
    """A call of which more lines may come; the figures are those of the line with the most output so far."""

    __slots__ = (
        "digest",
        "file",
        "key",
        "line",
        "message_id",
        "model",
        "occurred_at",
        "output",
        "stop_reason",
        "sub_agent",
        "tags",
        "usage",
    )  # fmt: skip
    digest: bytes
    key: str
    message_id: str | None
    occurred_at: str
    file: str
    line: int
    model: str
    usage: dict[str, Any]
    output: float
    stop_reason: str | None
    sub_agent: bool
    tags: dict[str, str]


def read(paths: Sequence[Path], defaults: Defaults) -> Iterator[Row]:
    """Yield the calls of session logs, and how many of their lines are none; raises UnreadableFile."""
    reader = _Reader(defaults)
    for path in files_of(paths):
        yield from reader.rows_of(path)
    yield from reader.rest()


class _Reader:
    """What is known of all files so far: the calls that were yielded, and those that a copy may complete."""

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._yielded: set[bytes] = set()
        self._unfinished: dict[bytes, _Call] = {}

    def rows_of(self, path: Path) -> Iterator[Row]:
        """Yield the rows of a file that are certain; those of unfinished calls come later."""
        skipped = SkippedRows(path)
        open_calls: dict[_Key, _Call] = {}
        lines = _Lines(path, self._defaults)
        number = 0
        try:
            for number, line in lines_of(path):
                if _USAGE not in line and looks_whole(line):
                    skipped.add(SkipReason.NO_CALL, number)
                    continue
                record = object_of(line, path, number)
                if record is None:
                    skipped.add(SkipReason.UNFINISHED_LINE, number)
                    break
                found = lines.line_of(record)
                if isinstance(found, SkipReason):
                    skipped.add(found, number)
                elif self._is_new(found, number, open_calls, lines):
                    if len(open_calls) > MOST_OPEN:
                        row = self._closed(open_calls.pop(next(iter(open_calls))))
                        if row is not None:
                            yield row
                else:
                    skipped.add(SkipReason.SAME_CALL, number)
        except calls.Malformed as error:
            raise UnreadableFile(Place(str(path), number), str(error)) from None
        for call in open_calls.values():
            row = self._closed(call)
            if row is not None:
                yield row
        yield from skipped.rows()

    def _is_new(self, line: "_Line", number: int, open_calls: dict[_Key, _Call], lines: "_Lines") -> bool:
        """Return whether a line is the first of its call, and take over its figures if they are the latest."""
        call = open_calls.get(line.key)
        if call is not None:
            if line.usage != call.usage or line.message.get("stop_reason") != call.stop_reason:
                lines.add_to(call, line, number)
            return False
        digest = blake2b("\n".join(line.key).encode(errors="surrogatepass"), digest_size=16).digest()
        if digest in self._yielded:
            return False
        held = self._unfinished.pop(digest, None)
        if held is not None:
            open_calls[line.key] = held
            lines.add_to(held, line, number)
            return False
        open_calls[line.key] = lines.new_call(line, number, digest)
        return True

    def rest(self) -> Iterator[Row]:
        """Yield the calls whose end is in no file."""
        for call in self._unfinished.values():
            yield self._row(call)

    def _closed(self, call: _Call) -> Row | None:
        """Return a call that is finished; hold one that is not, and return the one that was held longest instead."""
        if call.stop_reason is not None:
            return self._row(call)
        self._unfinished[call.digest] = call
        if len(self._unfinished) <= MOST_UNFINISHED:
            return None
        return self._row(self._unfinished.pop(next(iter(self._unfinished))))

    def _row(self, call: _Call) -> Row:
        self._yielded.add(call.digest)
        place = Place(call.file, call.line)
        message = {"type": "message", "id": call.message_id, "model": call.model, "usage": call.usage}
        reading = read_anthropic(message)
        if reading is None or _is_empty(reading):
            return SkippedRow(place, SkipReason.NO_USAGE)
        try:
            return CallRow(place, _event(call, reading, message, self._defaults))
        except calls.Malformed as error:
            raise UnreadableFile(place, str(error)) from None


class _Line(NamedTuple):
    """What a line says about a call: the entry of the log, its message with usage, and the ids of the call."""

    entry: dict[str, Any]
    message: dict[str, Any]
    usage: dict[str, Any]
    key: _Key
    is_sub_agent: bool


class _Lines:
    """The lines of one file: which are of a call, and what they say about it."""

    def __init__(self, path: Path, defaults: Defaults) -> None:
        self._file = str(path)
        self._folder = _project_folder(path)
        self._time_zone = defaults.time_zone
        self._tags: dict[tuple[object, ...], dict[str, str]] = {}

    def line_of(self, record: dict[str, Any]) -> SkipReason | _Line:
        """Return what a line says about a call, or why it says nothing."""
        entry = record if record.get("type") == "assistant" else _nested(record)
        if entry is None:
            return SkipReason.NO_CALL
        message = calls.object_in(entry, "message")
        usage = None if message is None else calls.object_in(message, "usage")
        if message is None or usage is None:
            return SkipReason.NO_CALL
        if message.get("model") == SYNTHETIC_MODEL:
            return SkipReason.SYNTHETIC
        is_sub_agent = entry is not record or entry.get("isSidechain") is True
        return _Line(entry, message, usage, _ids(entry, message), is_sub_agent)

    def new_call(self, line: _Line, number: int, digest: bytes) -> _Call:
        """Return a call by its first line, whose instant counts: copies of the session have the same one."""
        call = _Call()
        call.digest = digest
        call.key = calls.key_of(*filter(None, line.key))
        call.message_id = valid_id(line.message.get("id"))
        call.occurred_at = calls.instant_of(line.entry.get("timestamp"), "timestamp", self._time_zone)
        call.sub_agent = line.is_sub_agent
        call.tags = self._tags_of(line.entry)
        call.stop_reason = None
        call.output = -1
        self.add_to(call, line, number)
        return call

    def add_to(self, call: _Call, line: _Line, number: int) -> None:
        """Take over the figures of a line, if it has as much output or more."""
        stop_reason = line.message.get("stop_reason")
        if isinstance(stop_reason, str):
            call.stop_reason = stop_reason
        calls.check_counts(line.usage, _COUNTS)
        output = line.usage.get("output_tokens") or 0
        if output >= call.output:
            model = calls.text_in(line.message, "model")
            call.model = calls.required_name(model, "model", "message.model must name the model that was called")
            call.usage, call.output, call.file, call.line = line.usage, output, self._file, number

    def _tags_of(self, entry: dict[str, Any]) -> dict[str, str]:
        said = calls.text_in(entry, "cwd"), calls.text_in(entry, "sessionId"), calls.text_in(entry, "version")
        found = self._tags.get(said)
        if found is None:
            project = _project(self._folder, said[0])
            found = self._tags[said] = calls.tags_of(project=project, session=said[1], version=said[2])
        return found


def _nested(record: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a sub-agent logged, within the progress that was logged of it; None for anything else."""
    for _ in range(_DEEPEST):  # sub-agents have sub-agents
        if record.get("type") != "progress":
            break
        data = calls.object_in(record, "data")
        inner = None if data is None else data.get("message")
        if not isinstance(inner, dict):
            return None
        record = inner
    return record if record.get("type") == "assistant" else None


def _ids(entry: dict[str, Any], message: dict[str, Any]) -> _Key:
    """Return the ids of a call; without that of the message, what the line itself is known by."""
    message_id, request_id = message.get("id"), entry.get("requestId")
    if isinstance(message_id, str) and isinstance(request_id, str):
        return message_id, request_id
    request_id = calls.text_in(entry, "requestId") or ""
    message_id = calls.text_in(message, "id") or calls.text_in(entry, "uuid")
    if message_id is None and not request_id:
        raise calls.Malformed("this line has usage, but no message.id, requestId or uuid to know its call by")
    return message_id or "", request_id


def _event(call: _Call, reading: Reading, message: dict[str, Any], defaults: Defaults) -> dict[str, Any]:
    event: dict[str, Any] = {
        "source": SOURCE,
        "idempotency_key": call.key,
        "agent_type": SUB_AGENT_TYPE if call.sub_agent else AGENT_TYPE,
        "provider": calls.provider_of_model(call.model) or defaults.provider or "anthropic",
        "model": call.model,
        "occurred_at": call.occurred_at,
        "tags": call.tags,
    }
    if reading.others:
        # Other models within a call, such as an advisor, are booked with it, by whoever reads the response itself.
        event["body"] = message
    else:
        event["usage"] = reading.usage.to_json()
        event["response_id"] = reading.response_id
    calls.add_owner(event, defaults)
    calls.add_rare(
        event,
        tier=reading.service_tier,
        estimated=call.stop_reason is None,
        finish_reason=call.stop_reason,
    )
    return event


def _is_empty(reading: Reading) -> bool:
    usage = reading.usage
    return not (usage.input_tokens or usage.output_tokens or usage.web_searches or reading.others)


def _project_folder(path: Path) -> str | None:
    """Return the folder below `projects` that a log stands in: a working directory, with - for all but letters."""
    within = [folder for above, folder in pairwise(path.parts[:-1]) if above == "projects" and _FOLDER.match(folder)]
    return within[-1] if within else None


def _project(folder: str | None, working_directory: str | None) -> str | None:
    """Return the name of the folder that a session was started in.

    A session may move below it, so that the working directory's begin decides which is written as `folder` is.
    """
    parts = re.split(r"[/\\]", (working_directory or "").rstrip("/\\"))
    for length in range(len(parts), 0, -1):
        if folder is not None and _SEPARATOR.sub("-", "/".join(parts[:length])) == folder:
            return parts[length - 1]
    return folder or parts[-1] or None
