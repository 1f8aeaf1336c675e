"""Answers about API keys and short-lived tokens."""

from datetime import datetime
from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.principal import Role
from token_ledger.storage.api_keys import KeyRow, RotatedKey
from token_ledger.wire.bodies.api_keys import TokenBody
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant, optional_instant

KeyId = Annotated[str, doc("Id of the key, to rotate or revoke it by.", "1kQ8vR2mZx0a")]
Secret = Annotated[str, doc("The key itself. It is shown only now.", "tl_live_1kQ8vR2mZx0a_7hY…")]
KeyRole = Annotated[Role, doc("What the key may do.", "agent")]
KeyName = Annotated[str, doc("What the key is for.", "data agents in production")]
ExpiresAt = Annotated[InstantText | None, doc("When the key ends; null for never.", "2027-11-21T00:00:00+00:00")]


@answer
class NewKeyAnswer(TypedDict):
    """A new API key."""

    key_id: KeyId
    key: Secret
    role: KeyRole
    name: KeyName


def new_key_answer(key_id: str, key: str, role: Role, name: str) -> NewKeyAnswer:
    """Return a new API key."""
    return {"key_id": key_id, "key": key, "role": role, "name": name}


@answer
class RotatedKeyAnswer(NewKeyAnswer):
    """A new API key in place of another."""

    expires_at: ExpiresAt
    old_key_expires_at: Annotated[InstantText, doc("When the old key ends.", "2026-11-22T09:30:00+00:00")]


def rotated_key_answer(rotated: RotatedKey) -> RotatedKeyAnswer:
    """Return a new API key in place of another."""
    return {
        **new_key_answer(rotated.key_id, rotated.key, rotated.role, rotated.name),
        "expires_at": optional_instant(rotated.expires_at),
        "old_key_expires_at": instant(rotated.old_expires_at),
    }


@answer
class KeyAnswer(TypedDict):
    """An API key without its secret."""

    key_id: KeyId
    name: KeyName
    role: KeyRole
    created_at: Annotated[InstantText, doc("When it was made.", "2026-11-21T09:30:00+00:00")]
    expires_at: ExpiresAt
    revoked_at: Annotated[InstantText | None, doc("When it was revoked; null if it was not.", None)]


@answer
class KeyList(TypedDict):
    """API keys."""

    api_keys: Annotated[list[KeyAnswer], doc("API keys, newest first.", [example_of(KeyAnswer)])]


def key_answer(key: KeyRow) -> KeyAnswer:
    """Return an API key without its secret."""
    return {
        "key_id": key.key_id,
        "name": key.name,
        "role": key.role,
        "created_at": instant(key.created_at),
        "expires_at": optional_instant(key.expires_at),
        "revoked_at": optional_instant(key.revoked_at),
    }


@answer
class RevokedKeyAnswer(TypedDict):
    """An API key that was revoked."""

    key_id: KeyId
    revoked_at: Annotated[InstantText, doc("When it was revoked.", "2026-11-21T09:30:00+00:00")]


def revoked_key_answer(key_id: str, revoked_at: datetime) -> RevokedKeyAnswer:
    """Return an API key that was revoked."""
    return {"key_id": key_id, "revoked_at": instant(revoked_at)}


@answer
class TokenAnswer(TypedDict):
    """A short-lived token for one user or one run."""

    token: Annotated[str, doc("Send it as a key: `Authorization: Bearer <token>`.", "eyJhbGciOiJIUzI1NiJ9…")]
    ttl_seconds: Annotated[int, doc("How long it is valid, in seconds.", 900)]
    user: Annotated[str | None, doc("The user it is for.", "ada")]
    run_id: Annotated[str | None, doc("The run it is for.", None)]


def token_answer(token: str, body: TokenBody) -> TokenAnswer:
    """Return a short-lived token for whom a body names."""
    return {"token": token, "ttl_seconds": body.ttl_seconds, "user": body.user, "run_id": body.run_id}
