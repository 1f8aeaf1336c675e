"""Owns what nouns look like as plain data: in the audit log, and in answers that show the same."""

from datetime import datetime
from typing import Any

from token_ledger.core.model.budget import NO_LIMITS, Budget, Limits, Overrides
from token_ledger.core.model.discount import Discount, factor_text
from token_ledger.core.model.money import format_money
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.price_terms import OwnPrice
from token_ledger.core.model.recosting import ModelTotals
from token_ledger.core.model.run import Run
from token_ledger.core.model.selector import Selector
from token_ledger.core.model.tenant import User
from token_ledger.core.model.trigger import Trigger
from token_ledger.core.model.window import CalendarRule


def limits_data(limits: Limits) -> dict[str, Any]:
    """Return limits per unit; None means no limit."""
    return amounts_data(*limits.amounts)


def amounts_data(tokens: int | None, nanos: int | None, calls: int | None) -> dict[str, Any]:
    """Return amounts per unit, money as a decimal string."""
    return {"tokens": tokens, "cost": None if nanos is None else format_money(nanos), "calls": calls}


def budget_data(budget: Budget) -> dict[str, Any]:
    """Return what an administrator can set of a budget."""
    return {
        "name": budget.name,
        "selector": selector_data(budget.selector),
        "limits": limits_data(budget.limits),
        "window": budget.window.value,
        "enforcement": budget.enforcement.value,
        "counts": budget.counts.value,
        "thresholds": list(budget.thresholds),
        "rollover": None if budget.rollover is None else limits_data(budget.rollover),
        "overrides": overrides_data(budget.overrides),
        "unassigned": budget.unassigned.value,
    }


def selector_data(selector: Selector) -> dict[str, str | list[str]]:
    """Return what a selector matches in each dimension."""
    return {dimension: wanted if isinstance(wanted, str) else list(wanted) for dimension, wanted in selector}


def overrides_data(overrides: Overrides) -> list[dict[str, Any]]:
    """Return subjects and their limits; None means no limit in any unit."""
    return [
        {"subject": dict(subject.pairs), "limits": None if limits == NO_LIMITS else limits_data(limits)}
        for subject, limits in overrides
    ]


def trigger_data(trigger: Trigger) -> dict[str, Any]:
    """Return what an administrator can set of a trigger."""
    cost = None if trigger.per_call_nanos is None else format_money(trigger.per_call_nanos)
    return {
        "kind": trigger.kind.value,
        "at_percent": trigger.at_percent,
        "mode": trigger.mode.value,
        "per_call_tokens": trigger.per_call_tokens,
        "per_call_cost": cost,
        "downgrades": [f"{step.model} -> {step.to_model}" for step in trigger.downgrades],
    }


def run_limits_data(run: Run) -> dict[str, Any]:
    """Return what an administrator can change of a run."""
    return {"limits": limits_data(run.limits), "iterations": run.limit_iterations}


def cost_centers_data(user: User) -> list[dict[str, Any]]:
    """Return the cost centers of a user, each with the instant from which it is in force."""
    return [
        {"from": since.isoformat() if since else None, "cost_center": cost_center}
        for since, cost_center in user.cost_centers
    ]


def calendar_rule_data(rule: CalendarRule) -> dict[str, Any]:
    """Return a calendar rule."""
    return {"time_zone": str(rule.zone), "week_start": rule.week_start, "fiscal_month": rule.fiscal_month}


def calendar_change_data(effective_from: datetime, rule: CalendarRule) -> dict[str, Any]:
    """Return a change of the calendar."""
    return {**calendar_rule_data(rule), "effective_from": effective_from.isoformat()}


def own_price_data(entry: OwnPrice) -> dict[str, Any]:
    """Return an entry of a tenant's own in the price book."""
    return {
        "price_id": str(entry.price_id),
        "valid_from": entry.valid_from.isoformat(),
        "rates": entry.rates,
    }


def discount_data(discount: Discount | None) -> dict[str, Any] | None:
    """Return a discount, None also where it withdraws those before it."""
    if discount is None or discount.factor is None:
        return None
    return {
        "discount_id": str(discount.discount_id),
        "factor": factor_text(discount.factor),
        "valid_from": discount.valid_from.isoformat(),
        "valid_until": None if discount.valid_until is None else discount.valid_until.isoformat(),
    }


def alias_data(stands_for: ModelName | None) -> dict[str, Any] | None:
    """Return what a name of a model stands for."""
    return None if stands_for is None else {"stands_for": {"provider": stands_for.provider, "model": stands_for.model}}


def totals_data(totals: ModelTotals) -> dict[str, Any]:
    """Return what re-costing changes of a model as plain data."""
    return {
        "provider": totals.name.provider,
        "model": totals.name.model,
        "events": totals.events,
        "tokens": totals.tokens,
        "kinds": totals.kinds,
        "cost_before": format_money(totals.before),
        "cost_after": format_money(totals.after),
        "difference": format_money(totals.after - totals.before),
        "list_cost_before": format_money(totals.list_before),
        "list_cost_after": format_money(totals.list_after),
    }
