"""Bodies that change the limit of an account: grants, increases and decisions on them."""

from typing import Annotated

from token_ledger.wire.bodies.budgets import SubjectBody
from token_ledger.wire.bodies.limits import LimitsBody
from token_ledger.wire.fields import Body, IdempotencyKey, Instant, Words, doc

_NOTE = Annotated[Words | None, doc("What to tell whoever asked.", "approved until the deadline")]


class AmountsBody(LimitsBody):
    """Raise the limit of an account, in units that it has a limit in."""

    idempotency_key: IdempotencyKey
    reason: Annotated[Words, doc("Why more is needed; it is kept with the limit's journal.", "release on Friday")]


_SUBJECT = Annotated[
    SubjectBody,
    doc(
        "The values that the account stands for: one for every dimension that its budget leaves open.", {"user": "ada"}
    ),
]


class SubjectAmountsBody(AmountsBody):
    """Raise the limit of a subject's account in the window under way."""

    subject: _SUBJECT


class GrantBody(AmountsBody):
    """Grant an account extra limit for a time."""

    expires_at: Annotated[
        Instant | None,
        doc("When the grant lapses; by default, when the account's window ends.", "2026-11-28T18:00:00Z"),
    ] = None


class SubjectGrantBody(GrantBody):
    """Grant a subject's account in the window under way extra limit for a time."""

    subject: _SUBJECT


class ApprovalBody(Body):
    """Approve an increase."""

    idempotency_key: IdempotencyKey
    note: _NOTE = None
    expires_at: Annotated[
        Instant | None, doc("Makes the increase a grant that lapses then.", "2026-11-28T18:00:00Z")
    ] = None


class RefusalBody(Body):
    """Refuse an increase."""

    idempotency_key: IdempotencyKey
    note: _NOTE = None
