"""Loads what tenants have set up. A set-up has a version, read under the tenant's lock, so it may be kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from token_ledger.core.budget import Budget
from token_ledger.core.tenant import TenantConfig, TenantId
from token_ledger.core.trigger import Trigger
from token_ledger.core.window import Calendar, CalendarRule
from token_ledger.storage.loading import Locked
from token_ledger.storage.rows import BUDGET_COLUMNS, TRIGGER_COLUMNS, budget_from, rule_from, trigger_from
from token_ledger.storage.setup_tables import STANDING_CHANGES

LOAD_TENANTS = """
select t.tenant_id, t.time_zone, t.week_start, t.fiscal_month, l.stopped_reason,
       exists (select from users as u where u.tenant_id = t.tenant_id) as has_users
from tenants as t join tenant_ledgers as l using (tenant_id) where t.tenant_id = any($1)
"""
LOAD_CALENDAR_CHANGES = f"""
select tenant_id, effective_from, time_zone, week_start, fiscal_month
from {STANDING_CHANGES} where tenant_id = any($1) order by effective_from
"""
LOAD_BUDGETS = (
    f"select {BUDGET_COLUMNS} from budgets where tenant_id = any($1) and archived_at is null order by budget_id"
)
LOAD_TRIGGERS = f"select {TRIGGER_COLUMNS} from triggers where tenant_id = any($1) order by kind"


async def load_configs(connection: Any, locked: Sequence[Locked]) -> dict[TenantId, TenantConfig]:
    """Load the set-up of locked tenants, as of their version under the lock."""
    tenants = [lock.tenant_id for lock in locked]
    rows = {row["tenant_id"]: row for row in await connection.fetch(LOAD_TENANTS, tenants)}
    changes: dict[int, list[tuple[datetime, CalendarRule]]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_CALENDAR_CHANGES, tenants):
        changes[row["tenant_id"]].append((row["effective_from"], rule_from(row)))
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
            Calendar(rule_from(rows[lock.tenant_id]), tuple(changes[lock.tenant_id])),
            tuple(budgets[lock.tenant_id]),
            tuple(triggers[lock.tenant_id]),
            rows[lock.tenant_id]["stopped_reason"],
            rows[lock.tenant_id]["has_users"],
        )
        for lock in locked
    }
