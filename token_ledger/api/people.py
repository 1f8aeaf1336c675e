"""Owns how people are known: by bearer tokens that an identity provider signed (OpenID Connect; design D15).

Which tenant a token is for is said by its issuer and audience, and nothing in it is believed before its signature is
checked with a key of that issuer. Keys are fetched when a token names one that is not known yet, so a provider may
rotate them at any time; how often is bounded, because anybody can make up a name.
"""

import asyncio
import base64
import binascii
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from token_ledger.core.tenant import TenantId
from token_ledger.ledger.errors import Unavailable
from token_ledger.storage.api_keys import Principal, Role
from token_ledger.storage.database import Database
from token_ledger.storage.identity_providers import IdentityProvider, find_providers

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""Signatures with a public key only: a shared secret would be the provider's public key, which everybody knows."""
LEEWAY_SECONDS = 60
"""By how much the clocks of provider and service may differ."""
LARGEST_TOKEN = 16_384
KEYS_SECONDS = 3_600.0
"""How long fetched keys are believed: a key that a provider withdrew is refused after this time."""
FETCH_AGAIN_SECONDS = 10.0
"""How long after a fetch an unknown key is refused without asking again."""
FETCH_SECONDS = 5.0
LARGEST_DOCUMENT = 1_000_000

_HOST = re.compile(r"[\w.:-]+")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a token says about itself, before anything of it is believed."""

    issuer: str
    audiences: frozenset[str]
    key_name: str | None


def claimed(text: str) -> Claimed | None:
    """Return what a token says about itself, or None if it is not a signed token of a kind that is read."""
    if len(text) > LARGEST_TOKEN or text.count(".") != 2:
        return None
    try:
        header, payload = (_object(part) for part in text.split(".")[:2])
    except (ValueError, binascii.Error, RecursionError):
        return None
    issuer, audience, key_name = payload.get("iss"), payload.get("aud"), header.get("kid")
    audiences: list[Any] = audience if isinstance(audience, list) else [audience]
    named = key_name is None or isinstance(key_name, str)
    if not isinstance(issuer, str) or not all(isinstance(each, str) for each in audiences) or not named:
        return None
    if header.get("alg") not in ALGORITHMS or "crit" in header or not _PRINTABLE.fullmatch(issuer):
        return None  # an extension that must be understood is not: none is
    return Claimed(issuer, frozenset(audiences), key_name)


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
    """Return who a token stands for, or None if it is not good: signature, issuer, audience, time, name or role."""
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
    except (JoseError, ValueError, TypeError):
        return None
    name = claims.get(provider.user_claim)
    if not isinstance(name, str) or not _PRINTABLE.fullmatch(name):
        return None
    if provider.user_claim == "email" and claims.get("email_verified") is not True:
        return None  # whoever may choose their own address could choose somebody else's
    given = _claim(claims, provider.role_claim)
    role = provider.role_of(frozenset(each for each in given if isinstance(each, str)))
    return None if role is None else Person(name, role, int(claims["exp"]))


def _claim(claims: Mapping[str, Any], path: str | None) -> list[Any]:
    """Return the values of a claim; a name with dots may also be a path, as in realm_access.roles."""
    found: Any = claims.get(path) if path is not None else None
    if found is None and path is not None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, list) else [found]


_NEVER: Final = float("-inf"), None


class KeySets:
    """The keys of identity providers, fetched when they are needed."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._sets: dict[tuple[str, str | None], tuple[float, KeySet | None]] = {}
        self._fetching: dict[tuple[str, str | None], asyncio.Lock] = {}

    async def find(self, provider: IdentityProvider, key_name: str | None) -> KeySet:
        """Return a provider's keys, fetched anew if the one named is not among them.

        Raises Unavailable where they can't be fetched and none are known.
        """
        where = provider.issuer, provider.jwks_url
        fetched, keys = self._sets.get(where, _NEVER)
        if keys is not None and _has(keys, key_name) and time.monotonic() - fetched < KEYS_SECONDS:
            return keys  # whoever comes with a known key does not wait for a fetch that somebody else caused
        async with self._fetching.setdefault(where, asyncio.Lock()):
            fetched, keys = self._sets.get(where, _NEVER)
            good_for = KEYS_SECONDS if keys is not None and _has(keys, key_name) else FETCH_AGAIN_SECONDS
            if time.monotonic() - fetched >= good_for:
                keys = await self._fetched(provider) or keys  # while a provider is away, what it said last is believed
                self._sets[where] = time.monotonic(), keys
        if keys is None:
            raise Unavailable(f"the keys of the identity provider {provider.issuer} can't be fetched")
        return keys

    async def _fetched(self, provider: IdentityProvider) -> KeySet | None:
        try:
            url = provider.jwks_url
            if url is None:
                known = await self._document(f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
                if known.get("issuer") != provider.issuer:
                    raise ValueError(f"the discovery document is of {known.get('issuer')!r}")
                url = checked_url(str(known.get("jwks_uri")))
            return KeySet.import_key_set(await self._document(url))  # type: ignore[arg-type]
        except (httpx2.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "keys of an identity provider not fetched", extra={"issuer": provider.issuer, "why": str(error)}
            )
            return None

    async def _document(self, url: str) -> dict[str, Any]:
        async with self._http.stream("GET", url) as response:
            response.raise_for_status()
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_DOCUMENT:
                    raise ValueError(f"{url} has more than {LARGEST_DOCUMENT} bytes")
        value = json.loads(body)
        if not isinstance(value, dict):
            raise ValueError(f"{url} is not a JSON object")
        return value


def _has(keys: KeySet, key_name: str | None) -> bool:
    return key_name is None or any(key.kid == key_name for key in keys)


def checked_url(url: str) -> str:
    """Return an address that keys may be fetched from: https, or http on this machine; ValueError for others."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"{url!r} is no address: {error}") from None
    is_local = parsed.scheme == "http" and parsed.host in ("localhost", "127.0.0.1", "::1")
    if _HOST.fullmatch(parsed.host) and (parsed.scheme == "https" or is_local):
        return url
    raise ValueError(f"{url!r} is not https")


class People:
    """Knows people by their tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._http = httpx2.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False, trust_env=True)
        self._keys = KeySets(self._http)

    async def find(self, text: str, told: Claimed) -> tuple[Principal, int] | None:
        """Return who a token stands for and until when, or None. Raises DatabaseAway, Unavailable."""
        async with self._database.reading() as connection:
            providers = await find_providers(connection, told.issuer)
        for tenant, provider in providers:
            if provider.audience in told.audiences:
                keys = await self._keys.find(provider, told.key_name)
                person = read_person(provider, keys, text, int(time.time()))
                if person is not None:
                    return _principal(tenant, person), person.expires_at
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _principal(tenant: TenantId, person: Person) -> Principal:
    user = person.name if person.role is Role.USER else None
    return Principal(tenant, person.role, "", user=user, person=person.name)
