"""The body of a reversal."""

from typing import Annotated

from token_ledger.wire.fields import Body, Words, doc, like


class ReversalBody(Body):
    """Take back what was booked under a key."""

    model_config = like({"key": "call-1", "reason": "test traffic"})

    key: Annotated[
        Words,
        doc(
            "The key that it was booked under: of a recorded event (with its source), of a settlement, or of a "
            "reservation or lease: then everything that was booked on that. A settlement without a key of its own has "
            "`settle:<reservation_id>`.",
            "call-1",
        ),
    ]
    source: Annotated[Words | None, doc("The source of a recorded event; none for a call with a hold.", "batch")] = None
    reason: Annotated[Words, doc("Why it was wrong; it is kept in the audit log.", "booked on the wrong user")]
