"""Routes of API keys."""

from datetime import timedelta

from fastapi import APIRouter, Request

from token_ledger.api.access import Admin, actor_of
from token_ledger.api.parameters import KeyId
from token_ledger.api.service import changing, reading, service_of
from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.principal import Role
from token_ledger.storage.api_keys import add_key, list_keys, revoke_key, rotate_key
from token_ledger.storage.upkeep.periods import database_now
from token_ledger.wire.answers import api_keys as answers
from token_ledger.wire.bodies.api_keys import ApiKeyBody, RotationBody
from token_ledger.wire.problems import ProblemError, RequestCode, invalid_field

router = APIRouter(prefix="/v1", tags=["keys"])


@router.post("/api-keys", status_code=201)
async def create_key(request: Request, admin: Admin, body: ApiKeyBody) -> answers.NewKeyAnswer:
    """Make an API key.

    The key is shown only now: the service stores a hash of it.
    """
    service = service_of(request)
    async with changing(request, admin.tenant) as connection:
        if body.expires_at is not None and body.expires_at <= await database_now(connection):
            detail = f"{body.expires_at.isoformat()} is past, so the key would never be valid; give a later instant"
            raise invalid_field("expires_at", detail, Code.TIME_OUT_OF_RANGE)
        key, key_id = await add_key(
            connection, admin.tenant, Role(body.role), body.name,
            environment=service.settings.environment, pepper=service.pepper, actor=actor_of(admin),
            expires_at=body.expires_at,
        )  # fmt: skip
    return answers.new_key_answer(key_id, key, Role(body.role), body.name)


@router.post("/api-keys/{key_id}/rotate", status_code=201)
async def rotate_api_key(request: Request, admin: Admin, key_id: KeyId, body: RotationBody) -> answers.RotatedKeyAnswer:
    """Rotate an API key.

    The new key has the role, name and expiry of the old one, which stays valid for `overlap_seconds`. It is shown only
    now.
    """
    service = service_of(request)
    rotated = None
    if _is_key_id(key_id):
        async with changing(request, admin.tenant) as connection:
            rotated = await rotate_key(
                connection, admin.tenant, key_id, timedelta(seconds=body.overlap_seconds),
                environment=service.settings.environment, pepper=service.pepper, actor=actor_of(admin),
            )  # fmt: skip
    if rotated is None:
        raise ProblemError(
            RequestCode.NOT_FOUND, f"there is no API key {key_id!r} in force; list the keys to find its id"
        )
    service.authenticator.forget()
    return answers.rotated_key_answer(rotated)


@router.get("/api-keys")
async def get_keys(request: Request, admin: Admin) -> answers.KeyList:
    """List API keys.

    Newest first, without their secrets.
    """
    async with reading(request, admin.tenant) as connection:
        found = await list_keys(connection, admin.tenant)
    return {"api_keys": [answers.key_answer(key) for key in found]}


@router.delete("/api-keys/{key_id}")
async def delete_key(request: Request, admin: Admin, key_id: KeyId) -> answers.RevokedKeyAnswer:
    """Revoke an API key.

    Every process refuses it, and the tokens that it issued, within a second. Their live streams end.
    """
    revoked_at = None
    if _is_key_id(key_id):
        async with changing(request, admin.tenant) as connection:
            revoked_at = await revoke_key(connection, admin.tenant, key_id, actor=actor_of(admin))
    if revoked_at is None:
        raise ProblemError(RequestCode.NOT_FOUND, f"there is no API key {key_id!r}; list the keys to find its id")
    service_of(request).authenticator.forget()
    return answers.revoked_key_answer(key_id, revoked_at)


def _is_key_id(text: str) -> bool:
    # PostgreSQL does not take every text, and no other text is the id of a key.
    return text.isascii() and text.isalnum()
