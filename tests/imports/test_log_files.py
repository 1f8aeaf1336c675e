"""Files of logs and traces that are damaged as a whole, large, or no such files at all; and random damage."""

import gzip
import json
import os
import random
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.imports import test_claude_code, test_codex, test_langfuse, test_otlp
from tests.imports.large_logs import make_logs
from tests.imports.log_reading import ADA, Read, events_of, problem_of, skipped_in, written
from tests.imports.log_samples import CLAUDE_CODE, CODEX, LANGFUSE, bytes_of
from token_ledger.imports import claude_code, codex, json_lines, langfuse, otlp, spans
from token_ledger.imports.rows import CallRow, Row, SkippedRow, UnreadableFile

KINDS = {
    "claude-code": (claude_code.read, bytes_of(CLAUDE_CODE[0])),
    "codex": (codex.read, bytes_of(CODEX[2])),
    "langfuse": (langfuse.read, bytes_of(LANGFUSE[3])),
    "otlp": (otlp.read, json.dumps(test_otlp.batch(test_otlp.span())).encode() + b"\n"),
}
each_kind = pytest.mark.parametrize(("read", "text"), KINDS.values(), ids=KINDS)


@each_kind
@pytest.mark.parametrize(
    "damage",
    [lambda packed: packed[:-9], lambda packed: packed[:20] + b"x" * 50, lambda packed: packed + b"x" * 50],
    ids=["cut off", "damaged", "with something behind it"],
)
def test_a_damaged_gzip_file_is_named(
    tmp_path: Path, read: Read, text: bytes, damage: Callable[[bytes], bytes]
) -> None:
    log = tmp_path / "log.json.gz"
    log.write_bytes(damage(gzip.compress(text)))

    problem = problem_of(read, log)

    assert problem.place.file == str(log)
    assert re.search("compressed file (is damaged|ends in the middle)", problem.problem)


@each_kind
def test_a_packed_file_is_known_by_what_it_begins_with(tmp_path: Path, read: Read, text: bytes) -> None:
    packed, plain = tmp_path / "a.json", tmp_path / "b.json.gz"
    packed.write_bytes(gzip.compress(text))
    plain.write_bytes(text)

    assert events_of(read, packed) == events_of(read, plain)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("kind", ["claude-code", "codex"])
def test_a_session_in_another_encoding_is_refused(tmp_path: Path, kind: str, encoding: str) -> None:
    read, text = KINDS[kind]
    log = tmp_path / "log.jsonl"
    log.write_text(text.decode(), encoding=encoding)

    assert problem_of(read, log).place.line == 1


@each_kind
def test_text_that_is_not_utf_8_is_refused(tmp_path: Path, read: Read, text: bytes) -> None:
    log = tmp_path / "log.json"
    for place in (0, 1, len(text) // 2):
        log.write_bytes(text[:place] + b"\xe4" + text[place:])

        assert problem_of(read, log).place.line > 0


def test_a_line_that_is_no_call_must_be_utf_8_too(tmp_path: Path) -> None:
    log = tmp_path / "s.jsonl"
    log.write_bytes(b'{"type":"user","text":"\xe4"}\n')

    assert "not UTF-8" in problem_of(claude_code.read, log).problem
    log.write_text('{"type":"user","text":"ä"}\n', encoding="utf-8")
    assert skipped_in(claude_code.read, log) == {"NO_CALL": 1}


@each_kind
def test_a_byte_order_mark_and_line_breaks_of_windows_do_not_matter(tmp_path: Path, read: Read, text: bytes) -> None:
    plain, marked = tmp_path / "a.json", tmp_path / "b.json"
    plain.write_bytes(text)
    marked.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))

    assert events_of(read, plain) == events_of(read, marked)


@each_kind
def test_an_empty_file_has_no_rows(tmp_path: Path, read: Read, text: bytes) -> None:
    log = tmp_path / "log.json"
    log.write_bytes(b"")

    assert list(read([log], ADA)) == []


@each_kind
def test_a_file_that_is_not_there_and_a_folder_without_logs_are_named(tmp_path: Path, read: Read, text: bytes) -> None:
    missing = problem_of(read, tmp_path / "missing.jsonl")
    (tmp_path / "notes.txt").write_text("x")
    empty = problem_of(read, tmp_path)

    assert "can't be opened" in missing.problem
    assert "has no file" in empty.problem
    assert (missing.place.line, empty.place.line) == (0, 0)


@pytest.mark.parametrize("kind", ["langfuse", "otlp"])
def test_a_pipe_can_not_be_read_twice(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "save it to a file first" in problem_of(KINDS[kind][0], tmp_path / "pipe").problem


@each_kind
def test_a_file_that_is_given_twice_is_read_once(tmp_path: Path, read: Read, text: bytes) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(text)

    assert events_of(read, log, tmp_path) == events_of(read, log)
    assert skipped_in(read, log, tmp_path) == skipped_in(read, log)


def test_lines_of_many_megabytes_are_read_up_to_a_bound(tmp_path: Path) -> None:
    picture = {"type": "user", "message": {"content": "x" * 10_000_000}}
    log = written(tmp_path / "s.jsonl", picture, test_claude_code.line())

    assert len(events_of(claude_code.read, log)) == 1

    too_long = written(tmp_path / "t.jsonl", picture, {"type": "user", "text": "x" * json_lines.LONGEST_LINE})
    tracemalloc.start()
    problem = problem_of(claude_code.read, too_long)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem.place.line == 2
    assert "longer than" in problem.problem
    assert peak < 3 * json_lines.LONGEST_LINE


def test_a_trace_beyond_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "LONGEST_TRACE", 2**20)
    large = test_langfuse.trace(test_langfuse.observation(input="x" * 2**20))
    log = written(tmp_path / "t.jsonl", test_langfuse.trace(test_langfuse.observation()), large, large)

    problem = problem_of(langfuse.read, log)

    assert problem.place.line == 2
    assert "longer than 1 MB" in problem.problem


