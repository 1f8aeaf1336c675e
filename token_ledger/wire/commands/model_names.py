"""The command that renames a model."""

from token_ledger.core.batch.administration import RenameModel
from token_ledger.core.model.price import ModelName
from token_ledger.wire.bodies.model_names import RenamingBody
from token_ledger.wire.commands.fields import fingerprint_of


def rename_model_command(body: RenamingBody, actor: str) -> RenameModel:
    """Return the command that renames a model."""
    return RenameModel(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        asked=ModelName(body.asked.provider, body.asked.model),
        becomes=ModelName(body.becomes.provider, body.becomes.model),
        reason=body.reason,
        actor=actor,
    )
