"""Selects `agent_calls_sample.csv.gz` from the published `agent_calls.csv.gz`; README.md beside it says by what rule.

Usage: python select_sample.py SOURCE.csv.gz [TARGET.csv.gz]. The same source gives the same bytes.
"""

import csv
import gzip
import hashlib
import io
import sys
from collections.abc import Iterable
from pathlib import Path

Row = dict[str, str]
Session = list[Row]

COLUMNS = (
    "ts_utc",
    "session",
    "tool",
    "is_subagent",
    "provider",
    "model",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "prompt_total",
    "output_final",
)
TARGET = Path(__file__).with_name("agent_calls_sample.csv.gz")
NOT_A_MODEL = ("", "<synthetic>")
FIRST_DAY = "2026-04-01"
CALLS_OF_A_SESSION = range(5, 301)
WANTED_CALLS = {"claude-code": 3_000, "codex": 2_000, "pi": 1_000}


def read_sessions(source: Path) -> list[Session]:
    """Read whole sessions, each in the order of time, without rows that name no model."""
    sessions: dict[str, Session] = {}
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] not in NOT_A_MODEL:
                sessions.setdefault(row["session"], []).append(row)
    return [sorted(rows, key=lambda row: row["ts_utc"]) for rows in sessions.values()]


def select(sessions: Iterable[Session]) -> list[Session]:
    """Choose sessions by the rule of README.md, ordered by their first call."""
    fitting = [rows for rows in sessions if len(rows) in CALLS_OF_A_SESSION]
    chosen = [rows for rows in fitting if _has_small_subagents(rows)]
    for tool, wanted in WANTED_CALLS.items():
        candidates = [rows for rows in fitting if rows[0]["tool"] == tool and _is_late_and_final(rows)]
        chosen += _enough_of(sorted(candidates, key=_shuffled), wanted)
    return sorted(chosen, key=lambda rows: (rows[0]["ts_utc"], rows[0]["session"]))


def write_sample(sessions: Iterable[Session], target: Path) -> None:
    """Write the needed columns; the gzip header carries neither a time nor a name."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for rows in sessions:
        writer.writerows(rows)
    target.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


def _is_late_and_final(rows: Session) -> bool:
    return rows[0]["ts_utc"] >= FIRST_DAY and all(row["output_final"] == "1" for row in rows)


def _has_small_subagents(rows: Session) -> bool:
    return any(row["is_subagent"] == "1" for row in rows) and any(row["model"] == "claude-sonnet-4-6" for row in rows)


def _shuffled(rows: Session) -> str:
    return hashlib.sha256(rows[0]["session"].encode()).hexdigest()


def _enough_of(sessions: Iterable[Session], wanted_calls: int) -> list[Session]:
    chosen: list[Session] = []
    for rows in sessions:
        if sum(map(len, chosen)) >= wanted_calls:
            break
        chosen.append(rows)
    return chosen


def main(arguments: list[str]) -> int:
    """Select and write; return the exit status."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(arguments[1]) if len(arguments) == 2 else TARGET
    sessions = select(read_sessions(Path(arguments[0])))
    write_sample(sessions, target)
    print(f"{sum(map(len, sessions))} calls of {len(sessions)} sessions written to {target}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
