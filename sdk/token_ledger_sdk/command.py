"""The command `token-ledger-sdk`: shows what waits in the spools of this machine, and sends it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx2

from ._sync.sender import Sender
from .connection import POOL, Connection
from .errors import ConfigurationError, LedgerError
from .outage import RetryPolicy
from .spool.deliveries import Outcome
from .spool.places import SpoolPlace, spool_home
from .spool.spool import ASIDE, Spool
from .spool.survey import Waiting, survey, survey_owner

_TIMEOUT_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None, transport: httpx2.BaseTransport | None = None) -> int:
    """Run the command; returns its exit status: 1 if something is left to be sent, 2 if it was called wrongly."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="token-ledger-sdk: %(message)s")
    try:
        home = spool_home(options.directory)
        if options.verb == "drain":
            key = None if options.key_file is None else options.key_file.read_text(encoding="utf-8")
            return drain(home, Connection.resolve(options.url, key), transport)
    except (ConfigurationError, OSError) as error:
        print(f"token-ledger-sdk: {error}", file=sys.stderr)
        return 2
    return show(home)


def show(home: Path) -> int:
    """Print what waits on this machine, by service and owner; nothing is changed."""
    found = survey(home)
    if not found:
        print(f"nothing waits in {home}")
    for each in found:
        print(f"{each.service or 'a service that no file names'}, {each.owner}")
        print("\n".join(f"  {line}" for line in _described(each)))
    return 0


def drain(home: Path, connection: Connection, transport: httpx2.BaseTransport | None = None) -> int:
    """Send what waits and is the key's tenant's, and print what became of it; returns 1 if something is left."""
    place = SpoolPlace(home, connection.base_url, connection.key)
    spool = Spool(place)
    failure: LedgerError | None = None
    with httpx2.Client(
        base_url=connection.base_url, headers=connection.headers(), timeout=_TIMEOUT_SECONDS, limits=POOL,
        transport=transport,
    ) as http:  # fmt: skip
        outbox = Sender(lambda: http, RetryPolicy(), spool=spool).outbox
        try:
            outbox.flush()
            while spool.ready:
                outbox.flush()
        except LedgerError as error:
            failure = error
    spool.close()
    owners = [survey_owner(directory) for directory in place.directories]
    _print_sent(outbox.loads.outcomes, owners)
    if failure is not None:
        print(f"token-ledger-sdk: the service did not take all of it: {failure}", file=sys.stderr)
    return 1 if failure is not None or any(each.records or each.unreadable for each in owners) else 0


def _print_sent(outcomes: Counter[Outcome], owners: Sequence[Waiting]) -> None:
    for outcome in Outcome:
        print(f"{outcome.value}: {outcomes[outcome]:,}")
    left, in_use = sum(each.records for each in owners), sum(each.in_use_records for each in owners)
    print(f"left: {left:,}" + (f", of them {in_use:,} that living processes send themselves" if in_use else ""))
    for each in owners:
        if outcomes[Outcome.REFUSED] and each.refused:
            print(f"what was refused is in {each.directory / ASIDE}")
        for problem in each.unreadable:
            print(f"left alone: {each.directory}: {problem}")


def _described(waiting: Waiting) -> list[str]:
    lines = [
        f"waiting: {waiting.records:,} in {waiting.files:,} files, {waiting.size_bytes:,} bytes",
        f"with living processes: {waiting.in_use_records:,} in {waiting.in_use:,} files; they send it themselves",
    ]
    if waiting.oldest is not None:
        lines.append(f"oldest: {waiting.oldest.isoformat(timespec='seconds')}")
    if waiting.refused:
        lines.append(f"refused by the service, for people to read: {waiting.refused:,} in {ASIDE}")
    if waiting.damaged:
        lines.append(f"copies of damaged files: {waiting.damaged:,}")
    lines += [f"can't be read: {problem}" for problem in waiting.unreadable]
    return [*lines, f"directory: {waiting.directory}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="token-ledger-sdk", description="Looks after the SDK of Token Ledger.")
    commands = parser.add_subparsers(dest="command", required=True)
    spool = commands.add_parser("spool", help="what calls used and the service does not have yet: show it, or send it")
    spool.add_argument(
        "verb", nargs="?", choices=("show", "drain"), default="show",
        help="show prints what waits on this machine; drain sends what the key's tenant owns",
    )  # fmt: skip
    spool.add_argument("--directory", type=Path, help="where spools are (default TOKEN_LEDGER_SPOOL, else the user's)")
    spool.add_argument("--url", help="address of the service (default TOKEN_LEDGER_URL)")
    spool.add_argument("--key-file", type=Path, help="file with a key of the tenant (default TOKEN_LEDGER_KEY)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
