"""Owns the wire format of answers: models for the OpenAPI document, and the values that are sent.

The hot verbs build their values by hand; a test checks that what they build is what the models say.
"""

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from token_ledger.core.account import Account
from token_ledger.core.budget import Budget
from token_ledger.core.event import UsageEvent
from token_ledger.core.money import format_money
from token_ledger.core.reservation import Reservation
from token_ledger.core.run import Run
from token_ledger.core.trigger import Trigger


class Answer(BaseModel):
    """A response body; every field is always there."""

    model_config = ConfigDict(extra="forbid")


class Amounts(Answer):
    """Tokens, money and calls; null stands for no limit."""

    tokens: int | None
    cost: str | None
    calls: int | None


class Balance(Answer):
    """What an account may hold, has settled, holds, and has left."""

    limit: Amounts
    settled: Amounts
    held: Amounts
    available: Amounts


class AllocationAnswer(Answer):
    """An agent type's share of a run."""

    agent_type: str
    balance: Balance


class RunAnswerBody(Answer):
    """A run as it stands."""

    run_id: str
    external_id: str | None
    state: str
    user: str
    cost_center: str
    strict: bool
    created_at: datetime
    ended_at: datetime | None
    balance: Balance | None
    allocations: list[AllocationAnswer]
    replayed: bool


class Evidence(Answer):
    """Why a trigger fired."""

    budget: str
    subject: dict[str, str]
    unit: str
    used: int | str
    limit: int | str
    percent: int


class AdviceAnswer(Answer):
    """A trigger that fired for this call."""

    trigger: str
    technique: str
    applied: bool
    model: str | None
    evidence: Evidence


class Directive(Answer):
    """What the caller is told to do."""

    model: str
    max_output_tokens: int
    compression: str
    stop: bool
    advice: list[AdviceAnswer]


class RefusalAnswer(Answer):
    """An account that said no."""

    account_id: str
    budget: str
    enforcement: str
    subject: dict[str, str]
    unit: str
    limit: int | str
    settled: int | str
    held: int | str
    available: int | str
    requested: int | str
    window_start: datetime
    window_end: datetime | None


class ReservationAnswer(Answer):
    """A hold as it stands, and what the caller was told."""

    reservation_id: str
    state: str
    created_at: datetime
    expires_at: datetime
    run_id: str | None
    held: Amounts
    provider: str
    model: str
    directive: Directive
    warnings: list[RefusalAnswer]
    replayed: bool


class SettlementAnswer(Answer):
    """What was booked."""

    reservation_id: str | None
    event_id: str
    state: str
    cost: str
    tokens: int
    overrun: bool
    late: bool
    unpriced: bool
    clamped: bool
    replayed: bool


class EventResult(Answer):
    """What became of one event of a list."""

    status: str
    event_id: str | None = None
    quarantine_id: str | None = None
    cost: str | None = None
    tokens: int | None = None
    replayed: bool | None = None
    code: str | None = None
    detail: str | None = None
    field: str | None = None


class EventResults(Answer):
    """One result per event, in order."""

    results: list[EventResult]


class BudgetAnswerBody(Answer):
    """A budget as it stands."""

    budget_id: str
    name: str
    selector: dict[str, str]
    limits: Amounts
    window: str
    enforcement: str
    counts: str
    archived: bool
    replayed: bool


class TriggerAnswerBody(Answer):
    """A trigger as it stands."""

    kind: str
    at_percent: int
    mode: str
    per_call_tokens: int | None
    per_call_cost: str | None
    downgrades: list[dict[str, Any]]
    replayed: bool


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable, `errors` names the fields at fault."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    code: str


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
    if r.directive is None:
        directive = {
            "model": r.facts.model,
            "max_output_tokens": r.max_output_tokens,
            "compression": "none",
            "stop": False,
            "advice": [],
        }
    else:
        directive = json.loads(r.directive)
    return {
        "reservation_id": str(r.reservation_id),
        "state": r.state.value,
        "created_at": r.created_at.isoformat(),
        "expires_at": r.expires_at.isoformat(),
        "run_id": None if r.facts.run_id is None else str(r.facts.run_id),
        "held": {"tokens": r.held_tokens, "cost": format_money(r.held_nanos), "calls": 1},
        "provider": r.facts.provider,
        "model": r.facts.model,
        "directive": directive,
        "warnings": [] if r.warnings is None else refusals_value(json.loads(r.warnings)),
        "replayed": replayed,
    }


def settlement_value(event: UsageEvent, *, replayed: bool = False) -> dict[str, Any]:
    """Return what was booked for a hold."""
    return {
        "reservation_id": None if event.reservation_id is None else str(event.reservation_id),
        "event_id": str(event.event_id),
        "state": "settled",
        "cost": format_money(event.cost_nanos),
        "tokens": event.usage.total_tokens,
        "overrun": event.overrun,
        "late": event.late,
        "unpriced": event.unpriced,
        "clamped": event.clamped,
        "replayed": replayed,
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
