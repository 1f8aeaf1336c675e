"""Loads what tenants have set up. It can be cached: its version is read under the tenant's lock."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from token_ledger.core.model.budget import Budget, Terms
from token_ledger.core.model.discount import Discount
from token_ledger.core.model.model_facts import OwnFacts
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.price_terms import Alias, OwnPrice, PriceTerms
from token_ledger.core.model.tenant import Erasure, TenantConfig, TenantId
from token_ledger.core.model.trigger import Trigger
from token_ledger.core.model.window import Calendar, CalendarRule
from token_ledger.storage.load.locks import Locked
from token_ledger.storage.price_terms import (
    LOAD_ALIASES,
    LOAD_DISCOUNTS,
    LOAD_FACTS,
    LOAD_OWN_PRICES,
    alias_from,
    discount_from,
    own_facts_from,
    own_price_from,
)
from token_ledger.storage.rows import BUDGET, TERMS, TRIGGER, rule_from
from token_ledger.storage.schema.setup_tables import STANDING_CHANGES

LOAD_TENANTS = """
select t.tenant_id, t.name, t.time_zone, t.week_start, t.fiscal_month, l.stopped_reason, l.finds_duplicates,
       t.created_at,
       exists (select from users as u where u.tenant_id = t.tenant_id and not u.erased) as has_users
from tenants as t join tenant_ledgers as l using (tenant_id) where t.tenant_id = any($1)
"""
LOAD_CALENDAR_CHANGES = f"""
select tenant_id, effective_from, time_zone, week_start, fiscal_month
from {STANDING_CHANGES} where tenant_id = any($1) order by effective_from
"""
LOAD_BUDGETS = (
    f"select {BUDGET.select()} from budgets where tenant_id = any($1) and archived_at is null order by budget_id"
)
LOAD_TERMS = f"""
select tenant_id, budget_id, {", ".join(f"t.{name}" for name in TERMS.names)}
from budget_terms as t join budgets as b using (tenant_id, budget_id)
where tenant_id = any($1) and b.archived_at is null order by terms_id
"""
LOAD_RENAMED = """
select distinct on (tenant_id, asked_provider, asked_model) tenant_id, asked_provider, asked_model, provider, model
from model_names where tenant_id = any($1) and change_id is not null
order by tenant_id, asked_provider, asked_model, decided_id desc
"""
LOAD_ERASURES = "select tenant_id, user_id, pseudonym, last_id from erasures where tenant_id = any($1) order by last_id"
LOAD_TRIGGERS = f"select {TRIGGER.select()} from triggers where tenant_id = any($1) order by kind"


async def load_configs(connection: Any, locked: Sequence[Locked]) -> dict[TenantId, TenantConfig]:
    """Load the set-up of locked tenants, as of their version under the lock."""
    tenants = [lock.tenant_id for lock in locked]
    rows = {row["tenant_id"]: row for row in await connection.fetch(LOAD_TENANTS, tenants)}
    changes: dict[int, list[tuple[datetime, CalendarRule]]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_CALENDAR_CHANGES, tenants):
        changes[row["tenant_id"]].append((row["effective_from"], rule_from(row)))
    budgets: dict[int, list[Budget]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_BUDGETS, tenants):
        budgets[row["tenant_id"]].append(BUDGET.read(row))
    triggers: dict[int, list[Trigger]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_TRIGGERS, tenants):
        triggers[row["tenant_id"]].append(TRIGGER.read(row))
    terms: dict[int, dict[int, tuple[Terms, ...]]] = {tenant: {} for tenant in tenants}
    for tenant_id, budget_id, *row in await connection.fetch(LOAD_TERMS, tenants):
        of_tenant = terms[tenant_id]
        of_tenant[budget_id] = (*of_tenant.get(budget_id, ()), TERMS.read((tenant_id, *row)))
    erasures: dict[int, list[Erasure]] = {tenant: [] for tenant in tenants}
    for tenant_id, *erasure in await connection.fetch(LOAD_ERASURES, tenants):
        erasures[tenant_id].append(Erasure(*erasure))
    renamed: dict[int, dict[tuple[str, str], ModelName]] = {tenant: {} for tenant in tenants}
    for tenant_id, *asked, provider, model in await connection.fetch(LOAD_RENAMED, tenants):
        renamed[tenant_id][asked[0], asked[1]] = ModelName(provider, model)
    own_prices: dict[int, list[OwnPrice]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_OWN_PRICES, tenants):
        own_prices[row["tenant_id"]].append(own_price_from(row))
    aliases: dict[int, list[Alias]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_ALIASES, tenants):
        aliases[row["tenant_id"]].append(alias_from(row))
    discounts: dict[int, list[Discount]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_DISCOUNTS, tenants):
        discounts[row["tenant_id"]].append(discount_from(row))
    facts: dict[int, list[OwnFacts]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(LOAD_FACTS, tenants):
        facts[row["tenant_id"]].append(own_facts_from(row))
    return {
        lock.tenant_id: TenantConfig(
            lock.tenant_id,
            lock.config_version,
            Calendar(rule_from(rows[lock.tenant_id]), tuple(changes[lock.tenant_id])),
            tuple(budgets[lock.tenant_id]),
            tuple(triggers[lock.tenant_id]),
            rows[lock.tenant_id]["stopped_reason"],
            rows[lock.tenant_id]["has_users"],
            tuple(erasures[lock.tenant_id]),
            rows[lock.tenant_id]["name"],
            terms[lock.tenant_id],
            renamed[lock.tenant_id],
            PriceTerms(
                tuple(own_prices[lock.tenant_id]),
                tuple(aliases[lock.tenant_id]),
                tuple(discounts[lock.tenant_id]),
                tuple(facts[lock.tenant_id]),
            ),
            rows[lock.tenant_id]["finds_duplicates"],
            rows[lock.tenant_id]["created_at"],
        )
        for lock in locked
    }
