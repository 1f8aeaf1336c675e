"""Proves that the books follow from the journal: every balance, roll-up and grant is computed again (design D6, D11).

One snapshot per tenant, so that it can run beside a busy service. Each check is a query that returns what is wrong;
an empty answer is the proof. Costs are computed again from the stored prices, one event at a time.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.analytics.checks import CHECKS
from token_ledger.analytics.limit_checks import LIMIT_CHECKS
from token_ledger.core.price import Price, usage_cost_nanos
from token_ledger.core.tenant import TenantId
from token_ledger.core.usage import Usage
from token_ledger.core.window import Calendar, Window
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_prices
from token_ledger.storage.rows import rule_from
from token_ledger.storage.tenants import all_tenants

_SHOWN = 20
_PAGE = 5_000
BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)
END = datetime(9000, 1, 1, tzinfo=UTC)

CALENDAR = """
select cast(null as timestamptz) as effective_from, time_zone, week_start, fiscal_month from tenants
where tenant_id = :tenant
union all select effective_from, time_zone, week_start, fiscal_month from calendar_changes where tenant_id = :tenant
order by effective_from nulls first
"""

COSTS = "costs follow from the prices"

PAGE_OF_EVENTS = """
select event_id, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
       reasoning_tokens, cost_nanos, price_id, unpriced
from usage_events where tenant_id = :tenant and event_id > :after order by event_id limit :page
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
            return f"verify: clean ({looked}; {len(CHECKS) + len(LIMIT_CHECKS) + 1} checks each)"
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
        # Every check compares whole tables. On a young database, which has no statistics yet, the planner expects a
        # handful of rows and compares each with each: 5,000 events took longer than the time-out of a statement.
        await connection.execute(text("set local enable_nestloop = off"))
        report.tenants += 1
        for table, count in (("accounts", "accounts"), ("reservations", "holds")):
            found = await connection.execute(
                text(f"select count(*) from {table} where tenant_id = :tenant"), {"tenant": tenant}
            )
            setattr(report, count, getattr(report, count) + found.scalar_one())
        values = {"tenant": tenant, **await _segments(connection, tenant)}
        for check, query in (*CHECKS.items(), *LIMIT_CHECKS.items()):
            named = {name: value for name, value in values.items() if f":{name}" in query}
            wrong = await connection.execute(text(f"{query} limit {_SHOWN}"), named)
            rows = tuple(dict(row) for row in wrong.mappings())
            if rows:
                report.findings.append(Finding(name, check, rows))
        await _verify_costs(connection, tenant, name, prices, report)


async def _segments(connection: AsyncConnection, tenant: TenantId) -> dict[str, Any]:
    """Return which zone hours and days follow from which instant on, as arrays for the checks of roll-ups."""
    found = await connection.execute(text(CALENDAR), {"tenant": tenant})
    first, *changes = ((row.effective_from, rule_from(dict(row._mapping))) for row in found)
    calendar = Calendar(first[1], tuple(changes))
    segments: dict[str, Any] = {}
    for name, window in (("hour", Window.HOUR), ("day", Window.DAY)):
        rules = calendar.rules(window)
        segments[f"{name}_zones"] = [str(rule.zone) for _, rule in rules]
        segments[f"{name}_from"] = [since or BEGINNING for since, _ in rules]
        segments[f"{name}_until"] = [*(since for since, _ in rules[1:]), END]
    return segments


async def _verify_costs(
    connection: AsyncConnection, tenant: TenantId, name: str, prices: dict[int, Price], report: Report
) -> None:
    after = -1
    wrong: list[dict[str, Any]] = []
    while True:
        page = await connection.execute(text(PAGE_OF_EVENTS), {"tenant": tenant, "after": after, "page": _PAGE})
        rows = page.all()
        for row in rows:
            expected = _expected_cost(row, prices)
            if expected != row.cost_nanos and len(wrong) < _SHOWN:
                wrong.append({"event_id": row.event_id, "cost_nanos": row.cost_nanos, "expected": expected})
        report.events += len(rows)
        if len(rows) < _PAGE:
            break
        after = rows[-1].event_id
    if wrong:
        report.findings.append(Finding(name, COSTS, tuple(wrong)))


def _expected_cost(row: Any, prices: dict[int, Price]) -> int | None:
    if row.unpriced:
        return 0
    price = prices.get(row.price_id)
    return None if price is None else usage_cost_nanos(price, Usage(*row[1:7]))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, int | None) else str(value) for name, value in row.items()}
