"""The command of a trigger."""

from token_ledger.core.batch.administration import SetTrigger
from token_ledger.core.model.money import parse_money
from token_ledger.core.model.trigger import Downgrade, Mode, TriggerKind
from token_ledger.wire.bodies.triggers import DowngradeBody, TriggerBody
from token_ledger.wire.commands.fields import fingerprint_of


def set_trigger_command(body: TriggerBody, actor: str) -> SetTrigger:
    """Return the command that sets a trigger."""
    return SetTrigger(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        kind=TriggerKind(body.kind),
        at_percent=body.at_percent,
        mode=Mode(body.mode),
        per_call_tokens=body.per_call_tokens,
        per_call_nanos=None if body.per_call_cost is None else parse_money(body.per_call_cost),
        downgrades=tuple(_downgrade(step) for step in body.downgrades),
        actor=actor,
    )


def _downgrade(step: DowngradeBody) -> Downgrade:
    return Downgrade(step.provider, step.model, step.to_provider, step.to_model, step.capabilities, step.context_tokens)
