"""Bodies of names of models."""

from typing import Annotated

from token_ledger.wire.fields import Body, IdempotencyKey, Name, Words, doc, like

_OLD, _NEW = {"provider": "openai", "model": "gpt-5.4"}, {"provider": "openai", "model": "gpt-5.5"}


class ModelNameBody(Body):
    """A name of a model."""

    provider: Annotated[Name, doc("Provider of the model.", "openai")]
    model: Annotated[Name, doc("Name of the model.", "gpt-5.4")]


class RenamingBody(Body):
    """Call a model otherwise in the books from now on."""

    model_config = like({"idempotency_key": "one-model", "asked": _OLD, "becomes": _NEW, "reason": "one model"})

    idempotency_key: IdempotencyKey
    asked: Annotated[
        ModelNameBody,
        doc(
            "A name that callers use. If it is the name in the books itself, all names that lead to it go along; "
            "otherwise only this one.",
            _OLD,
        ),
    ]
    becomes: Annotated[ModelNameBody, doc("What it is in the books from now on; any name of that model will do.", _NEW)]
    reason: Annotated[Words, doc("Why; it is kept in the audit log.", "one model")]
