"""The command `reconcile`: a bill of a provider against the ledger, and the booking of what the ledger lacks."""

import argparse
import asyncio
import csv
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, new_idempotency_key, open_ledger
from token_ledger.cli.imports import chosen_tenant
from token_ledger.cli.names import read_name
from token_ledger.config import Settings
from token_ledger.core.model.money import format_money
from token_ledger.core.model.tenant import TenantId
from token_ledger.imports.booking import kept_since
from token_ledger.reconciliation.adjustments import adjustments_of, commands_of
from token_ledger.reconciliation.bill_files import read_bill
from token_ledger.reconciliation.bill_kinds import BillKind
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reconciliation.compare import Compared, Reconciliation, compare
from token_ledger.reconciliation.ledger_side import book_all, load_sides
from token_ledger.reconciliation.tables import csv_rows, data_of, rate_text
from token_ledger.reports.utc_usage import COST_CENTER
from token_ledger.storage.database import Database
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reconciliations import note_booked_bill
from token_ledger.storage.upkeep.periods import database_now


def reconcile(settings: Settings, options: argparse.Namespace) -> int:
    """Compare a bill with the ledger, and book what the ledger lacks if asked to."""
    if options.csv and options.json:
        raise ValueError("choose --csv or --json, not both")
    if options.book != (options.reason is not None):
        raise ValueError("--book and --reason go together: what is booked says why")
    reason = None if options.reason is None else read_name("--reason", options.reason)
    project_tag = _project_tag(options)
    tag = None if project_tag == COST_CENTER else project_tag
    lines = read_bill(BillKind(options.kind), options.files, provider=options.provider, tag=tag)
    with named_database(settings) as url:
        found, booked = asyncio.run(
            _reconcile(url, settings.retention_months, options.tenant, options.kind, lines, project_tag, reason)
        )
    _show(found, options)
    if reason is not None:
        print(f"booked: {booked} adjustments", file=sys.stderr)
    return 0


def _project_tag(options: argparse.Namespace) -> str | None:
    if options.by_cost_center:
        if options.project_tag is not None:
            raise ValueError("choose --project-tag or --by-cost-center, not both")
        return COST_CENTER
    return None if options.project_tag is None else read_name("--project-tag", options.project_tag)


async def _reconcile(
    url: str, retention_months: int | None, tenant_name: str | None, kind: str, lines: Sequence[BillLine],
    project_tag: str | None, reason: str | None,
) -> tuple[Reconciliation, int]:  # fmt: skip
    async with open_ledger(url) as (database, commits):
        tenant = await chosen_tenant(database, tenant_name)
        found = await _compare(database, tenant, lines, project_tag)
        if reason is None:
            return found, 0
        async with database.reading(tenant) as connection:
            now = await database_now(connection)
        since = kept_since(now, retention_months)
        adjustments = adjustments_of(found)
        commands = commands_of(adjustments, reason, now, since, project_tag)
        booked = await book_all(commands, lambda command: commits.submit(tenant, command))
        if booked:
            nanos = sum(each.nanos for each in adjustments)
            async with database.changing(tenant) as connection:
                await note_booked_bill(
                    connection, tenant, new_idempotency_key(), b"", actor=actor(), kind=kind, reason=reason,
                    adjustments=booked, nanos=nanos,
                )  # fmt: skip
        return await _compare(database, tenant, lines, project_tag), booked


async def _compare(
    database: Database, tenant: TenantId, lines: Sequence[BillLine], project_tag: str | None
) -> Reconciliation:
    async with database.reading(tenant) as connection:
        book = await load_tenant_book(connection, tenant, await load_price_book(connection))
        sides = await load_sides(connection, tenant, book, lines, project_tag)
    return compare(sides.lines, sides.rows, book)


def _show(found: Reconciliation, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(data_of(found)))
    elif options.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(csv_rows(found))
    else:
        _print_table(found)


def _print_table(found: Reconciliation) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(_table(found))
    for cause, nanos in found.by_cause.items():
        console.print(f"in all, {cause.value}: {format_money(nanos)}")
    for provider, offset in found.offsets.items():
        if offset:
            hours = f"{offset / timedelta(hours=1):+g}"
            console.print(f"the days of the bill of {provider} are those of a clock that is UTC{hours} hours")


def _table(found: Reconciliation) -> Table:
    billed = sum(cell.billed_nanos for cell in found.cells)
    ledger = sum(cell.ledger_nanos for cell in found.cells)
    table = Table(show_footer=True)
    table.add_column("day", footer="total")
    table.add_column("model or item")
    shows_projects = any(cell.key.project for cell in found.cells)
    if shows_projects:
        table.add_column("project")
    for name, nanos in (("bill, $", billed), ("ledger, $", ledger), ("difference, $", billed - ledger)):
        table.add_column(name, justify="right", footer=format_money(nanos))
    table.add_column("captured", justify="right")
    table.add_column("probable reasons")
    for cell in found.cells:
        table.add_row(*_cells(cell, shows_projects))
    return table


def _cells(cell: Compared, shows_projects: bool) -> list[Any]:
    amounts = (cell.billed_nanos, cell.ledger_nanos, cell.difference_nanos)
    reasons = (f"{each.cause} {format_money(each.nanos)}" for each in cell.reasons)
    name = f"{cell.key.provider}/{cell.key.model or cell.key.item or '*'}"
    projects = [escape(cell.key.project)] if shows_projects else []
    return [
        cell.key.day.isoformat(), escape(name), *projects, *map(format_money, amounts), rate_text(cell.capture_rate),
        "\n".join(reasons),
    ]  # fmt: skip
