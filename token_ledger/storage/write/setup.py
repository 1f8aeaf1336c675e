"""Writes what tenants' administrators change: budgets, triggers, prices, users, calendar, stop, audit log."""

from collections.abc import Sequence

from token_ledger.core.model.budget import Budget
from token_ledger.core.model.model_facts import facts_data
from token_ledger.storage import rows
from token_ledger.storage.json_columns import object_text
from token_ledger.storage.schema.setup_tables import (
    budget_terms,
    budgets,
    calendar_changes,
    erasures,
    model_names,
    tenant_aliases,
    tenant_discounts,
    tenant_ledgers,
    tenant_models,
    tenant_prices,
)
from token_ledger.storage.write.rollups import segment_of
from token_ledger.storage.write.statements import (
    ArrayStatement,
    Decided,
    Rows,
    Write,
    insert,
    insert_columns,
    update,
    update_columns,
    upsert,
)

_TERMS = ("enforcement", "limits", "thresholds", "rollover", "overrides", "unassigned")

INSERT_BUDGETS = insert_columns(budgets.c.tenant_id, *rows.BUDGET.columns, budgets.c.archived_at)
_new_budget = rows.BUDGET.writer("tenant, value, archived_at", first=["tenant"], last=["archived_at"])
UPDATE_BUDGETS = update(rows.BUDGET.only("budget_id", *_TERMS))
INSERT_TERMS = insert_columns(
    budget_terms.c.tenant_id, budget_terms.c.budget_id, budget_terms.c.terms_id, *rows.TERMS.columns
)
_terms_row = rows.TERMS.writer("tenant, budget_id, terms_id, value", first=["tenant", "budget_id", "terms_id"])
INSERT_MODEL_NAMES = insert_columns(*model_names.columns)
INSERT_PRICES = insert_columns(*tenant_prices.columns)
INSERT_ALIASES = insert_columns(*tenant_aliases.columns)
INSERT_DISCOUNTS = insert_columns(*tenant_discounts.columns)
INSERT_MODELS = insert_columns(*tenant_models.columns)
ARCHIVE_BUDGETS = update_columns(budgets.c.tenant_id, budgets.c.budget_id, budgets.c.archived_at)
SET_TRIGGERS = upsert(
    rows.TRIGGER, key="kind", at="set_at",
    change=("trigger_id", "at_percent", "mode", "per_call_tokens", "per_call_nanos", "downgrades", "set_at"),
)  # fmt: skip
SET_USERS = upsert(rows.USER, key="user_id", at="set_at", change=("cost_centers", "set_at", "erased"))
INSERT_CALENDAR_CHANGES = insert_columns(*calendar_changes.columns)
SET_STOPPED = update_columns(tenant_ledgers.c.tenant_id, tenant_ledgers.c.stopped_reason, keys=1)
SET_DUPLICATES = update_columns(tenant_ledgers.c.tenant_id, tenant_ledgers.c.finds_duplicates, keys=1)
INSERT_AUDIT = insert(rows.AUDIT, at="booked_at")
RAISE_CONFIG_VERSIONS = (
    "update tenant_ledgers set config_version = config_version + 1 where tenant_id = any($1::bigint[])"
)
BEGIN_ERASURES = ArrayStatement(
    """
    select token_ledger_begin_erasure(v.tenant_id, v.user_id, v.pseudonym, v.last_id, v.segment, v.began_at)
    from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[])
         as v (tenant_id, user_id, pseudonym, last_id, segment, began_at)
    """,
    (
        erasures.c.tenant_id, erasures.c.user_id, erasures.c.pseudonym, erasures.c.last_id, erasures.c.segment,
        erasures.c.began_at,
    ),
)  # fmt: skip


