"""Answers about triggers."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.money import format_money
from token_ledger.core.model.trigger import Downgrade, Mode, Trigger, TriggerKind
from token_ledger.wire.fields import Replayed, answer, doc, example_of


@answer
class DowngradeAnswer(TypedDict):
    """A cheaper model that may stand in for another."""

    provider: Annotated[str, doc("Provider of the model that is called.", "openai")]
    model: Annotated[str, doc("Model that is called.", "gpt-5.4")]
    to_provider: Annotated[str, doc("Provider of the model that may stand in.", "openai")]
    to_model: Annotated[str, doc("Model that may stand in.", "gpt-5.4-mini")]
    capabilities: Annotated[list[str], doc("What the stand-in can do.", ["tools"])]
    context_tokens: Annotated[int, doc("Longest context of the stand-in, in tokens.", 400_000)]


@answer
class TriggerAnswer(TypedDict):
    """A trigger as it is set."""

    kind: Annotated[TriggerKind, doc("What the condition looks at.", "high_cost")]
    at_percent: Annotated[int, doc("Fires when this share of a limit is used, in percent.", 80)]
    mode: Annotated[Mode, doc("What it does when it fires.", "observe")]
    per_call_tokens: Annotated[int | None, doc("Also fires for a call of this many tokens or more.", 100_000)]
    per_call_cost: Annotated[
        str | None, doc("Also fires for a call that may cost this many dollars or more.", "0.500000000")
    ]
    downgrades: Annotated[
        list[DowngradeAnswer], doc("The ladder of stand-ins, in order.", [example_of(DowngradeAnswer)])
    ]
    replayed: Replayed


@answer
class TriggerList(TypedDict):
    """Triggers."""

    triggers: Annotated[list[TriggerAnswer], doc("The triggers that are set.", [example_of(TriggerAnswer)])]


def trigger_answer(trigger: Trigger, *, replayed: bool = False) -> TriggerAnswer:
    """Return a trigger as it is set."""
    return {
        "kind": trigger.kind,
        "at_percent": trigger.at_percent,
        "mode": trigger.mode,
        "per_call_tokens": trigger.per_call_tokens,
        "per_call_cost": None if trigger.per_call_nanos is None else format_money(trigger.per_call_nanos),
        "downgrades": [_downgrade(step) for step in trigger.downgrades],
        "replayed": replayed,
    }


def _downgrade(step: Downgrade) -> DowngradeAnswer:
    return {
        "provider": step.provider,
        "model": step.model,
        "to_provider": step.to_provider,
        "to_model": step.to_model,
        "capabilities": list(step.capabilities),
        "context_tokens": step.context_tokens,
    }
