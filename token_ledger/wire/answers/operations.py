"""The answer of a list of operations."""

from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from token_ledger.wire.fields import answer, doc


@answer
class OperationResult(TypedDict):
    """What became of one operation."""

    status: Annotated[int, doc("The HTTP status that its own route would have answered with.", 200)]
    body: Annotated[
        dict[str, Any],
        doc("The body that its own route would have answered with.", {"event_id": "68419584", "cost": "0.006900000"}),
    ]
    retry_after: NotRequired[
        Annotated[int, doc("The Retry-After that its own route would have answered with, in seconds.", 1)]
    ]


@answer
class OperationResults(TypedDict):
    """What became of operations."""

    tenant: Annotated[
        str, doc("The tenant of the key, so that a client knows with which other keys it may send what waits.", "7")
    ]
    role: Annotated[str, doc("The role of the key. Keys of another role have idempotency keys of their own.", "agent")]
    results: Annotated[
        list[OperationResult],
        doc(
            "One result per operation, in their order.",
            [{"status": 200, "body": {"event_id": "68419584", "cost": "0.006900000"}}],
        ),
    ]
