"""Refreshes the gauges that mirror the database; every process does, because Prometheus reads each of them."""

from token_ledger.core.model.subject import Subject
from token_ledger.observability.metrics import BUDGET_ROWS_LIMIT, BudgetUse, Metrics
from token_ledger.reports.gauges import fullest_accounts, open_holds
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.erasures import users_being_erased


async def refresh_gauges(database: Database, metrics: Metrics) -> None:
    """Show how full the fullest accounts are and how many holds are open; forget the users who are being erased."""
    async with database.reading() as connection:
        names = await all_tenants(connection)
    async with database.reading(*names) as connection:
        accounts = await fullest_accounts(connection, list(names), BUDGET_ROWS_LIMIT)
        holds = await open_holds(connection, list(names))
        erased = await users_being_erased(connection, names)
    for tenant, user in erased:
        metrics.forget_user(names[tenant], user)
    metrics.show_budget_use(
        BudgetUse(names[account.tenant_id], account.budget, _label(account.subject), used, limit)
        for account in accounts
        for used, limit in account.limited_units
    )
    metrics.show_open_holds({names[tenant]: count for tenant, count in holds.items()})


def _label(subject: Subject) -> str:
    return ",".join(f"{name}={value}" for name, value in subject.pairs)
