"""Refreshes the gauges that mirror the database; every process does, because Prometheus reads each of them."""

from collections.abc import Sequence
from typing import NamedTuple

from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import TenantId
from token_ledger.observability.metrics import BUDGET_ROWS_LIMIT, BudgetUse, Metrics
from token_ledger.reports.gauges import FullAccount, fullest_accounts, open_holds
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.erasures import users_being_erased
from token_ledger.worker.tenants import TenantFailures


class _Read(NamedTuple):
    accounts: list[FullAccount]
    holds: dict[TenantId, int]
    erased: list[tuple[TenantId, str]]


async def refresh_gauges(database: Database, metrics: Metrics, failures: TenantFailures | None = None) -> None:
    """Show how full the fullest accounts are and how many holds are open; forget the users who are being erased.

    Tenants whose rows can't be read are left out.
    """
    failures = failures or TenantFailures("refresh gauges")

    async def read(tenants: Sequence[TenantId]) -> _Read:
        async with database.reading(*tenants) as connection:
            found = _Read(
                await fullest_accounts(connection, list(tenants), BUDGET_ROWS_LIMIT),
                await open_holds(connection, list(tenants)),
                await users_being_erased(connection, tenants),
            )
        for tenant in tenants:
            failures.done(tenant)
        return found

    async with database.reading() as connection:
        names = await all_tenants(connection)
    found = await failures.each(names, read)
    for tenant, user in (each for part in found for each in part.erased):
        metrics.forget_user(names[tenant], user)
    metrics.show_budget_use(
        BudgetUse(names[account.tenant_id], account.budget, _label(account.subject), used, limit)
        for part in found
        for account in part.accounts
        for used, limit in account.limited_units
    )
    metrics.show_open_holds({names[tenant]: count for part in found for tenant, count in part.holds.items()})


def _label(subject: Subject) -> str:
    return ",".join(f"{name}={value}" for name, value in subject.pairs)
