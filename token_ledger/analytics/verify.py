"""Proves that the books follow from the journal: every balance, roll-up and limit is computed again (design D6, D11).

A check is a query that returns what is wrong, or applies a rule of the core again; an empty answer is the proof. A
tenant is looked at in one snapshot, so that it can be proven beside a busy service: it takes no lock, but while it
runs, vacuum can't clear what the service leaves behind. What is older than a tenant's checkpoint (see
`storage.retention`) is not read again: its sums are taken from the checkpoint, which only the database's own functions
can write.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.analytics import (
    verify_balances,
    verify_holds,
    verify_keys,
    verify_limits,
    verify_rollups,
    verify_runs,
)  # fmt: skip
from token_ledger.analytics.verify_costs import COSTS, find_wrong_costs
from token_ledger.analytics.verify_grants import LEFT, find_wrong_grants
from token_ledger.analytics.verify_rollovers import ROLLOVERS, find_wrong_rollovers
from token_ledger.analytics.verify_windows import WINDOWS, find_wrong_windows
from token_ledger.core.price import Price
from token_ledger.core.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.periods import load_periods
from token_ledger.storage.prices import load_prices
from token_ledger.storage.tenants import all_tenants

_SHOWN = 20

CHECKS = {
    **verify_balances.CHECKS,
    **verify_limits.CHECKS,
    **verify_holds.CHECKS,
    **verify_runs.CHECKS,
    **verify_keys.CHECKS,
    **verify_rollups.CHECKS,
}

APPLIED = {WINDOWS: find_wrong_windows, ROLLOVERS: find_wrong_rollovers, LEFT: find_wrong_grants}
"""Checks for which a rule of the core is applied again; that of the costs is another, which reads all events."""

_CUT = """
select coalesce(max(last_id), 0) as cut, coalesce(max(booked_at), 'epoch') as cut_at
from checkpoints where tenant_id = :tenant
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up: in which tenant, against which check, and the rows."""

    tenant: str
    check: str
    rows: tuple[dict[str, Any], ...]


@dataclass(slots=True)
class Report:
    """What verify looked at and what it found."""

    tenants: int = 0
    events: int = 0
    holds: int = 0
    accounts: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything adds up."""
        return not self.findings

    def as_text(self) -> str:
        """Return the report for people."""
        looked = f"{self.tenants} tenants, {self.accounts} accounts, {self.holds} holds, {self.events} events"
        if self.clean:
            return f"verify: clean ({looked}; {len(CHECKS) + len(APPLIED) + 1} checks each)"
        lines = [f"verify: {len(self.findings)} FINDINGS ({looked})"]
        for finding in self.findings:
            lines.append(f"  tenant {finding.tenant}: not true that {finding.check}")
            lines.extend(f"    {row}" for row in finding.rows)
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "clean": self.clean,
            "tenants": self.tenants,
            "accounts": self.accounts,
            "holds": self.holds,
            "events": self.events,
            "findings": [
                {"tenant": finding.tenant, "check": finding.check, "rows": [_plain(row) for row in finding.rows]}
                for finding in self.findings
            ],
        }


async def verify_database(url: str, only: str | None = None) -> Report:
    """Verify every tenant of a database, or the one named; ValueError if there is none of that name."""
    database = Database(url, writers=1, readers=1, read_seconds=None)  # proving much takes long
    try:
        async with database.reading() as connection:
            names = await all_tenants(connection)
            prices = {price.price_id: price for price in await load_prices(connection)}
        wanted = {tenant: name for tenant, name in names.items() if only in (None, name)}
        if only is not None and not wanted:
            raise ValueError(f"there is no tenant named {only!r}")
        report = Report()
        for tenant, name in wanted.items():
            await _verify_tenant(database, tenant, name, prices, report)
        return report
    finally:
        await database.close()


async def _verify_tenant(
    database: Database, tenant: TenantId, name: str, prices: dict[int, Price], report: Report
) -> None:
    async with database.reading(tenant, snapshot=True) as connection:
        report.tenants += 1
        for table, count in (("accounts", "accounts"), ("reservations", "holds")):
            found = await connection.execute(
                text(f"select count(*) from {table} where tenant_id = :tenant"), {"tenant": tenant}
            )
            setattr(report, count, getattr(report, count) + found.scalar_one())
        wrong, events = await find_wrong(connection, tenant, prices)
        report.events += events
        report.findings.extend(Finding(name, check, rows) for check, rows in wrong.items())


async def find_wrong(
    connection: AsyncConnection, tenant: TenantId, prices: dict[int, Price]
) -> tuple[dict[str, tuple[dict[str, Any], ...]], int]:
    """Return the rows that each check finds wrong, of checks that find any, and how many events were looked at."""
    # Every check compares whole tables. On a young database, which has no statistics yet, the planner expects a
    # handful of rows and compares each with each: 5,000 events took longer than the time-out of a statement.
    await connection.execute(text("set local enable_nestloop = off"))
    await connection.execute(text("set local jit = off"))  # takes seconds to compile what runs for milliseconds
    cut = (await connection.execute(text(_CUT), {"tenant": tenant})).mappings().one()
    values = {"tenant": tenant, **cut, **(await load_periods(connection, tenant)).values}
    wrong: dict[str, tuple[dict[str, Any], ...]] = {}
    for check, query in CHECKS.items():
        found = await connection.execute(text(f"{query} limit {_SHOWN}"), values)
        wrong[check] = tuple(dict(row) for row in found.mappings())
    for check, find in APPLIED.items():
        wrong[check] = tuple(await find(connection, values, _SHOWN))
    events, costs = await find_wrong_costs(connection, tenant, cut["cut"], prices, _SHOWN)
    wrong[COSTS] = tuple(costs)
    return {check: rows for check, rows in wrong.items() if rows}, events


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, int | None) else str(value) for name, value in row.items()}
