"""Builds the JSON values of answers, by hand: the hot verbs have no time for models."""

import json
from dataclasses import fields
from decimal import Decimal
from typing import Any

from token_ledger.core.account import Account, Grant
from token_ledger.core.audit import AuditEntry
from token_ledger.core.budget import Budget, Limits
from token_ledger.core.increase import Increase
from token_ledger.core.money import ATTOS_PER_DOLLAR, format_money
from token_ledger.core.outcomes import PreflightAnswer, Settled
from token_ledger.core.price import Price, Rates
from token_ledger.core.reservation import HoldState, Reservation
from token_ledger.core.run import Run
from token_ledger.core.trigger import Trigger


def amounts(tokens: int | None, nanos: int | None, calls: int | None) -> dict[str, Any]:
    """Return amounts as they travel; money as a decimal string."""
    return {"tokens": tokens, "cost": None if nanos is None else format_money(nanos), "calls": calls}


def balance_value(account: Account) -> dict[str, Any]:
    """Return an account's balance; available may be negative after an overrun."""
    a = account

    def left(limit: int | None, settled: int, held: int) -> int | None:
        return None if limit is None else limit - settled - held

    return {
        "limit": amounts(a.limit_tokens, a.limit_nanos, a.limit_calls),
        "settled": amounts(a.settled_tokens, a.settled_nanos, a.settled_calls),
        "held": amounts(a.held_tokens, a.held_nanos, a.held_calls),
        "available": amounts(
            left(a.limit_tokens, a.settled_tokens, a.held_tokens),
            left(a.limit_nanos, a.settled_nanos, a.held_nanos),
            left(a.limit_calls, a.settled_calls, a.held_calls),
        ),
    }


def iterations_value(run: Run) -> dict[str, Any]:
    """Return how many iterations a run may make and has made."""
    return {"limit": run.limit_iterations, "taken": run.iterations}


def run_value(run: Run, accounts: list[Account], *, replayed: bool = False) -> dict[str, Any]:
    """Return a run with the balances of its accounts, where they are at hand."""
    balance, allocations = None, []
    for account in accounts:
        subject = json.loads(account.subject)
        if "agent_type" in subject:
            allocations.append({"agent_type": subject["agent_type"], "balance": balance_value(account)})
        else:
            balance = balance_value(account)
    return {
        "run_id": str(run.run_id),
        "parent_run_id": str(run.ancestors[-1]) if run.ancestors else None,
        "ancestors": [str(ancestor) for ancestor in run.ancestors],
        "depth": len(run.lineage),
        "iterations": iterations_value(run),
        "external_id": run.external_id,
        "state": run.state.value,
        "user": run.user,
        "cost_center": run.cost_center,
        "strict": run.strict,
        "created_at": run.created_at.isoformat(),
        "ended_at": run.ended_at.isoformat() if run.ended_at else None,
        "balance": balance,
        "allocations": allocations,
        "replayed": replayed,
    }


