"""Report: budget against actual: what open accounts have used of their limits, and where a straight line leads.

The line goes from when an account's window began, or its budget was made in it, to what is settled now, and on to the
end of the window. It is told once a tenth of that time is over: before, one call would decide where it leads.
"""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.budget import Enforcement, Unit
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import INSTANT, Window
from token_ledger.reports.span import Span
from token_ledger.storage.reads.query import fetch_rows

_NOT_TOLD: Final = 10
"""The first of so many parts of the time has no projection."""
_COST_CENTER: Final = (
    "coalesce(a.subject::jsonb ->> 'cost_center', case when jsonb_typeof(b.selector -> 'cost_center') = 'string'"
    " and right(b.selector ->> 'cost_center', 1) <> '*' then b.selector ->> 'cost_center' end)"
)
_FIGURES: Final = ", ".join(
    f"a.{amount}_{unit}" for unit in ("tokens", "nanos", "calls") for amount in ("limit", "settled", "held")
)
_ACCOUNTS: Final = f"""
select a.account_id, a.budget_id, b.name, a.subject, {_COST_CENTER} as cost_center, b."window", a.enforcement,
       a.window_start, a.window_end, greatest(a.window_start, b.created_at) as line_start, now() as at, {_FIGURES}
from budgets as b join accounts as a on a.tenant_id = b.tenant_id and a.budget_id = b.budget_id and a.closed_at is null
where b.tenant_id = :tenant and b.archived_at is null and a.window_start <= now() and a.window_end > now()
  and a.account_id > :after"""


@dataclass(frozen=True, slots=True)
class Projection:
    """Where a line leads by the end of a window; `passes_at` is None where it passes no limit, or it is passed."""

    amount: int
    passes_at: datetime | None


@dataclass(frozen=True, slots=True)
class UnitUse:
    """What is used of a limit in a unit (money in nano-dollars); without a projection while it is too early."""

    unit: Unit
    limit: int
    settled: int
    held: int
    projection: Projection | None

    @property
    def passes(self) -> bool | None:
        """Whether the limit is passed by the end of the window; None while nobody can tell."""
        if self.settled > self.limit:
            return True
        return None if self.projection is None else self.projection.amount > self.limit


@dataclass(frozen=True, slots=True)
class AccountUse:
    """What an open account has used of its limits, at an instant in its window."""

    account_id: int
    budget_id: int
    budget: str
    subject: Subject
    cost_center: str | None
    window: Window
    enforcement: Enforcement
    bounds: Span
    projected_from: datetime
    units: tuple[UnitUse, ...]


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """The report: a page of accounts in the order they were made, and the id after which the next one begins."""

    at: datetime
    rows: tuple[AccountUse, ...]
    following: int | None


async def budget_use(
    connection: AsyncConnection, tenant: TenantId, *, budget: str | None, cost_center: str | None, after: int, most: int
) -> BudgetUse:
    """Return what the open accounts of budgets with a window have used, from after one of them.

    Those of a budget by its name, or of a cost center: whose subject or the selector of whose budget has it.
    """
    named: dict[str, Any] = {"budget": budget, "cost_center": cost_center}
    conditions = {"budget": "b.name = :budget", "cost_center": f"{_COST_CENTER} = :cost_center"}
    values = {name: value for name, value in named.items() if value is not None}
    where = "".join(f" and {conditions[name]}" for name in values)
    [(at,)] = await fetch_rows(connection, "select now()")
    found = await fetch_rows(
        connection, f"{_ACCOUNTS} {where} order by a.account_id limit :most",
        tenant=tenant, after=after, most=most + 1, **values,
    )  # fmt: skip
    rows = tuple(map(_use, found[:most]))
    return BudgetUse(at, rows, rows[-1].account_id if len(found) > most else None)


def project(settled: int, limit: int, line: Span, at: datetime) -> Projection | None:
    """Return where the line from nothing to what is settled at an instant leads by its end; None while too early."""
    begin, end = line
    if at < projected_from(line):
        return None
    passed, whole = (at - begin) // INSTANT, (end - begin) // INSTANT
    amount = round(Fraction(settled * whole, passed))
    if not settled <= limit < amount:
        return Projection(amount, None)
    return Projection(amount, begin + -(-limit * passed // settled) * INSTANT)


def projected_from(line: Span) -> datetime:
    """Return the instant from which it is told where a line leads."""
    begin, end = line
    return begin + (end - begin) / _NOT_TOLD


def _use(row: Any) -> AccountUse:
    line = row.line_start, row.window_end
    figures = iter(row[11:])
    amounts = [(unit, next(figures), next(figures), next(figures)) for unit in Unit]
    return AccountUse(
        row.account_id, row.budget_id, row.name, Subject.from_text(row.subject), row.cost_center, Window(row.window),
        Enforcement(row.enforcement), (row.window_start, row.window_end), projected_from(line),
        tuple(
            UnitUse(unit, limit, settled, held, project(settled, limit, line, row.at))
            for unit, limit, settled, held in amounts
            if limit is not None
        ),
    )  # fmt: skip
