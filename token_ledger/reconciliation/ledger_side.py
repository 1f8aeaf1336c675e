"""Joins a bill with the ledger: reads what was booked on its days, and books the difference."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta

from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Outcome, Recorded
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.tenant import TenantId
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reconciliation.time_zones import EARLIEST, LATEST
from token_ledger.reports.utc_usage import UtcUsage, utc_usage
from token_ledger.storage.database import Connection
from token_ledger.wire.problems import problem_of

Submit = Callable[[Record], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Sides:
    """A bill under the ledger's names of providers, and what the ledger has on its days."""

    lines: Sequence[BillLine]
    rows: Sequence[UtcUsage]


async def load_sides(
    connection: Connection, tenant: TenantId, book: PriceBook, lines: Sequence[BillLine], project_tag: str | None
) -> Sides:
    """Load what the ledger has of the providers of a bill, from the day before its first to that after its last.

    `project_tag` is as for `utc_usage`; without one the projects of the bill are left out, too.
    """
    days = [line.begin.astimezone(UTC).date() for line in lines]
    since = datetime.combine(min(days), time(), UTC) - LATEST
    until = datetime.combine(max(days), time(), UTC) + timedelta(days=1) - EARLIEST
    named = [
        replace(
            line, provider=book.provider_named(line.provider), project=None if project_tag is None else line.project
        )
        for line in lines
    ]
    providers = {line.provider for line in named}
    return Sides(named, await utc_usage(connection, tenant, providers, since, until, project_tag))


async def book_all(commands: Sequence[Record], submit: Submit) -> int:
    """Book adjustments one after the other and return how many were not booked before; raises ProblemError."""
    booked = 0
    for command in commands:
        outcome = await submit(command)
        if not isinstance(outcome, Recorded):
            raise problem_of(outcome)
        booked += not outcome.replayed
    return booked
