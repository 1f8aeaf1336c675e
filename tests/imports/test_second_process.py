"""Two processes read the same rows as one, in the same order, and none of them is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.imports.log_reading import ADA, written
from tests.imports.log_samples import CLAUDE_CODE, bytes_of
from tests.imports.odd_readers import dying, endless, is_alive, numbered, others, wait_for, wait_until_gone
from tests.imports.test_claude_code import line
from token_ledger.imports import second_process
from token_ledger.imports.claude_code import read, read_in_two
from token_ledger.imports.rows import CallRow, Row, SkippedRow, UnreadableFile
from token_ledger.imports.second_process import is_worth_it, rows_in_two

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_process, "FEWEST_BYTES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


def files(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"file-{number}" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


def test_both_processes_read_and_the_rows_are_in_the_order_of_the_files(tmp_path: Path) -> None:
    paths = files(tmp_path, "a\nb", "wait for the other\nc", *(f"{number}\n" * number for number in range(600, 0, -7)))

    rows = [*rows_in_two(paths, numbered, os.getpid())]

    assert [text for text, _ in rows] == [
        f"{path.name} {each}" for path in paths for each in path.read_text().splitlines()
    ]
    assert len({pid for _, pid in rows}) == 2
    assert [pid for _, pid in rows[:4]] == [os.getpid()] * 4
    assert rows[-1][1] != os.getpid()


def test_more_files_than_a_pipe_has_room_for_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_process, "_MOST_BLOCKS", 3)
    paths = files(tmp_path, "wait for the other", *(f"{number}" for number in range(10)))

    rows = [*rows_in_two(paths, numbered, os.getpid())]

    assert [text for text, _ in rows] == [f"{path.name} {path.read_text()}" for path in paths]


@pytest.mark.parametrize("first", ["", "bad"])
def test_the_first_file_that_can_not_be_read_is_named_whoever_read_it(tmp_path: Path, first: str) -> None:
    paths = files(tmp_path, f"wait for the other\n{first}", "a", "b", "c\nbad", "d\ne\nbad")
    rows = rows_in_two(paths, numbered, os.getpid())

    with pytest.raises(UnreadableFile) as raised:
        list(rows)

    expected = (str(paths[0]), 2) if first else (str(paths[3]), 2)
    assert (raised.value.place.file, raised.value.place.line) == expected
    assert raised.value.problem == "it is bad"


def test_what_the_other_process_did_not_finish_is_read_here(tmp_path: Path) -> None:
    paths = files(tmp_path, "wait for the death", "a", "b", "c\n" * 1_000 + "die", "d")

    rows = [*rows_in_two(paths, dying, os.getpid())]

    assert [text for text, _ in rows] == [
        f"{path.name} {each}" for path in paths for each in path.read_text().splitlines()
    ]
    assert {pid for _, pid in rows} == {os.getpid()}


def test_one_file_and_little_to_read_are_read_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = files(tmp_path, "a", "b")
    assert is_worth_it(paths)
    assert not is_worth_it(paths[:1])
    monkeypatch.setattr(second_process, "FEWEST_BYTES", 3)
    assert not is_worth_it(paths)
    monkeypatch.setattr(second_process, "FEWEST_BYTES", 2)
    assert is_worth_it(paths)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert not is_worth_it(paths)
    assert [text for text, _ in rows_in_two(paths, numbered, 0)] == ["file-0 a", "file-1 b"]


def test_rows_that_nobody_wants_any_more_leave_no_process(tmp_path: Path) -> None:
    rows = rows_in_two(files(tmp_path, "a", "b"), endless, str(tmp_path))
    assert next(rows) == 1
    until_others(tmp_path)
    (other,) = others(tmp_path)
    assert os.getpgid(other) != os.getpgid(0)  # what is typed on the terminal is not for it

    rows.close()  # type: ignore[attr-defined]

    assert not is_alive(other)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_first_process_ends_the_other_one_does_too(tmp_path: Path, how: signal.Signals) -> None:
    paths = files(tmp_path, "a", "b")
    program = (
        # A program that a script runs in the background is born without Control-C.
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import os, sys\nfrom pathlib import Path\nfrom tests.imports.odd_readers import endless\n"
        "from token_ledger.imports import second_process\nsecond_process.FEWEST_BYTES = 0\n"
        "os.sched_getaffinity = lambda _: {0, 1}\n"
        "for row in second_process.rows_in_two([*map(Path, sys.argv[2:])], endless, sys.argv[1]): pass\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), *map(str, paths)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    until_others(tmp_path, 2)

    process.send_signal(how)

    process.wait(60)
    for pid in others(tmp_path):
        wait_until_gone(pid)


def until_others(directory: Path, count: int = 1) -> None:
    for _ in range(6_000):
        if len(others(directory)) == count:
            return
        wait_for(directory)
        signal.sigtimedwait([], 0.01)
    raise AssertionError("the other process did not begin")


def rows_of(rows: Iterator[Row]) -> tuple[list[tuple[str, int, Mapping[str, Any]]], dict[str, int]]:
    calls, skipped = [], dict[str, int]()
    for row in rows:
        if isinstance(row, CallRow):
            calls.append((row.place.file, row.place.line, row.event))
        elif isinstance(row, SkippedRow):
            skipped[row.reason.name] = skipped.get(row.reason.name, 0) + row.rows
    return calls, skipped


def test_sessions_that_repeat_each_other_are_the_same_calls_for_two_processes(tmp_path: Path) -> None:
    text = bytes_of(CLAUDE_CODE[0])
    for number, sample in enumerate((*CLAUDE_CODE, *CLAUDE_CODE[::-1])):
        (tmp_path / f"{number:02}.jsonl").write_bytes(bytes_of(sample) + text)
    written(tmp_path / "00-a.jsonl", line("m1", output=1), line("m2", output=9), line("m3", output=5, model="claude-x"))
    written(
        tmp_path / "99-z.jsonl",
        line("m1", output=400, stop="end_turn", timestamp="2026-02-22T00:00:00Z", isSidechain=True),
        line("m2", output=1, stop="tool_use"), line("m3", output=5, usage={"service_tier": "batch"}),
    )  # fmt: skip

    calls, skipped = rows_of(read_in_two([tmp_path], ADA))

    assert (calls, skipped) == rows_of(read([tmp_path], ADA))
    events = {event["idempotency_key"]: event for _, _, event in calls}
    first, second, third = (events[f"m{number}/req_1"] for number in (1, 2, 3))
    assert (first["usage"]["output_tokens"], first["occurred_at"][:10]) == (400, "2026-02-21")
    assert (first["agent_type"], "estimated" in first) == ("claude-code", False)
    assert (second["usage"]["output_tokens"], second["measured"]) == (9, {"finish_reason": "tool_use"})
    assert (third["model"], third["service_tier"], third["estimated"]) == ("claude-opus-4-6", "batch", True)


def test_a_line_that_is_wrong_is_named_by_file_and_line_from_the_other_process(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jsonl").write_bytes(bytes_of(CLAUDE_CODE[0]))
    log = written(tmp_path / "5.jsonl", line(), "", "[1]")

    with pytest.raises(UnreadableFile, match=r"5\.jsonl, line 3: this line is a list"):
        list(read_in_two([tmp_path], ADA))
    assert log.exists()
