"""Reads one session log of Claude Code by itself: its calls, and how many of its lines are none.

A call is written on up to 18 lines, one per block of its answer, and `output_tokens` grows from a placeholder to what
it was in the end: the line with the most counts. Calls are known by the ids of message and request; what other files
say of a call is put together by `claude_code`.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from token_ledger_sdk.providers import STANDARD, Reading
from token_ledger_sdk.providers.anthropic import read_anthropic
from token_ledger_sdk.providers.reading import valid_id

from token_ledger.imports import calls
from token_ledger.imports.json_lines import SkippedRows, lines_of, looks_whole, object_of
from token_ledger.imports.rows import Defaults, Place, SkippedRow, SkipReason, UnreadableFile

SOURCE = "claude-code"
AGENT_TYPE = "claude-code"
SUB_AGENT_TYPE = "claude-code-subagent"
SYNTHETIC_MODEL = "<synthetic>"
MOST_OPEN = 2_000
"""Calls of one file that may still get a line. Lines of a call follow each other, but for those of other agents."""

_USAGE = b'"usage"'
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_PLAIN = frozenset((*_COUNTS, "cache_creation", "server_tool_use", "service_tier", "inference_geo"))
_COUNTED = {int}
_NOTHING: dict[str, Any] = {}
_DEEPEST = 8
_SEPARATOR = re.compile(r"[^a-zA-Z0-9]")
_FOLDER = re.compile(r"-|[A-Z]--")
_Key = tuple[str, str]


class FileCall(NamedTuple):
    """A call as one file knows it; `line` is that of its figures, `output` what decides which figures are the last.

    Without a `stop_reason` another file may have more of it. One that used nothing `is_empty`.
    """

    digest: bytes
    file: str
    line: int
    output: float
    stop_reason: str | None
    is_empty: bool
    event: dict[str, Any]


FileRow = FileCall | SkippedRow


class _Call:
    """A call of which more lines may come; the figures are those of the line with the most output so far."""

    __slots__ = (
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
    key: _Key
    message_id: str | None
    occurred_at: str
    line: int
    model: str
    usage: dict[str, Any]
    output: float
    stop_reason: str | None
    sub_agent: bool
    tags: dict[str, str]


def rows_of_file(path: Path, defaults: Defaults) -> Iterator[FileRow]:
    """Yield the calls of a file, each once unless very many are between its lines; raises UnreadableFile."""
    yield from _File(path, defaults).rows()


class _File:
    """What is known of a file so far: the calls that may still get a line."""

    def __init__(self, path: Path, defaults: Defaults) -> None:
        self._path = path
        self._name = str(path)
        self._folder = _project_folder(path)
        self._defaults = defaults
        self._open: OrderedDict[_Key, _Call] = OrderedDict()
        self._tags: dict[tuple[object, ...], dict[str, str]] = {}

    def rows(self) -> Iterator[FileRow]:
        skipped = SkippedRows(self._path)
        number = 0
        try:
            for number, line in lines_of(self._path):
                if _USAGE not in line and looks_whole(line):
                    skipped.add(SkipReason.NO_CALL, number)
                    continue
                record = object_of(line, self._path, number)
                if record is None:
                    skipped.add(SkipReason.UNFINISHED_LINE, number)
                    break
                reason = self._take(record, number)
                if reason is not None:
                    skipped.add(reason, number)
                elif len(self._open) > MOST_OPEN:
                    yield self._closed(self._open.popitem(last=False)[1])
        except calls.Malformed as error:
            raise UnreadableFile(Place(self._name, number), str(error)) from None
        for call in self._open.values():
            yield self._closed(call)
        yield from skipped.rows()

    def _take(self, record: dict[str, Any], number: int) -> SkipReason | None:
        """Take over what a line says of a call; return why it is none of its own, None for the first of a call."""
        entry = record if record.get("type") == "assistant" else _nested(record)
        if entry is None:
            return SkipReason.NO_CALL
        message = calls.object_in(entry, "message")
        usage = None if message is None else calls.object_in(message, "usage")
        if message is None or usage is None:
            return SkipReason.NO_CALL
        if message.get("model") == SYNTHETIC_MODEL:
            return SkipReason.SYNTHETIC
        key = _ids(entry, message)
        call = self._open.get(key)
        if call is None:
            call = self._open[key] = self._new_call(key, entry, message)
            call.sub_agent = entry is not record or entry.get("isSidechain") is True
            self._add(call, message, usage, number)
            return None
        if usage != call.usage or message.get("stop_reason") != call.stop_reason:
            self._add(call, message, usage, number)
        return SkipReason.SAME_CALL

    def _new_call(self, key: _Key, entry: dict[str, Any], message: dict[str, Any]) -> _Call:
        """Return a call by its first line, whose instant counts: copies of the session have the same one."""
        call = _Call()
        call.key = key
        call.message_id = valid_id(message.get("id"))
        call.occurred_at = calls.instant_of(entry.get("timestamp"), "timestamp", self._defaults.time_zone)
        call.tags = self._tags_of(entry)
        call.stop_reason = None
        call.output = -1
        return call

    def _add(self, call: _Call, message: dict[str, Any], usage: dict[str, Any], number: int) -> None:
        """Take over the figures of a line, if it has as much output or more."""
        stop_reason = message.get("stop_reason")
        if isinstance(stop_reason, str):
            call.stop_reason = stop_reason
        calls.check_counts(usage, _COUNTS)
        output = usage.get("output_tokens") or 0
        if output >= call.output:
            model = calls.text_in(message, "model")
            call.model = calls.required_name(model, "model", "message.model must name the model that was called")
            call.usage, call.output, call.line = usage, output, number

    def _tags_of(self, entry: dict[str, Any]) -> dict[str, str]:
        said = calls.text_in(entry, "cwd"), calls.text_in(entry, "sessionId"), calls.text_in(entry, "version")
        found = self._tags.get(said)
        if found is None:
            project = _project(self._folder, said[0])
            found = self._tags[said] = calls.tags_of(project=project, session=said[1], version=said[2])
        return found

    def _closed(self, call: _Call) -> FileCall:
        digest = blake2b("\n".join(call.key).encode(errors="surrogatepass"), digest_size=16).digest()
        try:
            event, is_empty = _event(call, self._defaults)
        except calls.Malformed as error:
            raise UnreadableFile(Place(self._name, call.line), str(error)) from None
        return FileCall(digest, self._name, call.line, call.output, call.stop_reason, is_empty, event)


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


def _event(call: _Call, defaults: Defaults) -> tuple[dict[str, Any], bool]:
    """Return a call as an event, and whether it used nothing."""
    event: dict[str, Any] = {
        "source": SOURCE,
        "idempotency_key": calls.key_of(*filter(None, call.key)),
        "agent_type": SUB_AGENT_TYPE if call.sub_agent else AGENT_TYPE,
        "provider": calls.provider_of_model(call.model) or defaults.provider or "anthropic",
        "model": call.model,
        "occurred_at": call.occurred_at,
        "tags": call.tags,
    }
    tier = STANDARD
    counts = plain_counts(call.usage)
    if counts is not None:
        event["usage"] = counts
        event["response_id"] = call.message_id
        is_empty = not (counts["input_tokens"] or counts["output_tokens"])
    else:
        message = {"type": "message", "id": call.message_id, "model": call.model, "usage": call.usage}
        reading = read_anthropic(message)
        is_empty = reading is None or _is_empty(reading)
        if reading is None or reading.others:
            # Other models within a call, such as an advisor, are booked with it, by whoever reads the response itself.
            event["body"] = message
        else:
            event["usage"] = reading.usage.to_json()
            event["response_id"] = reading.response_id
        if reading is not None:
            tier = reading.service_tier
    calls.add_owner(event, defaults)
    calls.add_rare(event, tier=tier, estimated=call.stop_reason is None, finish_reason=call.stop_reason)
    return event, is_empty


def plain_counts(usage: dict[str, Any]) -> dict[str, int] | None:
    """Return what `read_anthropic` reads of a usage that has what nearly all have, in a quarter of its time; else None.

    The counts of the usage itself have been checked.
    """
    if not _PLAIN.issuperset(usage) or usage.get("service_tier", STANDARD) != STANDARD:
        return None
    split, tools = usage.get("cache_creation", _NOTHING), usage.get("server_tool_use", _NOTHING)
    if type(split) is not dict or type(tools) is not dict or any(tools.values()):
        return None
    read, written = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
    write_5m, write_1h = split.get("ephemeral_5m_input_tokens", 0), split.get("ephemeral_1h_input_tokens", 0)
    new, output = usage.get("input_tokens"), usage.get("output_tokens", 0)
    if {*map(type, (new, output, read, written, write_5m, write_1h))} != _COUNTED or write_5m < 0 or write_1h < 0:
        return None
    write_5m = max(write_5m, written - write_1h)
    return {
        "input_tokens": new + read + write_5m + write_1h,
        "output_tokens": output,
        "cache_read_tokens": read,
        "cache_write_5m_tokens": write_5m,
        "cache_write_1h_tokens": write_1h,
        "reasoning_tokens": 0,
    }


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
