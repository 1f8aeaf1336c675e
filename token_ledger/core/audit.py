"""Owns entries of the audit log, and the JSON values that they show of what was changed."""

from datetime import datetime
from typing import Any

from token_ledger.core.budget import Budget, Limits
from token_ledger.core.money import format_money
from token_ledger.core.run import Run
from token_ledger.core.tenant import User
from token_ledger.core.trigger import Trigger
from token_ledger.core.values import value
from token_ledger.core.window import CalendarRule


@value
class AuditEntry:
    """One change by an administrator: who did what to what; before and after are JSON values, None for nothing."""

    audit_id: int
    actor: str
    action: str
    target: str
    before: Any
    after: Any


def limits_state(limits: Limits | None) -> dict[str, Any] | None:
    """Return limits as the audit log shows them."""
    if limits is None:
        return None
    cost = None if limits.nanos is None else format_money(limits.nanos)
    return {"tokens": limits.tokens, "cost": cost, "calls": limits.calls}


def budget_state(budget: Budget) -> dict[str, Any]:
    """Return a budget as the audit log shows it."""
    return {
        "name": budget.name,
        "selector": dict(budget.selector),
        "limits": limits_state(budget.limits),
        "window": budget.window.value,
        "enforcement": budget.enforcement.value,
        "counts": budget.counts.value,
        "thresholds": list(budget.thresholds),
        "rollover": limits_state(budget.rollover),
    }


def trigger_state(trigger: Trigger) -> dict[str, Any]:
    """Return a trigger as the audit log shows it."""
    cost = None if trigger.per_call_nanos is None else format_money(trigger.per_call_nanos)
    return {
        "kind": trigger.kind.value,
        "at_percent": trigger.at_percent,
        "mode": trigger.mode.value,
        "per_call_tokens": trigger.per_call_tokens,
        "per_call_cost": cost,
        "downgrades": [f"{step.model} -> {step.to_model}" for step in trigger.downgrades],
    }


def run_state(run: Run) -> dict[str, Any]:
    """Return what an administrator can change of a run as the audit log shows it."""
    return {"limits": limits_state(run.limits), "iterations": run.limit_iterations}


def user_state(user: User) -> list[dict[str, Any]]:
    """Return a user's cost centers as the audit log shows them."""
    return [
        {"from": since.isoformat() if since else None, "cost_center": cost_center}
        for since, cost_center in user.cost_centers
    ]


def rule_state(rule: CalendarRule) -> dict[str, Any]:
    """Return a calendar rule as the audit log shows it."""
    return {"time_zone": str(rule.zone), "week_start": rule.week_start, "fiscal_month": rule.fiscal_month}


def change_state(effective_from: datetime, rule: CalendarRule) -> dict[str, Any]:
    """Return a change of the calendar as the audit log shows it."""
    return {**rule_state(rule), "effective_from": effective_from.isoformat()}
