"""The command `import`: usage from files of other systems, tried out or booked, with a summary that adds up."""

import argparse
import asyncio
import getpass
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, Final, cast

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from token_ledger.cli.connections import named_database, open_ledger, tenant_named
from token_ledger.cli.event_loop import collect_less_garbage, loop_factory
from token_ledger.cli.names import read_name
from token_ledger.config import Settings
from token_ledger.core.model.money import format_money
from token_ledger.core.model.tenant import TenantId
from token_ledger.imports.answer import import_answer
from token_ledger.imports.booking import book, kept_since, read, try_out
from token_ledger.imports.guess import Kind as TableKind
from token_ledger.imports.guess import guess
from token_ledger.imports.kinds import KINDS, Form, ImportKind, rows_of
from token_ledger.imports.mapping import TableMapping, mapping_text, read_mapping
from token_ledger.imports.rows import Defaults
from token_ledger.imports.spool import Spool
from token_ledger.imports.summary import Summary, Use, UseKey, totals
from token_ledger.ledger.errors import LedgerError
from token_ledger.ledger.group_commit import BATCH_OPERATIONS, GroupCommit
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants, check_zone
from token_ledger.storage.upkeep.periods import database_now

CALLS_OF_A_BATCH: Final = 2 * BATCH_OPERATIONS
"""What is paid once for a batch is paid for more calls than in a service, where somebody waits for each. Callers of the
same tenant wait for one such batch at most."""


