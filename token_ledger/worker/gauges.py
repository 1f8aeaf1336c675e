"""Refreshes the gauges that mirror the database; every process does, because each shows its own to Prometheus."""

import json

from token_ledger.analytics.spend import fullest_accounts, open_holds
from token_ledger.core.tenant import TenantId
from token_ledger.observability.metrics import BUDGET_ROWS_LIMIT, BudgetUse, Metrics
from token_ledger.storage.database import Database
from token_ledger.storage.erasures import users_being_erased
from token_ledger.storage.tenants import all_tenants


async def refresh_gauges(database: Database, metrics: Metrics) -> None:
    """Show how full the fullest accounts are and how many holds are open, and nothing of users who are being erased."""
    async with database.reading() as connection:
        names = await all_tenants(connection)
    async with database.reading(*names) as connection:
        accounts = await fullest_accounts(connection, list(names), BUDGET_ROWS_LIMIT)
        holds = await open_holds(connection, list(names))
        erased = await users_being_erased(connection, names)
    for tenant, user in erased:
        metrics.forget_user(names[tenant], user)
    metrics.replace_budget_ratios(
        BudgetUse(names[row["tenant_id"]], row["budget"], _subject(row["subject"]), row[unit], row[f"limit_{unit}"])
        for row in accounts
        for unit in ("tokens", "nanos", "calls")
        if row[f"limit_{unit}"] is not None
    )
    metrics.replace_open_holds({names[TenantId(tenant)]: count for tenant, count in holds.items()})


def _subject(text: str) -> str:
    return ",".join(f"{name}={value}" for name, value in json.loads(text).items())
