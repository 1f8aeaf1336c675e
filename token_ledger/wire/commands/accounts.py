"""Commands that change the limit of an account: grants, increases and decisions on them."""

from datetime import datetime

from token_ledger.core.batch import administration
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.subject import Subject
from token_ledger.wire.bodies import accounts as bodies
from token_ledger.wire.commands.fields import fingerprint_of, limits_of
from token_ledger.wire.problems import invalid_field


def grant_command(body: bodies.GrantBody, account_id: int, actor: str) -> administration.GiveGrant:
    """Return the command that gives a grant to an account."""
    return administration.GiveGrant(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body, account_id),
        account_id=account_id,
        amounts=_amounts(body),
        reason=body.reason,
        actor=actor,
        expires_at=body.expires_at,
    )


def subject_grant_command(body: bodies.SubjectGrantBody, budget_id: int, actor: str) -> administration.GiveGrant:
    """Return the command that gives a grant to a subject's account."""
    return administration.GiveGrant(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body, budget_id),
        account_id=None,
        amounts=_amounts(body),
        reason=body.reason,
        actor=actor,
        expires_at=body.expires_at,
        budget_id=budget_id,
        subject=Subject(body.subject),
    )


def ask_subject_increase_command(
    body: bodies.SubjectAmountsBody, budget_id: int, asked_by: str
) -> administration.AskIncrease:
    """Return the command that asks for an increase of a subject's account."""
    return administration.AskIncrease(
        body.idempotency_key, fingerprint_of(body, budget_id), None, _amounts(body), body.reason, asked_by,
        budget_id, Subject(body.subject),
    )  # fmt: skip


def ask_increase_command(body: bodies.AmountsBody, account_id: int, asked_by: str) -> administration.AskIncrease:
    """Return the command that asks for an increase."""
    print_ = fingerprint_of(body, account_id)
    return administration.AskIncrease(body.idempotency_key, print_, account_id, _amounts(body), body.reason, asked_by)


def approve_increase_command(body: bodies.ApprovalBody, increase_id: int, actor: str) -> administration.DecideIncrease:
    """Return the command that approves an increase."""
    return _decision(body, increase_id, actor, approve=True, expires_at=body.expires_at)


def refuse_increase_command(body: bodies.RefusalBody, increase_id: int, actor: str) -> administration.DecideIncrease:
    """Return the command that refuses an increase."""
    return _decision(body, increase_id, actor, approve=False)


def _decision(
    body: bodies.ApprovalBody | bodies.RefusalBody, increase_id: int, actor: str,
    *, approve: bool, expires_at: datetime | None = None,
) -> administration.DecideIncrease:  # fmt: skip
    return administration.DecideIncrease(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body, increase_id) + bytes([approve]),
        increase_id=increase_id,
        approve=approve,
        actor=actor,
        note=body.note,
        expires_at=expires_at,
    )


def _amounts(body: bodies.AmountsBody) -> Limits:
    amounts = limits_of(body)
    if not any(amounts.amounts) or 0 in amounts.amounts:
        raise invalid_field("tokens", "give tokens, cost or calls, each more than 0")
    return amounts
