"""Owns short-lived tokens: for one user or one run of a tenant, to be handed to a browser (design D15).

A token is a JWT that this service signs with a key derived from its pepper, so every replica reads it and nothing is
stored. It names the API key that issued it, and ends with that key at the latest.
"""

import hmac
import secrets
from dataclasses import dataclass

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from token_ledger.core.tenant import TenantId

AUDIENCE = "token-ledger short-lived"
_LABEL = b"token-ledger short-lived tokens"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, which key issued it, and until when (seconds since 1970)."""

    tenant: TenantId
    key_id: str
    user: str | None
    run_id: int | None
    token_id: str
    expires_at: int


def signing_key(pepper: bytes) -> OctKey:
    """Return the key that tokens are signed with."""
    return OctKey.import_key(hmac.digest(pepper, _LABEL, "sha256"))


def new_token(
    key: OctKey, tenant: TenantId, key_id: str, *, user: str | None, run_id: int | None, now: int, ttl_seconds: int
) -> str:
    """Return a token for a user or a run, good for so many seconds from now."""
    claims = {
        "aud": AUDIENCE,
        "tenant": str(int(tenant)),
        "key": key_id,
        "iat": now,
        "exp": now + ttl_seconds,
        "jti": secrets.token_hex(8),
        **({"user": user} if user is not None else {"run": str(run_id)}),
    }
    return jwt.encode({"alg": "HS256"}, claims, key)


def read_token(key: OctKey, text: str, now: int) -> Claims | None:
    """Return what a token says, or None if it is not one of ours, was changed, or has ended."""
    try:
        token = jwt.decode(text, key, algorithms=["HS256"])
        registry = jwt.JWTClaimsRegistry(
            now=now,
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            jti={"essential": True},
            tenant={"essential": True},
            key={"essential": True},
        )
        registry.validate(token.claims)
    except (JoseError, ValueError):
        return None
    claims = token.claims
    user, run = claims.get("user"), claims.get("run")
    if (user is None) == (run is None) or not str(claims["tenant"]).isdecimal() or not str(run or 0).isdecimal():
        return None
    return Claims(
        TenantId(int(claims["tenant"])), claims["key"], user, None if run is None else int(run), claims["jti"],
        int(claims["exp"]),
    )  # fmt: skip
