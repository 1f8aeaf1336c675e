"""The body of a decision on an item in quarantine."""

from typing import Annotated

from pydantic import Field

from token_ledger.wire.fields import Body, Id, IdempotencyKey, Instant, Words, doc, like


class VerdictBody(Body):
    """Say why an item in quarantine needs no more attention."""

    note: Annotated[
        Words, doc("What was done about it; it is kept in the audit log.", "sent again with the right model")
    ]


class VerdictsBody(VerdictBody):
    """Say why items need no more attention: those open ones that have all of what is given."""

    model_config = like({"idempotency_key": "decide-1", "code": "time_out_of_range", "note": "a clock was wrong"})

    idempotency_key: IdempotencyKey
    code: Annotated[Words | None, doc("Items with this code of the problem.", "time_out_of_range")] = None
    source: Annotated[Words | None, doc("Items from this source of events.", "nightly-import")] = None
    before: Annotated[Instant | None, doc("Items that came before this instant.", "2026-11-21T09:30:00Z")] = None
    quarantine_ids: Annotated[
        Annotated[tuple[Id, ...], Field(min_length=1, max_length=1_000)] | None, doc("These items.", ["68550656"])
    ] = None
