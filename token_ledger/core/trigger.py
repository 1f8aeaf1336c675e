"""Owns triggers: conditions on an account's use or a call's size, and the directive that follows (design D17, D18).

A trigger always evaluates and is shown; its technique is applied only where the tenant's trigger or the call itself
switches it on. A downgrade names a model that has every capability the call needs, or none at all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from token_ledger.core.account import Account
from token_ledger.core.budget import Unit
from token_ledger.core.money import format_money
from token_ledger.core.price import Size
from token_ledger.core.reservation import CallFacts


class TriggerKind(StrEnum):
    """The conditions that are evaluated."""

    HIGH_TOKEN_USAGE = "high_token_usage"  # noqa: S105 - these tokens are no secrets
    HIGH_COST = "high_cost"


class Technique(StrEnum):
    """What a trigger would change about a call."""

    AGGRESSIVE_COMPRESSION = "aggressive_compression"
    MODEL_DOWNGRADE = "model_downgrade"


class Mode(StrEnum):
    """Whether a trigger is evaluated at all, only shown, or applied to every call."""

    OFF = "off"
    OBSERVE = "observe"
    APPLY = "apply"


TECHNIQUE_OF = {
    TriggerKind.HIGH_TOKEN_USAGE: Technique.AGGRESSIVE_COMPRESSION,
    TriggerKind.HIGH_COST: Technique.MODEL_DOWNGRADE,
}
_UNIT_OF = {TriggerKind.HIGH_TOKEN_USAGE: Unit.TOKENS, TriggerKind.HIGH_COST: Unit.COST}


@dataclass(frozen=True, slots=True)
class Downgrade:
    """One step down a ladder: from a model to a cheaper one with these capabilities and this context length."""

    provider: str
    model: str
    to_provider: str
    to_model: str
    capabilities: tuple[str, ...]
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """A condition: an account used by `at_percent` or more, or one call as large as the per-call threshold."""

    trigger_id: int
    kind: TriggerKind
    at_percent: int
    mode: Mode
    per_call_tokens: int | None = None
    per_call_nanos: int | None = None
    downgrades: tuple[Downgrade, ...] = ()

    @property
    def unit(self) -> Unit:
        """What the condition is about: tokens or money."""
        return _UNIT_OF[self.kind]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a trigger fired: what was used of which limit. `budget` "call" means that the call itself is large."""

    budget: str
    subject: str
    unit: Unit
    used: int
    limit: int

    @property
    def percent(self) -> int:
        """Whole percent of the limit that is used; a limit of zero is used up."""
        return self.used * 100 // self.limit if self.limit else 100


@dataclass(frozen=True, slots=True)
class Advice:
    """A trigger that fired, with its evidence and whether its technique is applied to this call."""

    kind: TriggerKind
    technique: Technique
    applied: bool
    downgrade: Downgrade | None
    evidence: Evidence


def find_evidence(trigger: Trigger, accounts: Sequence[Account], size: Size, nanos: int) -> Evidence | None:
    """Return the strongest evidence that a trigger's condition holds for a call of this size and cost, or None."""
    unit = trigger.unit
    per_call, taken = (
        (trigger.per_call_tokens, size.input_tokens + size.max_output_tokens)
        if unit is Unit.TOKENS
        else (trigger.per_call_nanos, nanos)
    )
    if per_call is not None and taken >= per_call:
        return Evidence("call", "{}", unit, taken, per_call)
    strongest: Evidence | None = None
    for account in accounts:
        limit, settled, held = account.figures(unit)
        used = settled + held
        if limit is None or used * 100 < trigger.at_percent * limit:
            continue
        # Compared by cross-multiplication: shares of different limits without a float.
        if strongest is None or used * strongest.limit > strongest.used * limit:
            strongest = Evidence(account.budget, account.subject, unit, used, limit)
    return strongest


def calls_before_evidence(trigger: Trigger, account: Account, taken: int) -> int | None:
    """Return how many calls that take so much come before an account is evidence; None where it never is."""
    limit, settled, held = account.figures(trigger.unit)
    if limit is None or not taken:
        return None
    missing = trigger.at_percent * limit - (settled + held) * 100
    return -(-missing // (taken * 100))


def choose_downgrade(trigger: Trigger, facts: CallFacts, size: Size, requires: Sequence[str]) -> Downgrade | None:
    """Return the first step from the call's model that can do all that the call requires."""
    for step in trigger.downgrades:
        if (
            step.model == facts.model
            and step.provider == facts.provider
            and set(requires) <= set(step.capabilities)
            and size.input_tokens + size.max_output_tokens <= step.context_tokens
        ):
            return step
    return None


def advice_value(advice: Advice) -> dict[str, Any]:
    """Return the JSON value of an advice, as the caller sees it and as it is stored."""
    evidence = advice.evidence
    money = evidence.unit is Unit.COST
    return {
        "trigger": advice.kind.value,
        "technique": advice.technique.value,
        "applied": advice.applied,
        "model": advice.downgrade.to_model if advice.downgrade else None,
        "evidence": {
            "budget": evidence.budget,
            "subject": json.loads(evidence.subject),
            "unit": evidence.unit.value,
            "used": format_money(evidence.used) if money else evidence.used,
            "limit": format_money(evidence.limit) if money else evidence.limit,
            "percent": evidence.percent,
        },
    }
