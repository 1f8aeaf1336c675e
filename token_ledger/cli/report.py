"""The command `report`: what a period has cost, as a page to print or as JSON."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from token_ledger.cli.connections import named_database, open_database
from token_ledger.cli.imports import chosen_tenant
from token_ledger.config import Settings
from token_ledger.core.model.window import Calendar
from token_ledger.reports.cost_report import Wanted, cost_report
from token_ledger.reports.dimensions import Dimension, dimension_named
from token_ledger.reports.formats.cost_html import cost_html
from token_ledger.reports.formats.cost_json import CostReportAnswer, cost_report_answer
from token_ledger.reports.periods import period_before, period_named
from token_ledger.reports.span import Span
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.tenants import tenant_name


def report(settings: Settings, options: argparse.Namespace) -> int:
    """Write the cost report of a period to a file, or print it."""
    by = tuple(map(dimension_named, dict.fromkeys(options.by.split(","))))
    with named_database(settings) as url:
        answer = asyncio.run(_report(url, options.tenant, options.period, by))
    text = cost_html(answer) if options.format == "html" else json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    if options.output is None:
        print(text, end="")
        return 0
    options.output.write_text(text, encoding="utf-8")
    cost = f"{answer['total']['cost']} dollars, {answer['total']['calls']:,} calls"
    print(f"{options.output}: {answer['first_day']} to {answer['last_day']}, {cost}", file=sys.stderr)
    return 0


async def _report(url: str, name: str | None, period: str, by: Sequence[Dimension]) -> CostReportAnswer:
    async with open_database(url) as database:
        tenant = await chosen_tenant(database, name)
        async with database.reading(tenant, snapshot=True, unlimited=True) as connection:
            calendar, made_at = await load_calendar(connection, tenant)
            wanted = Wanted(*_spans(calendar, period), by=tuple(by))
            found = await cost_report(
                connection, tenant, await tenant_name(connection, tenant), calendar, made_at, wanted
            )  # fmt: skip
    return cost_report_answer(found, "detailed")


def _spans(calendar: Calendar, name: str) -> tuple[Span, Span]:
    """Return the span of a period and of the one before. Raises ValueError if there is no such period."""
    found = period_named(calendar, name.replace("last-", "last_").replace("this-", "this_"), datetime.now(UTC))
    return found.span, period_before(calendar, found)
