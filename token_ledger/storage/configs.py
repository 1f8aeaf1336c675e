"""Loads what tenants have set up. A set-up has a version, read under the tenant's lock, so it may be kept."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from token_ledger.core.budget import Budget
from token_ledger.core.tenant import TenantConfig, TenantId
from token_ledger.core.trigger import Trigger
from token_ledger.storage.loading import Locked
from token_ledger.storage.rows import BUDGET_COLUMNS, TRIGGER_COLUMNS, budget_from, trigger_from

LOAD_ZONES = "select tenant_id, time_zone from tenants where tenant_id = any($1)"
LOAD_BUDGETS = (
    f"select {BUDGET_COLUMNS} from budgets where tenant_id = any($1) and archived_at is null order by budget_id"
)
LOAD_TRIGGERS = f"select {TRIGGER_COLUMNS} from triggers where tenant_id = any($1) order by kind"


async def load_configs(connection: Any, locked: Sequence[Locked]) -> dict[TenantId, TenantConfig]:
    """Load the set-up of locked tenants, as of their version under the lock."""
    tenants = [lock.tenant_id for lock in locked]
    zones = {row["tenant_id"]: row["time_zone"] for row in await connection.fetch(LOAD_ZONES, tenants)}
    budgets: dict[int, list[Budget]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_BUDGETS, tenants):
        budgets[row["tenant_id"]].append(budget_from(row))
    triggers: dict[int, list[Trigger]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_TRIGGERS, tenants):
        triggers[row["tenant_id"]].append(trigger_from(row))
    return {
        lock.tenant_id: TenantConfig(
            lock.tenant_id,
            lock.config_version,
            ZoneInfo(zones[lock.tenant_id]),
            tuple(budgets[lock.tenant_id]),
            tuple(triggers[lock.tenant_id]),
        )
        for lock in locked
    }
