"""Answers about what raises the limit of an account: grants and increases."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.account import Grant
from token_ledger.core.model.increase import Increase, IncreaseState
from token_ledger.wire.answers.amounts import Amounts, limits_answer
from token_ledger.wire.fields import (
    InstantText,
    Replayed,
    answer,
    doc,
    example_of,
    instant,
    optional_id,
    optional_instant,
)

_MORE = {"tokens": 10_000, "cost": None, "calls": None}


@answer
class GrantAnswer(TypedDict):
    """A grant as it stands."""

    grant_id: Annotated[str, doc("The grant.", "68747264")]
    account_id: Annotated[str, doc("The account it was given to.", "68288513")]
    amounts: Annotated[Amounts, doc("What was given.", _MORE)]
    left: Annotated[Amounts, doc("What is not used of it. Grants are used in order of expiry.", _MORE)]
    expires_at: Annotated[
        InstantText | None, doc("When it lapses; null: at the end of the window.", "2026-11-28T18:00:00+00:00")
    ]
    lapsed_at: Annotated[InstantText | None, doc("When it lapsed; null while it is in force.", None)]
    reason: Annotated[str, doc("Why it was given.", "release on Friday")]
    given_by: Annotated[str, doc("Who gave it.", "key:1kQ8vR2mZx0a")]
    given_at: Annotated[InstantText, doc("When it was given.", "2026-11-21T09:30:00+00:00")]
    replayed: Replayed


def grant_answer(grant: Grant, *, replayed: bool = False) -> GrantAnswer:
    """Return a grant as it stands."""
    return {
        "grant_id": str(grant.grant_id),
        "account_id": str(grant.account_id),
        "amounts": limits_answer(grant.amounts),
        "left": limits_answer(grant.left),
        "expires_at": optional_instant(grant.expires_at),
        "lapsed_at": optional_instant(grant.lapsed_at),
        "reason": grant.reason,
        "given_by": grant.actor,
        "given_at": instant(grant.given_at),
        "replayed": replayed,
    }


@answer
class IncreaseAnswer(TypedDict):
    """An increase that was asked for, and what was decided."""

    increase_id: Annotated[str, doc("The increase.", "68812800")]
    account_id: Annotated[str, doc("The account it is for.", "68288513")]
    amounts: Annotated[Amounts, doc("What was asked for.", _MORE)]
    reason: Annotated[str, doc("Why.", "release on Friday")]
    asked_by: Annotated[str, doc("Who asked.", "ada")]
    asked_at: Annotated[InstantText, doc("When it was asked for.", "2026-11-21T09:30:00+00:00")]
    state: Annotated[IncreaseState, doc("Where it stands.", "approved")]
    decided_by: Annotated[str | None, doc("Who decided; null before that.", "key:1kQ8vR2mZx0a")]
    decided_at: Annotated[
        InstantText | None, doc("When it was decided; null before that.", "2026-11-21T10:05:00+00:00")
    ]
    note: Annotated[str | None, doc("What the decision says.", "approved until the deadline")]
    grant_id: Annotated[str | None, doc("The grant that was given, if the increase is for a time.", "68747264")]
    replayed: Replayed


@answer
class IncreaseList(TypedDict):
    """Increases."""

    increases: Annotated[
        list[IncreaseAnswer], doc("Increases, in the order they were asked for.", [example_of(IncreaseAnswer)])
    ]


def increase_answer(increase: Increase, *, replayed: bool = False) -> IncreaseAnswer:
    """Return an increase as it stands."""
    return {
        "increase_id": str(increase.increase_id),
        "account_id": str(increase.account_id),
        "amounts": limits_answer(increase.amounts),
        "reason": increase.reason,
        "asked_by": increase.asked_by,
        "asked_at": instant(increase.asked_at),
        "state": increase.state,
        "decided_by": increase.decided_by,
        "decided_at": optional_instant(increase.decided_at),
        "note": increase.note,
        "grant_id": optional_id(increase.grant_id),
        "replayed": replayed,
    }