def import_files(settings: Settings, options: argparse.Namespace) -> int:
    """Import files of one kind, or show what importing them would do."""
    kind = KINDS[options.kind]
    missing = [str(path) for path in options.files if not path.exists()]
    if missing:
        raise ValueError(f"there is no file {missing[0]}; name files or folders that exist")
    mapping = _mapping(kind, options)
    defaults = _defaults(kind, options)
    with (
        named_database(settings) as url,
        Spool() as spool,
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        summary = runner.run(_import(url, settings.retention_months, options, kind, defaults, mapping, spool))
    if options.json:
        print(json.dumps(import_answer(summary, dry_run=options.dry_run)))
    else:
        print_summary(summary, dry_run=options.dry_run)
    return 0


async def _import(
    url: str, retention_months: int | None, options: argparse.Namespace, kind: ImportKind, defaults: Defaults,
    mapping: TableMapping | None, spool: Spool,
) -> Summary:  # fmt: skip
    async with open_ledger(url, writers=2, batch_operations=CALLS_OF_A_BATCH) as (database, commits):
        tenant = await chosen_tenant(database, options.tenant)
        async with database.reading(tenant) as connection:
            calendar, _ = await load_calendar(connection, tenant)
            since = kept_since(await database_now(connection), retention_months)
        summary = Summary(calendar)
        collect_less_garbage()
        with _progress("reading", None) as told:
            rows = rows_of(kind, options.files, defaults, summary.stated, mapping, in_two=True)
            with closing(rows), _interrupted_at_once():
                read(rows, spool, summary, told)
        doing = "trying out" if options.dry_run else "booking"
        with _progress(doing, spool.count) as told:
            await _deal_with(commits, tenant, spool, since, summary, told, kind, dry_run=options.dry_run)
        return summary


async def _deal_with(
    commits: GroupCommit, tenant: TenantId, spool: Spool, since: datetime, summary: Summary, told: Any,
    kind: ImportKind, *, dry_run: bool,
) -> None:  # fmt: skip
    async def next_piece(calls: int) -> None:
        told(calls)
        await asyncio.sleep(0)  # so that the batch before begins

    if dry_run:
        await try_out(
            spool.calls(), lambda commands: commits.try_out(tenant, commands), since, summary, next_piece,
            may_grow=kind.may_grow,
        )  # fmt: skip
        return
    try:
        await book(
            spool.calls(), lambda reports: commits.begin_reports(tenant, reports, lasts=False), since, summary,
            next_piece, may_grow=kind.may_grow, waiting_calls=4 * CALLS_OF_A_BATCH,
        )  # fmt: skip
        await commits.sync(tenant)
    except LedgerError as error:
        done = f"{summary.booked} of {spool.count} calls are booked"
        raise ValueError(f"{error}; {done}: run the command again to book the rest, none is booked twice") from error


async def chosen_tenant(database: Database, name: str | None) -> TenantId:
    """Return the tenant with a name, or the only one. Raises ValueError if there is none such."""
    if name is not None:
        return await tenant_named(database, name)
    async with database.reading() as connection:
        tenants = await all_tenants(connection)
    if len(tenants) == 1:
        return next(iter(tenants))
    known = ", ".join(sorted(tenants.values())[:5]) or "none; make one with token-ledger tenant NAME"
    raise ValueError(f"say with --tenant whose usage this is; there are {len(tenants)} tenants: {known}")


def _defaults(kind: ImportKind, options: argparse.Namespace) -> Defaults:
    names = {
        name: None if (given := getattr(options, name)) is None else read_name(f"--{name.replace('_', '-')}", given)
        for name in ("user", "cost_center", "agent_type", "provider")
    }
    if names["user"] is None and kind.form is Form.SESSIONS:
        names["user"] = getpass.getuser()
    zone = None if options.time_zone is None else check_zone(options.time_zone)
    return Defaults(**names, time_zone=zone)


def _mapping(kind: ImportKind, options: argparse.Namespace) -> TableMapping | None:
    """Return the mapping of a table: that of the file that was named, or one that is guessed and was agreed to."""
    if kind.form is not Form.TABLE:
        if options.mapping is not None or options.guess:
            raise ValueError(f"{kind.name} has fields of its own; leave --mapping and --guess out")
        return None
    if options.mapping is not None:
        return read_mapping(options.mapping)
    guessed = guess(cast(TableKind, kind.name), options.files[0])
    print(f"# guessed from {options.files[0]}\n{mapping_text(guessed.mapping)}", file=sys.stderr)
    for sentence in (*guessed.unsure, *(f"the column {name} is not used" for name in guessed.unused)):
        print(f"# {sentence}", file=sys.stderr)
    if not (options.guess or options.dry_run):
        raise ValueError(
            "nothing was read: if the mapping above is right, run the command again with --guess; otherwise correct it"
            " in a file, and name that with --mapping"
        )
    return guessed.mapping


@contextmanager
def _progress(doing: str, total: int | None) -> Iterator[Any]:
    """Show how far something is on a terminal; yields a function that is told how many rows more were dealt with."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda more: None
        return
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda more: progress.advance(task, more)


@contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """Let Ctrl-C end what waits for nothing; the event loop would put it off until something is waited for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def print_summary(summary: Summary, *, dry_run: bool) -> None:
    """Print what the calls cost per day and model, and what became of every row."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if summary.uses:
        console.print(_uses_table(summary.uses))
    would = "would be " if dry_run else ""
    if summary.stated.by_day_and_model:
        console.print(f"the files state a cost of {summary.stated.total:f} dollars; the ledger prices calls itself")
    console.print(f"rows read: {summary.rows:,}")
    console.print(f"  {would}booked: {summary.booked:,}")
    if summary.duplicates:
        console.print(f"  booked before: {summary.duplicates:,}")
    if summary.corrected:
        console.print(f"  {would}corrected, unfinished before: {summary.corrected:,}")
    for reason, count in summary.skipped.most_common():
        console.print(f"  skipped, {reason.value}: {count:,}")
    for state, counts in (("quarantined", summary.quarantined), ("refused", summary.refused)):
        for code, count in counts.most_common():
            console.print(f"  {would}{state}, {code}: {count:,}")
            for example in summary.examples[code]:
                console.print(f"    {example}", markup=False)
    if dry_run:
        console.print("nothing was booked; leave --dry-run out to book it")


def _uses_table(uses: dict[UseKey, Use]) -> Table:
    table = Table(show_footer=True, box=SIMPLE)
    total = totals(uses)
    table.add_column("day", footer="total")
    table.add_column("model")
    footers = (total.calls, total.input_tokens, total.cache_read_tokens, total.output_tokens)
    for name, amount in zip(("calls", "input", "cached", "output"), footers, strict=True):
        table.add_column(name, justify="right", footer=f"{amount:,}")
    table.add_column("cost, $", justify="right", footer=format_money(total.cost_nanos))
    table.add_column("unpriced", justify="right", footer=f"{total.unpriced:,}")
    for key, use in sorted(uses.items()):
        counts = (use.calls, use.input_tokens, use.cache_read_tokens, use.output_tokens)
        table.add_row(
            key.day.isoformat(), f"{key.provider}/{key.model}" if key.model else "tools", *(f"{n:,}" for n in counts),
            format_money(use.cost_nanos), f"{use.unpriced:,}",
        )  # fmt: skip
    return table
