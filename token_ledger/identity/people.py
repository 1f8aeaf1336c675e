"""Owns people: who a bearer token stands for that an identity provider signed (OpenID Connect).

Its issuer and audience say which tenant a token is for. Nothing in it is trusted until its signature has been checked
with a key of that issuer.
"""

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet

from token_ledger.core.model.name import clean_name
from token_ledger.core.model.principal import Principal, Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.identity.provider_documents import Network
from token_ledger.identity.provider_keys import ProviderKeys
from token_ledger.storage.database import Database
from token_ledger.storage.identity_providers import IdentityProvider, find_providers

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""Signatures with a key pair only. With HMAC, the provider's public key would serve as the shared secret."""
LEEWAY_SECONDS = 60
"""How far the provider's clock and ours may differ."""
MOST_TOKEN_CHARACTERS = 16_384

_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
"""What the database can store; half a surrogate pair can't be encoded."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says about itself, before its signature is checked."""

    issuer: str
    audiences: frozenset[str]
    key_name: str | None


def read_unverified(text: str) -> Unverified | None:
    """Return what a token says about itself, or None if it is not a signed token of a kind that we read."""
    if len(text) > MOST_TOKEN_CHARACTERS or text.count(".") != 2:
        return None
    try:
        header, payload = (_object(part) for part in text.split(".")[:2])
    except (ValueError, RecursionError):
        return None
    issuer, audience, key_name = payload.get("iss"), payload.get("aud"), header.get("kid")
    audiences: list[Any] = audience if isinstance(audience, list) else [audience]
    if not isinstance(issuer, str) or not all(isinstance(each, str) for each in audiences):
        return None
    if key_name is not None and not isinstance(key_name, str):
        return None
    if header.get("alg") not in ALGORITHMS or not _PRINTABLE.fullmatch(issuer):
        return None
    if "crit" in header:
        return None  # it lists extensions that a reader must support, and we support none
    return Unverified(issuer, frozenset(audiences), key_name)


def _object(part: str) -> dict[str, Any]:
    value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


@dataclass(frozen=True, slots=True)
class Person:
    """Who somebody is, what they may do, and until when (seconds since 1970)."""

    name: str
    role: Role
    expires_at: int


def read_person(provider: IdentityProvider, keys: KeySet, text: str, now: int) -> Person | None:
    """Return who a token stands for, or None unless its signature, issuer, audience, times, name and role are valid."""
    try:
        claims = jwt.decode(text, keys, algorithms=ALGORITHMS).claims
        registry = jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": provider.issuer},
            aud={"essential": True, "value": provider.audience},
            exp={"essential": True},
        )
        registry.validate(claims)
        expires_at = int(claims["exp"])
    except Exception:  # anybody can send anything, and whatever is wrong with it, it is no valid token
        return None
    name = _name(claims.get(provider.user_claim))
    if name is None:
        return None
    if provider.user_claim == "email" and claims.get("email_verified") is not True:
        return None  # without a check, people could enter somebody else's address
    claimed = _claim(claims, provider.role_claim)
    role = provider.role_of(frozenset(each for each in claimed if isinstance(each, str)))
    return None if role is None else Person(name, role, expires_at)


def _name(claimed: Any) -> str | None:
    """Return the one spelling of a person's name, or None if it is none."""
    try:
        return clean_name(claimed) if isinstance(claimed, str) else None
    except ValueError:
        return None


def _claim(claims: Mapping[str, Any], path: str | None) -> list[Any]:
    """Return the values of a claim; a name with dots may also be a path, as in realm_access.roles."""
    found: Any = claims.get(path) if path is not None else None
    if found is None and path is not None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, list) else [found]


class People:
    """Finds people by the tokens of their tenant's identity provider."""

    def __init__(self, database: Database, networks: tuple[Network, ...] = ()) -> None:
        self._database = database
        self._keys = ProviderKeys(networks)

    async def find(self, text: str, unverified: Unverified) -> tuple[Principal | None, int | None]:
        """Return who a token stands for and until when, or neither. Raises DatabaseAway, Unavailable."""
        async with self._database.reading() as connection:
            providers = await find_providers(connection, unverified.issuer)
        for tenant, provider in providers:
            if provider.audience in unverified.audiences:
                keys = await self._keys.find(provider, unverified.key_name)
                person = read_person(provider, keys, text, int(time.time()))
                if person is not None:
                    return _principal(tenant, person), person.expires_at
        return None, None

    async def close(self) -> None:
        """Close the connections to identity providers."""
        await self._keys.close()


def _principal(tenant: TenantId, person: Person) -> Principal:
    user = person.name if person.role is Role.USER else None
    return Principal(tenant, person.role, "", user=user, person=person.name)
