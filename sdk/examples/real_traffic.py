"""Replays thousands of real agent calls through a Token Ledger of its own, and checks every cent of what it books.

It starts the service with an empty database, sets budgets and triggers, reserves and settles every call of the sample
over HTTP with the real token counts, prints the reports, writes the cost report as a page, compares the cost with an
independent sum and runs `token-ledger verify`. Exit status: 0 if both agree, 1 if not, 130 after Ctrl-C.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import policy
import service
import traffic
from policy import set_up
from progress import progress_of
from replay import Replay, replay
from report import print_reports
from rich.console import Console
from traffic import Session, read_sessions

from token_ledger_sdk import AsyncTokenLedger

CONCURRENCY = 24
PAGE = Path(__file__).parents[2] / "build" / "cost-report.html"
PLAIN_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    options = _parser().parse_args(arguments)
    # End on SIGTERM as on Ctrl-C, so that the service is stopped too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if options.stop is not None:
        return _stop(options.stop)
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH, color_system=None)
    try:
        sessions = read_sessions(options.sample, options.calls)
        return _demonstrate(console, sessions, options)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left behind")
        return 130
    except service.ServiceFailed as error:
        print(error, file=sys.stderr)
        return 1


def _demonstrate(console: Console, sessions: list[Session], options: argparse.Namespace) -> int:
    console.print("starting a service with its own database …")
    own = service.start()
    kept = False
    try:
        equal = asyncio.run(_replay_and_report(console, own, sessions, options))
        clean, text = service.verify(own)
        console.print(f"\n$ token-ledger verify\n{text}", markup=False, soft_wrap=True)
        if options.keep:
            _print_kept(console, own)
            kept = True
        return 0 if equal and clean else 1
    finally:
        if not kept:
            service.stop(own.directory)


async def _replay_and_report(
    console: Console, own: service.OwnService, sessions: list[Session], options: argparse.Namespace
) -> bool:
    key = own.admin_key
    # The SDK has only what agents need; admin requests are plain HTTP.
    async with httpx2.AsyncClient(base_url=own.url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as admin:
        await set_up(admin, sessions, datetime.now(UTC))
        done = await _replay(console, own.url, key, sessions, options.concurrency)
        return await print_reports(console, admin, done, options.page.absolute())


async def _replay(console: Console, url: str, key: str, sessions: list[Session], concurrency: int) -> Replay:
    calls = sum(len(session.calls) for session in sessions)
    console.print(f"replaying {calls:,} calls of {len(sessions)} sessions, {concurrency} sessions at a time")
    async with AsyncTokenLedger(url, key) as ledger:
        with progress_of(console, calls) as on_call:
            return await replay(ledger, sessions, concurrency=concurrency, on_call=on_call)


def _print_kept(console: Console, own: service.OwnService) -> None:
    console.print(
        f"\nstill running: {own.url} (documentation: {own.url}/docs)\n"
        f"admin key:     {own.admin_key}\n"
        f"spend:         curl -s '{own.url}/v1/reports/spend?group_by=user'"
        f" -H 'Authorization: Bearer {own.admin_key}'\n"
        f"Grafana:       point Prometheus at {own.metrics_url} and import dashboards/grafana/token-ledger.json;"
        " `docker compose up --build` starts all of this with its own database\n"
        f"stop it:       {sys.executable} {Path(__file__)} --stop {own.directory}",
        markup=False,
        soft_wrap=True,
        highlight=False,
    )


def _stop(directory: Path) -> int:
    if not service.is_own(directory):
        print(f"{directory} was not made by --keep", file=sys.stderr)
        return 1
    service.stop(directory)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"{traffic.RULES}{policy.RULES}\nThe data: tests/data/traces/README.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--calls", type=_positive, metavar="N", help="replay only the first N calls")
    parser.add_argument("--concurrency", type=_positive, default=CONCURRENCY, metavar="N", help="sessions at a time")
    parser.add_argument("--keep", action="store_true", help="leave the service running and print how to reach it")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="where the cost report is written")
    parser.add_argument("--stop", type=Path, metavar="DIRECTORY", help="only stop what --keep left running")
    parser.add_argument("--sample", type=Path, default=traffic.SAMPLE, metavar="FILE", help="replay another sample")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero: give one such as 100")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