def test_a_long_list_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    log = tmp_path / "t.json"
    each = json.dumps(test_langfuse.trace(test_langfuse.observation("o%d", input="x" * 100_000)))
    with log.open("w") as file:
        file.write("[" + ",\n".join(each.replace("o%d", f"o{number}") for number in range(400)) + "]")

    tracemalloc.start()
    calls = sum(1 for _ in langfuse.read([log], ADA))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert calls == 400
    assert peak < log.stat().st_size / 4


def test_large_logs_repeat_the_recorded_ones_with_new_ids(tmp_path: Path) -> None:
    lines = make_logs(tmp_path, 3_000_000)

    rows = list(claude_code.read([tmp_path], ADA))

    once = len(events_of(claude_code.read, *CLAUDE_CODE))
    calls = [row for row in rows if not isinstance(row, SkippedRow)]
    assert len(calls) == 3 * once
    assert len({row.event["idempotency_key"] for row in calls}) == 3 * once
    assert sum(row.rows for row in rows if isinstance(row, SkippedRow)) + len(calls) == lines


LINES: dict[str, tuple[Read, list[Any]]] = {
    "claude-code": (
        claude_code.read,
        [
            test_claude_code.line("msg_1", output=1),
            test_claude_code.line("msg_1", stop="end_turn", usage={"iterations": [{"type": "compaction"}]}),
            test_claude_code.progress(test_claude_code.line("msg_2")),
            {"type": "user", "toolUseResult": {"usage": {"input_tokens": 1}}},
        ],
    ),
    "codex": (
        codex.read,
        [
            test_codex.meta("c", forked_from_id="p"),
            test_codex.turn(),
            test_codex.counts(test_codex.FIRST, test_codex.FIRST),
            test_codex.counts(test_codex.BOTH, test_codex.SECOND),
        ],
    ),
    "langfuse": (
        langfuse.read,
        [
            test_langfuse.trace(
                test_langfuse.observation("a", kind="AGENT", metadata={"attributes": {"user.id": "bo"}}),
                test_langfuse.observation("b", "a", usage={"input": 5, "prompt_details": {"cache_read": 3}}),
                sessionId="s", tags=["x", "y:z"],
            ),
            test_langfuse.observation("c", modelParameters={"service_tier": "flex"}),
            {"data": [test_langfuse.trace(test_langfuse.observation("d"))]},
        ],
    ),
    "otlp": (
        otlp.read,
        [
            test_otlp.batch(test_otlp.span("a"), test_otlp.span("b", "a", status={"code": 2}), **{"user.id": "bo"}),
            test_otlp.batch(test_otlp.span("c", attributes={**test_otlp.CALL, "llm.token_count.total": 12.5})),
        ],
    ),
}  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e400, float("nan"), 10**40, "", "x", "\u0000", "\ud83d", "9" * 5_000, [], [[]], {},
    {"": None}, [1], {"input_tokens": "x"}, "2026-02-30", "2026-02-01T00:00", "0001-01-01T00:00:00+23:59",
    "tl_acme_1_" + "a" * 30, [None, {}], "\u200b",
)  # fmt: skip


def mutated(value: Any, chance: random.Random) -> Any:
    """Return JSON with one part of it, anywhere, made into something else."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return chance.choice(ODD)
    if isinstance(value, list):
        place = chance.randrange(len(value))
        return [mutated(each, chance) if number == place else each for number, each in enumerate(value)]
    name = chance.choice(list(value))
    if chance.random() < 0.15:
        return {each: inner for each, inner in value.items() if each != name}
    return {each: mutated(inner, chance) if each == name else inner for each, inner in value.items()}


def damaged(text: bytes, chance: random.Random) -> bytes:
    """Return a file with bytes cut out, put in or changed."""
    place = chance.randrange(len(text))
    end = place + chance.choice((0, 0, 1, 1, 50, len(text)))
    return text[:place] + bytes(chance.choices(b'{}[]",:\\\n\x00\xff0-e', k=chance.randrange(4))) + text[end:]


def outcome(read: Read, log: Path) -> tuple[list[Row], UnreadableFile | None]:
    """Return the rows of a file, or why it can't be read."""
    try:
        return list(read([log], ADA)), None
    except UnreadableFile as error:
        return [], error


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_file_has_nothing_but_unreadable_is_raised(tmp_path: Path, kind: str, seed: int) -> None:
    read, lines = LINES[kind]
    chance = random.Random(f"{kind} {seed}")
    log = tmp_path / "log.jsonl"
    outcomes = set()
    for _ in range(400):
        changed = [mutated(line, chance) if chance.random() < 0.6 else line for line in lines]
        text = "".join(json.dumps(line) + "\n" for line in changed).encode()
        log.write_bytes(damaged(text, chance) if chance.random() < 0.4 else text)
        found, problem = outcome(read, log)
        outcomes.add("read" if problem is None else "unreadable")
        assert problem is None or (problem.place.file == str(log) and problem.problem)
        for row in found:
            if isinstance(row, CallRow):
                json.dumps(row.event, allow_nan=False).encode()
    assert outcomes == {"read", "unreadable"}
