"""Runs the benchmarks: `python -m tests.bench [--only GROUP]` prints a table and writes build/bench.json.

A group is a context manager that yields its measurements by name; each returns finished rows. If a measurement fails,
its name is printed, its rows are left out and the exit status is 1. A missed target does not change the exit status.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench import finance, ledger, overload, sdk, usage
from tests.bench.plan import Measurements, Plan
from tests.bench.rows import Failure, Row, write_rows

Group = Callable[[Plan], AbstractContextManager[Measurements]]
GROUPS: Final[Mapping[str, Group]] = {
    ledger.GROUP: ledger.bench,
    overload.GROUP: overload.bench,
    usage.GROUP: usage.bench,
    sdk.GROUP: sdk.bench,
    finance.GROUP: finance.bench,
}
OUTPUT: Final = Path("build/bench.json")
_TABLE_WIDTH: Final = 160
"""The least width: wrapped in a narrow log, the table would be unreadable."""


def main(arguments: Sequence[str] | None = None, groups: Mapping[str, Group] = GROUPS) -> int:
    """Run the chosen measurements and return the exit status."""
    options = _parser().parse_args(arguments)
    wanted = [name for name in groups if options.only in (None, name) or options.only.startswith(f"{name}.")]
    if not wanted:
        print(f"bench: there is no group {options.only!r}; the groups are {', '.join(groups)}", file=sys.stderr)
        return 1
    console = Console(stderr=True, highlight=False)
    plan = Plan(options.repetitions, options.seconds, lambda line: console.print(line, markup=False))
    rows: list[Row] = []
    started = time.monotonic()
    failures = sum(_measure(name, groups[name], options.only, plan, rows) for name in wanted)
    write_rows(rows, options.output)
    Console(width=max(Console().width, _TABLE_WIDTH)).print(table(rows))
    plan.say(f"{time.monotonic() - started:.0f} s; written to {options.output}")
    return 1 if failures else 0


def _measure(group: str, bench: Group, only: str | None, plan: Plan, rows: list[Row]) -> int:
    """Add the rows of a group, or of one measurement of it; return how many measurements failed."""
    failures = 0
    with bench(plan) as measurements:
        wanted = [name for name in measurements if only in (None, group, f"{group}.{name}")]
        if not wanted:
            plan.say(f"bench: there is no {only!r}; {group} has {', '.join(measurements)}")
            return 1
        for name in wanted:
            try:
                rows += measurements[name]()
            except Failure as failure:
                failures += 1
                plan.say(f"bench: {group}.{name} FAILED: {failure}")
    return failures


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table to print."""
    shown = Table(title="medians of interleaved runs")
    for heading in "group", "name":
        shown.add_column(heading, no_wrap=True)
    for heading in "value", "unit", "yardstick", "its value", "ratio", "target", "met", "runs":
        shown.add_column(heading, justify="left" if heading in ("unit", "yardstick") else "right")
    for row in rows:
        shown.add_row(
            row.group,
            row.name,
            f"{row.value:,.1f}",
            row.unit,
            row.yardstick,
            f"{row.yardstick_value:,.1f}",
            f"{row.ratio:.2f}",
            "" if row.target is None else str(row.target),
            {None: "", True: "yes", False: "NO"}[row.met],
            str(len(row.runs)),
        )
    return shown


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure the ledger and its yardsticks in turn."
    )
    parser.add_argument("--only", help="a group, or one measurement of it such as ledger.http_requests")
    parser.add_argument("--repetitions", type=_at_least_one, default=3, help="runs of every measurement (default 3)")
    parser.add_argument("--seconds", type=_at_least_one, default=3, help="length of one run (default 3)")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than one")
    return number


if __name__ == "__main__":
    # Treat SIGTERM as SIGINT: asyncio then ends its tasks in order, and the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