def plan_setup(decided: Sequence[Decided]) -> list[Write]:
    """Return the statements for what is set up; erasures begin last, of all that was written before."""
    raised = [int(tenant) for tenant, _, writes in decided if writes.config_changed]
    return [
        # First, because of budgets in use each has a name of its own, and a new one may take that of an old one.
        *ARCHIVE_BUDGETS.plan(_archived_budgets(decided)),
        *INSERT_BUDGETS.plan(_new_budgets(decided)),
        *UPDATE_BUDGETS.plan_values(decided, lambda writes: _newest(writes.changed_budgets)),
        *INSERT_TERMS.plan(_terms(decided)),
        *INSERT_MODEL_NAMES.plan(_model_names(decided)),
        *INSERT_PRICES.plan(_own_prices(decided)),
        *INSERT_ALIASES.plan(_aliases(decided)),
        *INSERT_DISCOUNTS.plan(_discounts(decided)),
        *INSERT_MODELS.plan(_model_facts(decided)),
        *SET_TRIGGERS.plan_values(decided, lambda writes: {each.kind: each for each in writes.triggers}.values()),
        *SET_USERS.plan_values(decided, lambda writes: writes.users.values()),
        *INSERT_CALENDAR_CHANGES.plan(_calendar_changes(decided)),
        *SET_STOPPED.plan([(tenant, writes.stops[-1]) for tenant, _, writes in decided if writes.stops]),
        *SET_DUPLICATES.plan(
            [(tenant, writes.finds_duplicates[-1]) for tenant, _, writes in decided if writes.finds_duplicates]
        ),
        *INSERT_AUDIT.plan_values(decided, lambda writes: writes.audit),
        *([(RAISE_CONFIG_VERSIONS, (raised,))] if raised else []),
        *BEGIN_ERASURES.plan(_erasures(decided)),
    ]


def _newest(changed: Sequence[Budget]) -> list[Budget]:
    """Return each budget as the batch left it."""
    return [*{budget.budget_id: budget for budget in changed}.values()]


def _archived_budgets(decided: Sequence[Decided]) -> Rows:
    return [(tenant, b.budget_id, now) for tenant, now, writes in decided for b in writes.archived_budgets]


def _new_budgets(decided: Sequence[Decided]) -> Rows:
    new: Rows = []
    for tenant, now, writes in decided:
        gone = {b.budget_id for b in writes.archived_budgets}  # made and archived in one batch
        new += [_new_budget(tenant, b, now if b.budget_id in gone else None) for b in writes.new_budgets]
    return new


def _terms(decided: Sequence[Decided]) -> Rows:
    return [
        _terms_row(tenant, budget_id, terms_id, terms)
        for tenant, _, writes in decided
        for budget_id, terms_id, terms in writes.terms
    ]


def _model_names(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, *asked, decided_id, *name, now, change_id)
        for tenant, now, writes in decided
        for decided_id, asked, name, change_id in writes.name_decisions
    ]


def _own_prices(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, own.price_id, own.provider, own.model, object_text(own.rates), own.valid_from, now)
        for tenant, now, writes in decided
        for own in writes.own_prices
    ]


def _aliases(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, alias.alias_id, alias.provider, alias.model, *(alias.stands_for or (None, None)), now)
        for tenant, now, writes in decided
        for alias in writes.aliases
    ]


def _discounts(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, each.discount_id, each.provider, each.model, each.factor, each.valid_from, each.valid_until, now)
        for tenant, now, writes in decided
        for each in writes.discounts
    ]


def _model_facts(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, each.facts_id, each.provider, each.model, object_text(facts_data(each.facts)), now)
        for tenant, now, writes in decided
        for each in writes.model_facts
    ]


def _calendar_changes(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, effective_from, str(rule.zone), rule.week_start, rule.fiscal_month, change_id)
        for tenant, _, writes in decided
        for change_id, effective_from, rule in writes.calendar_changes
    ]


def _erasures(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, e.user, e.pseudonym, e.last_id, segment_of(e.last_id), now)
        for tenant, now, writes in decided
        for e in writes.erasures
    ]