def refusals_value(stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return stored refusals as they travel: the subject as an object."""
    return [{**refusal, "subject": json.loads(refusal["subject"])} for refusal in stored]


def reservation_value(reservation: Reservation, *, replayed: bool = False) -> dict[str, Any]:
    """Return a hold as it stands."""
    r = reservation
    tokens, _, nanos, calls = r.remaining
    return {
        "reservation_id": str(r.reservation_id),
        "state": r.state.value,
        "created_at": r.created_at.isoformat(),
        "expires_at": r.expires_at.isoformat(),
        "run_id": None if r.facts.run_id is None else str(r.facts.run_id),
        "held": {"tokens": tokens, "cost": format_money(nanos), "calls": calls},
        "provider": r.facts.provider,
        "model": r.facts.model,
        "directive": _directive_value(r),
        "warnings": [] if r.warnings is None else refusals_value(json.loads(r.warnings)),
        "replayed": replayed,
    }


def _directive_value(reservation: Reservation) -> dict[str, Any]:
    """Return what the caller is told; a hold that has ended, found again by its key, is no permission."""
    ended = reservation.state is not HoldState.HELD
    if reservation.directive is not None:
        directive: dict[str, Any] = json.loads(reservation.directive)
        directive["stop"] = directive["stop"] or ended
        return directive
    return {
        "model": reservation.facts.model,
        "max_output_tokens": reservation.max_output_tokens,
        "compression": "none",
        "stop": ended,
        "advice": [],
    }


def lease_value(lease: Reservation, price: Price | None, *, replayed: bool = False) -> dict[str, Any]:
    """Return a lease as it stands. A replay can't say how many seconds are left: it was given some time ago."""
    value = reservation_value(lease, replayed=replayed)
    value["lease_id"] = value.pop("reservation_id")
    left = None if replayed else (lease.expires_at - lease.created_at).total_seconds()
    return {**value, "seconds_left": left, "calls": lease.held_calls, "price": price and price_value(price)}


def price_value(price: Price) -> dict[str, Any]:
    """Return the rates of a price by tier, in dollars per million tokens."""
    tiers = [(0, price.base), *price.tiers]
    return {
        "price_id": str(price.price_id),
        "tiers": [{"above_input_tokens": above, **_rates_value(rates)} for above, rates in tiers],
    }


def _rates_value(rates: Rates) -> dict[str, str]:
    return {field.name: _dollars(getattr(rates, field.name)) for field in fields(rates)}


def _dollars(attos: int) -> str:
    return format((Decimal(attos) / ATTOS_PER_DOLLAR).normalize(), "f")


def preflight_value(outcome: PreflightAnswer, stopped_by: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a preflight found."""
    return {
        "finishes": outcome.fits == outcome.asked,
        "asked": list(outcome.asked),
        "fits": list(outcome.fits),
        "tokens": outcome.tokens,
        "cost": format_money(outcome.nanos),
        "stopped_by": stopped_by,
        "warnings": refusals_value(outcome.warnings),
    }


def limits_value(limits: Limits) -> dict[str, Any]:
    """Return limits as they travel."""
    return amounts(*limits.amounts)


def grant_value(grant: Grant, *, replayed: bool = False) -> dict[str, Any]:
    """Return a grant as it stands."""
    return {
        "grant_id": str(grant.grant_id),
        "account_id": str(grant.account_id),
        "amounts": limits_value(grant.amounts),
        "left": limits_value(grant.left),
        "expires_at": grant.expires_at.isoformat() if grant.expires_at else None,
        "lapsed_at": grant.lapsed_at.isoformat() if grant.lapsed_at else None,
        "reason": grant.reason,
        "given_by": grant.actor,
        "given_at": grant.given_at.isoformat(),
        "replayed": replayed,
    }


def increase_value(increase: Increase, *, replayed: bool = False) -> dict[str, Any]:
    """Return an increase as it stands."""
    return {
        "increase_id": str(increase.increase_id),
        "account_id": str(increase.account_id),
        "amounts": limits_value(increase.amounts),
        "reason": increase.reason,
        "asked_by": increase.asked_by,
        "asked_at": increase.asked_at.isoformat(),
        "state": increase.state.value,
        "decided_by": increase.decided_by,
        "decided_at": increase.decided_at.isoformat() if increase.decided_at else None,
        "note": increase.note,
        "grant_id": None if increase.grant_id is None else str(increase.grant_id),
        "replayed": replayed,
    }


def change_value(entry: AuditEntry, *, replayed: bool = False) -> dict[str, Any]:
    """Return an entry of the audit log."""
    return {
        "audit_id": str(entry.audit_id),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
        "replayed": replayed,
    }


def account_value(account: Account) -> dict[str, Any]:
    """Return an account with its balance."""
    return {
        "account_id": str(account.account_id),
        "budget_id": str(account.budget_id),
        "budget": account.budget,
        "subject": json.loads(account.subject),
        "enforcement": account.enforcement.value,
        "window_start": account.window_start.isoformat(),
        "window_end": account.window_end.isoformat() if account.window_end else None,
        "closed_at": account.closed_at.isoformat() if account.closed_at else None,
        "thresholds": list(account.thresholds),
        "reached_percent": dict(zip(("tokens", "cost", "calls"), account.fired, strict=True)),
        "open_leases": account.leases,
        "balance": balance_value(account),
    }


def settlement_value(outcome: Settled) -> dict[str, Any]:
    """Return what was booked for a hold."""
    event, hold = outcome.event, outcome.reservation
    remaining = None
    if event.part and hold is not None:
        ended = hold.state is not HoldState.HELD
        tokens, _, nanos, calls = (0, 0, 0, 0) if ended else hold.remaining
        remaining = amounts(tokens, nanos, calls)
    return {
        "reservation_id": None if event.reservation_id is None else str(event.reservation_id),
        "event_id": str(event.event_id),
        "state": hold.state.value if event.part and hold is not None else "settled",
        "cost": format_money(event.cost_nanos),
        "tokens": event.usage.total_tokens,
        "overrun": event.overrun,
        "late": event.late,
        "unpriced": event.unpriced,
        "clamped": event.clamped,
        "part": event.part,
        "remaining": remaining,
        "stop": outcome.stop,
        "replayed": outcome.replayed,
    }


def budget_value(budget: Budget, *, archived: bool = False, replayed: bool = False) -> dict[str, Any]:
    """Return a budget as it stands."""
    return {
        "budget_id": str(budget.budget_id),
        "name": budget.name,
        "selector": dict(budget.selector),
        "limits": amounts(budget.limits.tokens, budget.limits.nanos, budget.limits.calls),
        "window": budget.window.value,
        "enforcement": budget.enforcement.value,
        "counts": budget.counts.value,
        "thresholds": list(budget.thresholds),
        "rollover": None if budget.rollover is None else limits_value(budget.rollover),
        "archived": archived,
        "replayed": replayed,
    }


def trigger_value(trigger: Trigger, *, replayed: bool = False) -> dict[str, Any]:
    """Return a trigger as it stands."""
    return {
        "kind": trigger.kind.value,
        "at_percent": trigger.at_percent,
        "mode": trigger.mode.value,
        "per_call_tokens": trigger.per_call_tokens,
        "per_call_cost": None if trigger.per_call_nanos is None else format_money(trigger.per_call_nanos),
        "downgrades": [
            {
                "provider": step.provider,
                "model": step.model,
                "to_provider": step.to_provider,
                "to_model": step.to_model,
                "capabilities": list(step.capabilities),
                "context_tokens": step.context_tokens,
            }
            for step in trigger.downgrades
        ],
        "replayed": replayed,
    }
