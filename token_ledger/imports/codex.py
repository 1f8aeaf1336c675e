"""Reads the session logs of Codex: `~/.codex/sessions`, or single files of it.

Codex logs after each call what the session has used so far (`total_token_usage`) and what the call used
(`last_token_usage`), and logs both again when only a limit changed. What a call used is the difference of two totals:
it loses nothing where a line is missing, and a repetition is a difference of nothing. Where the totals begin anew, or
go on from those of a session in another file, it is `last_token_usage`.

A session that is forked into a new file begins with all lines of the first one, whose instants may be those of the
fork. So a call is known by the session where all of it began and by its totals, wherever they are repeated.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from token_ledger_sdk.providers import usage_from_openai
from token_ledger_sdk.providers.reading import tier_named

from token_ledger.imports import calls
from token_ledger.imports.json_lines import SkippedRows, files_of, lines_of, looks_whole, object_of
from token_ledger.imports.rows import CallRow, Defaults, Place, Row, SkipReason, UnreadableFile

SOURCE = "codex"
AGENT_TYPE = "codex"
SUB_AGENT_TYPE = "codex-subagent"
UNKNOWN_MODEL = "codex-unknown"
"""The model of calls before the log names one, as early versions do. An alias can give them a price."""

_WORTH_PARSING = (b'"token_count"', b'"session_meta"', b'"turn_context"')
_KINDS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens", "total_tokens")
_INPUT, _OUTPUT, _TOTAL = 0, 2, 4
_Counts = tuple[int, ...]


def read(paths: Sequence[Path], defaults: Defaults) -> Iterator[Row]:
    """Yield the calls of session logs, and how many of their lines are none; raises UnreadableFile."""
    yielded: set[bytes] = set()
    for path in files_of(paths):
        yield from _rows_of(path, defaults, yielded)


def _rows_of(path: Path, defaults: Defaults, yielded: set[bytes]) -> Iterator[Row]:
    session = _Session(path.name.split(".")[0], defaults)
    skipped = SkippedRows(path)
    number = 0
    try:
        for number, line in lines_of(path):
            if looks_whole(line) and not any(sign in line for sign in _WORTH_PARSING):
                skipped.add(SkipReason.NO_CALL, number)
                continue
            record = object_of(line, path, number)
            if record is None:
                skipped.add(SkipReason.UNFINISHED_LINE, number)
                break
            found = session.take(record, yielded)
            if isinstance(found, SkipReason):
                skipped.add(found, number)
            else:
                yield CallRow(Place(str(path), number), found)
    except calls.Malformed as error:
        raise UnreadableFile(Place(str(path), number), str(error)) from None
    yield from skipped.rows()


class _Session:
    """What the lines of a file said so far about the session, and its totals."""

    def __init__(self, name: str, defaults: Defaults) -> None:
        self._defaults = defaults
        self._began_in = self._own_id = name
        self._has_meta = self._has_calls = False
        self._provider: str | None = None
        self._version: str | None = None
        self._folder: str | None = None
        self._agent_type = AGENT_TYPE
        self._model = UNKNOWN_MODEL
        self._tier: object = None
        self._totals: _Counts | None = None

    def take(self, record: dict[str, Any], yielded: set[bytes]) -> SkipReason | dict[str, Any]:
        """Return the event of a line that is a new call, or why it is none."""
        kind = record.get("type")
        if kind not in ("session_meta", "turn_context", "event_msg"):
            return SkipReason.NO_CALL
        payload = calls.object_in(record, "payload")
        if payload is None:
            return SkipReason.NO_CALL
        if kind == "session_meta":
            self._take_meta(payload)
        elif kind == "turn_context":
            self._take_turn(payload)
        elif payload.get("type") == "token_count":
            return self._take_counts(payload, record.get("timestamp"), yielded)
        return SkipReason.NO_CALL

    def _take_meta(self, meta: dict[str, Any]) -> None:
        """Take over what a session says of itself; further ones at the start are those it was forked from."""
        session_id = calls.text_in(meta, "id")
        if session_id is None or self._has_calls:
            return
        self._began_in = calls.text_in(meta, "forked_from_id") or session_id
        if self._has_meta:
            return
        self._has_meta = True
        self._own_id = session_id
        self._provider = calls.text_in(meta, "model_provider")
        self._version = calls.text_in(meta, "cli_version")
        self._folder = calls.text_in(meta, "cwd")
        source = meta.get("source")
        if isinstance(source, dict) and "subagent" in source:
            self._agent_type = SUB_AGENT_TYPE

    def _take_turn(self, turn: dict[str, Any]) -> None:
        model = calls.text_in(turn, "model")
        if model is not None:
            self._model = calls.required_name(model, "model", "it must be the name of a model")
        self._tier = turn.get("service_tier")

    def _take_counts(
        self, payload: dict[str, Any], timestamp: object, yielded: set[bytes]
    ) -> SkipReason | dict[str, Any]:
        info = calls.object_in(payload, "info")
        if info is None:
            return SkipReason.NO_CALL  # only the state of limits
        totals, last = _counts(info, "total_token_usage"), _counts(info, "last_token_usage")
        if totals is None and last is None:
            return SkipReason.NO_CALL
        self._has_calls = True
        before, self._totals = self._totals, totals
        if totals is not None and totals == before:
            return SkipReason.SAME_CALL
        used = _used(before, totals, last)
        if not (used[_INPUT] or used[_OUTPUT]):
            return SkipReason.NO_USAGE
        key = self._key(totals or last or used, timestamp if totals is None else None)
        digest = blake2b(key.encode(), digest_size=16).digest()
        if digest in yielded:
            return SkipReason.SAME_CALL
        yielded.add(digest)
        return self._event(key, used, timestamp)

    def _key(self, totals: _Counts, timestamp: object) -> str:
        """Return the key of a call; without totals its instant tells it from others."""
        parts = [self._began_in, "-".join(map(str, totals))]
        return calls.key_of(*parts, *([timestamp] if isinstance(timestamp, str) else []))

    def _event(self, key: str, used: _Counts, timestamp: object) -> dict[str, Any]:
        reading = usage_from_openai({"usage": dict(zip(_KINDS, used, strict=True))})
        event: dict[str, Any] = {
            "source": SOURCE,
            "idempotency_key": key,
            "agent_type": self._agent_type,
            "provider": calls.name_of(self._provider) or self._defaults.provider or "openai",
            "model": self._model,
            "usage": reading.to_json(),
            "occurred_at": calls.instant_of(timestamp, "timestamp", self._defaults.time_zone),
            "tags": calls.tags_of(project=calls.folder_name(self._folder), session=self._own_id, version=self._version),
        }
        calls.add_owner(event, self._defaults)
        calls.add_rare(event, tier=tier_named(self._tier), estimated=False, finish_reason=None)
        return event


def _counts(info: dict[str, Any], name: str) -> _Counts | None:
    usage = calls.object_in(info, name)
    if usage is None:
        return None
    calls.check_counts(usage, _KINDS)
    return tuple(int(usage.get(kind) or 0) for kind in _KINDS)


def _used(before: _Counts | None, totals: _Counts | None, last: _Counts | None) -> _Counts:
    """Return what was used since the last totals; `last` is what the log says of the last call alone."""
    if totals is None:
        return last or (0,) * len(_KINDS)
    if before is None:
        # A file that goes on from totals of another one says with `last` what is new.
        return last or totals
    difference = tuple(now - then for now, then in zip(totals, before, strict=True))
    if totals == last or min(difference[:_TOTAL]) < 0:
        return last or totals  # the totals began anew
    return difference
