"""Measures `token-ledger import` as a whole process: tables, and session logs of Claude Code, with its peak memory."""

import csv
import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import shapes
from tests.bench.ledger import LedgerBench
from tests.bench.rows import Failure, Figure, Row, Run, Target, interleave
from tests.bench.servers import most_memory_bytes
from tests.bench.traffic import caller, size
from tests.imports.large_logs import make_logs

GROUP: Final = "usage"
ROWS: Final = 100_000
LOG_BYTES: Final = 200_000_000
"""A fifth of the gigabyte that the target speaks of: the memory does not depend on it, and the rate hardly."""
_COMMAND: Final = Path(sys.executable).with_name("token-ledger")
_CSV: Final = "the same file read by the csv module, rows/s"
_LINES: Final = "the same files read line by line, MB/s"
_COLUMNS: Final = (
    "occurred_at", "user", "cost_center", "agent_type", "provider", "model", "input_tokens", "output_tokens",
    "request_id",
)  # fmt: skip


def import_csv(ledger: LedgerBench) -> list[Row]:
    """Measure how many rows of a table a second are imported."""
    table = ledger.server.directory / "calls.csv"
    _write_table(table)

    def measure() -> float:
        seconds, answer, _ = _import(ledger, "csv", table, "--guess")
        if answer["booked"] != ROWS:
            raise Failure(f"not all rows were booked: {answer}")
        return ROWS / seconds

    (runs,) = interleave(ledger.plan.repetitions, partial(_read_table, table), measure)
    return [Row(GROUP, "import_csv", "events/s", _CSV, runs, Target(Figure.VALUE, 10_000))]


def import_claude_code(ledger: LedgerBench) -> list[Row]:
    """Measure how many megabytes of session logs a second are imported, and the peak memory of the processes."""
    folder = ledger.server.directory / "projects"
    make_logs(folder, LOG_BYTES)
    peaks: list[Run] = []

    def measure() -> float:
        seconds, answer, peak = _import(ledger, "claude-code", folder)
        ledger.plan.say(f"import_claude_code: {answer['booked']:,} calls in {seconds:.1f} s, {peak / 1e6:.0f} MB")
        peaks.append(Run(peak / 1e6, 300))
        return LOG_BYTES / 1e6 / seconds

    (runs,) = interleave(1, partial(_read_lines, folder), measure)
    return [
        Row(GROUP, "import_claude_code", "MB/s", _LINES, runs, Target(Figure.VALUE, 1_000 / 60)),
        Row(GROUP, "import_claude_code_rss", "MB", "the target", tuple(peaks),
            Target(Figure.VALUE, 300, at_most=True)),
    ]  # fmt: skip


def _import(ledger: LedgerBench, kind: str, path: Path, *options: str) -> tuple[float, dict[str, object], int]:
    """Import into a new database; return the seconds, the summary, and the peak memory of its processes in bytes."""
    ledger.server.template(shapes.ONE_ACCOUNT.name, shapes.filling(shapes.ONE_ACCOUNT))
    with ledger.server.copy(shapes.ONE_ACCOUNT.name) as url:
        ledger.server.checkpoint()
        command = [str(_COMMAND), "import", kind, str(path), *options, "--json", "--database-url", url]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        peaks: dict[int, int] = {}
        watch = threading.Thread(target=_watch_memory, args=(process, peaks))
        watch.start()
        said, _ = process.communicate()
        seconds = time.perf_counter() - started
        watch.join()
        if process.returncode:
            raise Failure(f"the import ended with status {process.returncode}")
        ledger.verify(f"import {kind}", url)
    return seconds, json.loads(said), sum(peaks.values())


def _watch_memory(process: subprocess.Popen[bytes], peaks: dict[int, int]) -> None:
    """Note the peak memory of a process and of those that it starts, by their ids, until it ends."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):  # one of them has ended
            for pid in (process.pid, *map(int, children.read_text().split())):
                peaks[pid] = most_memory_bytes(pid)
        time.sleep(0.05)


def _write_table(table: Path) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for number in range(ROWS):
            who = caller(number)
            day, minute = divmod(number, 1_000)
            instant = f"2025-{1 + day // 28:02}-{1 + day % 28:02}T{minute // 60:02}:{minute % 60:02}:00Z"
            writer.writerow(
                (instant, who.user, who.cost_center, who.agent_type, who.provider, who.model, *size(number),
                 f"request-{number}")
            )  # fmt: skip


def _read_table(table: Path) -> float:
    started = time.perf_counter()
    with table.open(newline="", encoding="utf-8") as file:
        rows = sum(1 for _ in csv.reader(file))
    return rows / (time.perf_counter() - started)


def _read_lines(folder: Path) -> float:
    started = time.perf_counter()
    read = sum(len(line) for path in folder.iterdir() for line in path.open("rb"))
    return read / 1e6 / (time.perf_counter() - started)
