"""Writes what administrators change: budgets, triggers, users, calendar, the stop, the audit log."""

import json
from collections.abc import Sequence
from typing import Any

from token_ledger.core.audit import user_state
from token_ledger.core.budget import Budget, Limits
from token_ledger.storage.bookings import Decided, Rows, Write
from token_ledger.storage.statements import array_text, insert_from_arrays, plan_rows, update_from_arrays

_BUDGET = (
    "enforcement text, limit_tokens bigint, limit_nanos bigint, limit_calls bigint, thresholds text::smallint[],"
    " rollover_tokens bigint, rollover_nanos bigint, rollover_calls bigint"
)

INSERT_BUDGETS = insert_from_arrays(
    "budgets",
    'tenant_id bigint, budget_id bigint, name text, selector jsonb, "window" text, counts text,'
    f" created_at timestamptz, archived_at timestamptz, {_BUDGET}",
)

UPDATE_BUDGETS = update_from_arrays("budgets", "tenant_id bigint, budget_id bigint", _BUDGET)

ARCHIVE_BUDGETS = update_from_arrays("budgets", "tenant_id bigint, budget_id bigint", "archived_at timestamptz")

SET_TRIGGERS = (
    insert_from_arrays(
        "triggers",
        "tenant_id bigint, trigger_id bigint, kind text, at_percent smallint, mode text, per_call_tokens bigint,"
        " per_call_nanos bigint, downgrades jsonb, set_at timestamptz",
    )
    + " on conflict (tenant_id, kind) do update set trigger_id = excluded.trigger_id,"
    " at_percent = excluded.at_percent, mode = excluded.mode, per_call_tokens = excluded.per_call_tokens,"
    " per_call_nanos = excluded.per_call_nanos, downgrades = excluded.downgrades, set_at = excluded.set_at"
)

SET_USERS = (
    insert_from_arrays("users", "tenant_id bigint, user_id text, cost_centers jsonb, set_at timestamptz")
    + " on conflict (tenant_id, user_id) do update set cost_centers = excluded.cost_centers, set_at = excluded.set_at"
)

INSERT_CALENDAR_CHANGES = insert_from_arrays(
    "calendar_changes",
    "tenant_id bigint, effective_from timestamptz, time_zone text, week_start smallint, fiscal_month smallint,"
    " change_id bigint",
)

SET_STOPPED = update_from_arrays("tenant_ledgers", "tenant_id bigint", "stopped_reason text")

INSERT_AUDIT = insert_from_arrays(
    "audit_log",
    "tenant_id bigint, audit_id bigint, actor text, action text, target text, before jsonb, after jsonb,"
    " booked_at timestamptz",
)

RAISE_CONFIG_VERSIONS = (
    "update tenant_ledgers set config_version = config_version + 1 where tenant_id = any($1::bigint[])"
)

ERASE_USERS = """
select token_ledger_erase_user(v.tenant_id, v.user_id, v.pseudonym)
from unnest($1::bigint[], $2::text[], $3::text[]) as v (tenant_id, user_id, pseudonym)
"""


def plan_setup(decided: Sequence[Decided]) -> list[Write]:
    """Return the statements for what is set up; users are erased last, from all that was written before."""
    writes = plan_rows(
        [
            # First, because of budgets in use each has a name of its own, and a new one may take that of an old one.
            (ARCHIVE_BUDGETS, _archived_budgets(decided)),
            (INSERT_BUDGETS, _new_budgets(decided)),
            (UPDATE_BUDGETS, _changed_budgets(decided)),
            (SET_TRIGGERS, _triggers(decided)),
            (SET_USERS, _users(decided)),
            (INSERT_CALENDAR_CHANGES, _calendar_changes(decided)),
            (SET_STOPPED, [(tenant, w.stops[-1]) for tenant, _, w in decided if w.stops]),
            (INSERT_AUDIT, _audit(decided)),
        ]
    )
    raised = [int(tenant) for tenant, _, changes in decided if changes.config_changed]
    if raised:
        writes.append((RAISE_CONFIG_VERSIONS, (raised,)))
    erased = [(tenant, *names) for tenant, _, changes in decided for names in changes.erased_users]
    return writes + plan_rows([(ERASE_USERS, erased)])


def _terms(budget: Budget) -> tuple[Any, ...]:
    rollover = budget.rollover or Limits()
    return (budget.enforcement, *budget.limits.amounts, array_text(budget.thresholds), *rollover.amounts)


def _archived_budgets(decided: Sequence[Decided]) -> Rows:
    return [(tenant, b.budget_id, now) for tenant, now, writes in decided for b in writes.archived_budgets]


def _new_budgets(decided: Sequence[Decided]) -> Rows:
    rows: Rows = []
    for tenant, now, writes in decided:
        gone = {b.budget_id for b in writes.archived_budgets}  # made and archived in one batch
        rows += [
            (
                tenant, b.budget_id, b.name, json.dumps(dict(b.selector)), b.window, b.counts, b.created_at,
                now if b.budget_id in gone else None, *_terms(b),
            )
            for b in writes.new_budgets
        ]  # fmt: skip
    return rows


def _changed_budgets(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, b.budget_id, *_terms(b))
        for tenant, _, writes in decided
        for b in {b.budget_id: b for b in writes.changed_budgets}.values()
    ]


def _triggers(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, t.trigger_id, t.kind, t.at_percent, t.mode, t.per_call_tokens, t.per_call_nanos,
            json.dumps([_step(step) for step in t.downgrades]), now,
        )
        for tenant, now, writes in decided
        for t in {t.kind: t for t in writes.triggers}.values()
    ]  # fmt: skip


def _users(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, user.user, json.dumps(user_state(user)), now)
        for tenant, now, writes in decided
        for user in writes.users.values()
    ]


def _calendar_changes(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, effective_from, str(rule.zone), rule.week_start, rule.fiscal_month, change_id)
        for tenant, _, writes in decided
        for change_id, effective_from, rule in writes.calendar_changes
    ]


def _audit(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, e.audit_id, e.actor, e.action, e.target, _json(e.before), _json(e.after), now)
        for tenant, now, writes in decided
        for e in writes.audit
    ]


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _step(step: Any) -> dict[str, Any]:
    return {
        "provider": step.provider,
        "model": step.model,
        "to_provider": step.to_provider,
        "to_model": step.to_model,
        "capabilities": list(step.capabilities),
        "context_tokens": step.context_tokens,
    }
