"""Proves that the books follow from the journal: every balance, limit, roll-up and cost is computed again.

Each check returns the rows that violate its statement; no rows is the proof. A tenant is checked in one snapshot,
without locks, so this can run beside a busy service; while it runs, vacuum can't remove what the service leaves behind.
Events up to a tenant's checkpoint (see `storage.upkeep.retention`) are gone: their sums are taken from the checkpoint,
which only functions of the database can write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.name import clean_name
from token_ledger.core.model.price import Price
from token_ledger.core.model.tenant import TenantId
from token_ledger.proof import (
    audit_log,
    balances,
    corrections,
    costs,
    denials,
    duplicates,
    grants,
    held_costs,
    holds,
    keys,
    limits,
    model_names,
    negative_costs,
    paths,
    price_changes,
    readings,
    rollovers,
    rollups,
    runs,
    thresholds,
    transfers,
    windows,
)
from token_ledger.proof.check import Check, Row, Scope
from token_ledger.storage.database import Database, DatabaseAway
from token_ledger.storage.price_terms import load_price_terms
from token_ledger.storage.prices import load_prices
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.periods import load_periods

CHECKS: tuple[Check, ...] = (
    *balances.CHECKS,
    *limits.CHECKS,
    *grants.CHECKS,
    *thresholds.CHECKS,
    *windows.CHECKS,
    *rollovers.CHECKS,
    *holds.CHECKS,
    *held_costs.CHECKS,
    *paths.CHECKS,
    *model_names.CHECKS,
    *transfers.CHECKS,
    *denials.CHECKS,
    *runs.CHECKS,
    *keys.CHECKS,
    *audit_log.CHECKS,
    *price_changes.CHECKS,
    *rollups.CHECKS,
    *costs.CHECKS,
    *negative_costs.CHECKS,
    *corrections.CHECKS,
    *readings.CHECKS,
    *duplicates.CHECKS,
)

_ROWS_SHOWN = 20

_CUT = """
select coalesce(max(last_id), 0) as cut, coalesce(max(booked_at), 'epoch') as cut_at
from checkpoints where tenant_id = :tenant
"""

_COUNTS = """
select (select count(*) from accounts where tenant_id = :tenant) as accounts,
       (select count(*) from reservations where tenant_id = :tenant) as holds,
       (select count(*) from usage_events where tenant_id = :tenant and event_id > :cut) as events
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows of a tenant that violate a check's statement."""

    tenant: str
    check: str
    rows: tuple[Row, ...]


@dataclass(slots=True)
class Report:
    """What `verify` looked at and what it found; `events` are those after the checkpoints."""

    tenants: int = 0
    events: int = 0
    holds: int = 0
    accounts: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether no check found anything."""
        return not self.findings

    def as_text(self) -> str:
        """Return the report for people."""
        looked = f"{self.tenants} tenants, {self.accounts} accounts, {self.holds} holds, {self.events} events"
        if self.clean:
            return f"verify: clean ({looked}; {len(CHECKS)} checks each)"
        lines = [f"verify: {len(self.findings)} FINDINGS ({looked})"]
        for finding in self.findings:
            lines.append(f"  tenant {finding.tenant}: it does not hold that {finding.check}")
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
    """Verify every tenant of a database, or the one named `only`. Raises ValueError if no tenant has that name."""
    database = Database(url, writers=1, readers=1, read_seconds=None)  # a large tenant takes longer than a read may
    try:
        return await verify(database, only)
    finally:
        await database.close()


async def verify(database: Database, only: str | None = None) -> Report:
    """Verify as `verify_database` does, on connections that stay open and know the plan of a check after the first."""
    async with database.reading() as connection:
        names = await all_tenants(connection)
        prices = {price.price_id: price for price in await load_prices(connection)}
    wanted = {tenant: name for tenant, name in names.items() if only is None or clean_name(only) == name}
    if only is not None and not wanted:
        raise ValueError(f"there is no tenant named {only!r}")
    report = Report()
    for tenant, name in wanted.items():
        try:
            async with database.reading(tenant, snapshot=True, unlimited=True) as connection:
                await _verify_tenant(await _scope(connection, tenant, prices), name, report)
        except DatabaseAway:
            raise
        except Exception as error:  # rows that break one tenant's checks leave the others to be looked at
            why = {"error": f"{type(error).__name__}: {error}"[:500]}
            report.findings.append(Finding(name, "its rows can be read", (why,)))
    return report


async def _verify_tenant(scope: Scope, name: str, report: Report) -> None:
    counts = (await scope.connection.execute(text(_COUNTS), scope.parameters)).one()
    report.tenants += 1
    report.accounts += counts.accounts
    report.holds += counts.holds
    report.events += counts.events
    report.findings.extend(Finding(name, check, rows) for check, rows in (await _run_checks(scope)).items())


async def find_violations(
    connection: AsyncConnection, tenant: TenantId, prices: Mapping[int, Price]
) -> dict[str, tuple[Row, ...]]:
    """Return the rows that violate a check, by its statement, for the checks that found any."""
    return await _run_checks(await _scope(connection, tenant, prices))


async def _scope(connection: AsyncConnection, tenant: TenantId, prices: Mapping[int, Price]) -> Scope:
    cut = (await connection.execute(text(_CUT), {"tenant": tenant})).mappings().one()
    terms = await load_price_terms(connection, tenant)
    own = {each.price_id: each.price for each in terms.prices if each.price is not None}
    discounts = {each.discount_id: each for each in terms.discounts}
    parameters = {"tenant": tenant, **cut, **(await load_periods(connection, tenant)).values}
    return Scope(connection, parameters, {**prices, **own}, discounts, _ROWS_SHOWN, terms)


async def _run_checks(scope: Scope) -> dict[str, tuple[Row, ...]]:
    # Every check compares whole tables. On a young database, which has no statistics yet, the planner expects a
    # handful of rows and chooses nested loops: 5,000 events took longer than the time-out of a statement.
    await scope.connection.execute(text("set local enable_nestloop = off"))
    await scope.connection.execute(text("set local jit = off"))  # compiles for seconds what runs for milliseconds
    found = {check.statement: tuple(await check.find_violations(scope)) for check in CHECKS}
    return {statement: rows for statement, rows in found.items() if rows}


def _plain(row: Row) -> Row:
    """Return a row with values that JSON has."""
    return {name: value if isinstance(value, int | None) else str(value) for name, value in row.items()}
