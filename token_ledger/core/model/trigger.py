"""Owns triggers: conditions on an account's use or a call's size, and the advice that follows.

Every trigger that is not off is evaluated and its advice shown; its technique is applied only if the tenant's trigger
or the call itself switches it on. A downgrade leads to a model that has every capability the call requires.
"""

from dataclasses import dataclass
from enum import StrEnum

from token_ledger.core.model.budget import Unit
from token_ledger.core.model.subject import Subject


class TriggerKind(StrEnum):
    """The conditions that there are."""

    HIGH_TOKEN_USAGE = "high_token_usage"  # noqa: S105 - these tokens are no secrets
    HIGH_COST = "high_cost"


class Technique(StrEnum):
    """What a trigger would change about a call."""

    AGGRESSIVE_COMPRESSION = "aggressive_compression"
    MODEL_DOWNGRADE = "model_downgrade"


class Mode(StrEnum):
    """Whether a trigger is not evaluated, only shown, or applied to every call."""

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
    """A step from a model to a cheaper one, which has these capabilities and this context length."""

    provider: str
    model: str
    to_provider: str
    to_model: str
    capabilities: tuple[str, ...]
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """Fires when an account is used to `at_percent` or more, or when a call is as large as the per-call threshold."""

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
    """Why a trigger fired: what was used of which limit. The budget "call" means that the call itself is large."""

    budget: str
    subject: Subject
    unit: Unit
    used: int
    limit: int

    @property
    def percent(self) -> int:
        """The used share of the limit in whole percent; 100 for a limit of zero."""
        return self.used * 100 // self.limit if self.limit else 100


@dataclass(frozen=True, slots=True)
class Advice:
    """A trigger that fired, with its evidence and whether its technique is applied to this call."""

    kind: TriggerKind
    technique: Technique
    applied: bool
    downgrade: Downgrade | None
    evidence: Evidence
