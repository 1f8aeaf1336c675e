"""Bodies of triggers and their ladders of cheaper models."""

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from token_ledger.wire.fields import LARGEST_LIMIT, LARGEST_TOKENS, Body, IdempotencyKey, Money, Name, doc

_STEP = {
    "provider": "openai", "model": "gpt-5.4", "to_provider": "openai", "to_model": "gpt-5.4-mini",
    "capabilities": ["tools"], "context_tokens": 400_000,
}  # fmt: skip


class DowngradeBody(Body):
    """A cheaper model that may stand in for another, and what it can do."""

    provider: Annotated[Name, doc("Provider of the model that is called.", "openai")]
    model: Annotated[Name, doc("Model that is called.", "gpt-5.4")]
    to_provider: Annotated[Name, doc("Provider of the model that may stand in.", "openai")]
    to_model: Annotated[Name, doc("Model that may stand in.", "gpt-5.4-mini")]
    capabilities: Annotated[
        tuple[Name, ...],
        Field(max_length=32),
        doc("What the stand-in can do. A call that `requires` something else is not downgraded.", ["tools"]),
    ] = ()
    context_tokens: Annotated[
        StrictInt, Field(ge=1, le=LARGEST_TOKENS), doc("Longest context of the stand-in, in tokens.", 400_000)
    ]


class TriggerTerms(Body):
    """A condition on usage or cost, and what follows from it."""

    kind: Annotated[
        Literal["high_token_usage", "high_cost"],
        doc(
            "What the condition looks at. `high_token_usage` compresses, `high_cost` downgrades the model.", "high_cost"
        ),
    ]
    at_percent: Annotated[
        StrictInt,
        Field(ge=1, le=100),
        doc("Fires when this share of a limit on the call's path is used, in percent.", 80),
    ]
    mode: Annotated[
        Literal["off", "observe", "apply"],
        doc("`off` does nothing, `observe` advises, `apply` changes the call.", "observe"),
    ]
    per_call_tokens: Annotated[
        Annotated[StrictInt, Field(ge=1, le=LARGEST_LIMIT)] | None,
        doc("Also fires for a call of this many tokens or more.", 100_000),
    ] = None
    per_call_cost: Annotated[
        Money | None, doc("Also fires for a call that may cost this many dollars or more.", "0.50")
    ] = None
    downgrades: Annotated[
        tuple[DowngradeBody, ...],
        Field(max_length=64),
        doc("The ladder of stand-ins. The first that fits the call is taken.", [_STEP]),
    ] = ()


class TriggerBody(TriggerTerms):
    """Set the trigger of a kind, in place of the one before."""

    idempotency_key: IdempotencyKey
