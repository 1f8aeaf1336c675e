"""Owns short-lived tokens: they let a browser act for one user or one run of a tenant.

A token is a JWT signed with a key that is derived from the service's pepper, so every replica can check it and
nothing is stored. It names the API key that issued it, and stops working when that key does.
"""

import hmac
import secrets
from dataclasses import dataclass

from joserfc import jwt
from joserfc.jwk import OctKey

from token_ledger.core.model.tenant import TenantId

AUDIENCE = "token-ledger short-lived"
_LABEL = b"token-ledger short-lived tokens"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whom it is for, which key issued it, and until when (seconds since 1970)."""

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
    """Return a token for one user or one run, valid for `ttl_seconds`; `now` is in seconds since 1970."""
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
    """Return what a token says, or None if we did not sign it or it has expired; `now` is in seconds since 1970."""
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
    except Exception:  # anybody can send anything, and whatever is wrong with it, it is no token of ours
        return None
    claims = token.claims
    user, run = claims.get("user"), claims.get("run")
    if (user is None) == (run is None) or not str(claims["tenant"]).isdecimal() or not str(run or 0).isdecimal():
        return None
    return Claims(
        TenantId(int(claims["tenant"])), claims["key"], user, None if run is None else int(run), claims["jti"],
        int(claims["exp"]),
    )  # fmt: skip
