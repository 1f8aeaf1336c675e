"""The body of a decision on an item in quarantine."""

from typing import Annotated

from token_ledger.wire.fields import Body, Words, doc


class VerdictBody(Body):
    """Say why an item in quarantine needs no more attention."""

    note: Annotated[
        Words, doc("What was done about it; it is kept in the audit log.", "sent again with the right model")
    ]
