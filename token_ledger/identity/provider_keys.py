"""Owns the public keys of identity providers: fetches them when a token names a key that is not known yet.

So a provider may rotate its keys at any time. How often they are fetched is limited, because anybody can make up a
key name.
"""

import asyncio
import json
import logging
import time
from typing import Any, Final

import httpx2
from joserfc.jwk import KeySet

from token_ledger.identity.provider_documents import AddressRefused, Network, ProviderDocuments
from token_ledger.ledger.errors import Unavailable
from token_ledger.storage.identity_providers import IdentityProvider

log = logging.getLogger(__name__)

KEYS_TRUST_SECONDS = 3_600.0
"""How long fetched keys are trusted: a key that a provider withdrew is refused after this time."""
FETCH_AGAIN_SECONDS = 10.0
"""For how long after a fetch, whatever became of it, keys are not fetched again."""
FETCH_SECONDS = 5.0
"""How long fetching the keys of a provider may take in all, however slowly it answers."""

_NEVER: Final = float("-inf"), None
_UNUSABLE: Final = KeySet([])
"""The keys of a provider that publishes something else than keys: no token is signed with one of them."""


class ProviderKeys:
    """The keys of identity providers, fetched when they are needed."""

    def __init__(self, networks: tuple[Network, ...] = ()) -> None:
        self._documents = ProviderDocuments(networks, timeout_seconds=FETCH_SECONDS)
        self._sets: dict[tuple[str, str | None], tuple[float, KeySet | None]] = {}
        self._fetching: dict[tuple[str, str | None], asyncio.Lock] = {}

    async def find(self, provider: IdentityProvider, key_name: str | None) -> KeySet:
        """Return a provider's keys, fetched again if the named key is not among them.

        Raises Unavailable if they can't be fetched and none are known.
        """
        where = provider.issuer, provider.jwks_url
        fetched, keys = self._sets.get(where, _NEVER)
        if keys is not None and _has(keys, key_name) and time.monotonic() - fetched < KEYS_TRUST_SECONDS:
            return keys  # a caller with a known key does not wait for a fetch that somebody else caused
        async with self._fetching.setdefault(where, asyncio.Lock()):
            fetched, keys = self._sets.get(where, _NEVER)
            is_known = keys is not None and _has(keys, key_name)
            if time.monotonic() - fetched >= (KEYS_TRUST_SECONDS if is_known else FETCH_AGAIN_SECONDS):
                try:
                    keys = await self._fetch(provider, keys)
                finally:  # also when whoever asks goes away meanwhile
                    self._sets[where] = time.monotonic(), keys
        if keys is None:
            raise Unavailable(f"the keys of the identity provider {provider.issuer} can't be fetched")
        return keys

    async def _fetch(self, provider: IdentityProvider, known: KeySet | None) -> KeySet | None:
        """Return a provider's keys; while they can't be had, those that are known stay trusted."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._read(provider)
        except (httpx2.HTTPError, AddressRefused, OSError) as error:
            _warn(provider, error)
            return known
        except Exception as error:  # whatever it publishes, it is no fault of this service
            _warn(provider, error)
            return known or _UNUSABLE

    async def _read(self, provider: IdentityProvider) -> KeySet:
        url = provider.jwks_url
        if url is None:
            known = await self._read_object(f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
            if known.get("issuer") != provider.issuer:
                raise ValueError(f"the discovery document names another issuer, {known.get('issuer')!r}")
            url = str(known.get("jwks_uri"))
        return KeySet.import_key_set(await self._read_object(url))  # type: ignore[arg-type]

    async def _read_object(self, url: str) -> dict[str, Any]:
        value = json.loads(await self._documents.fetch(url))
        if not isinstance(value, dict):
            raise ValueError(f"{url} is not a JSON object")
        return value

    async def close(self) -> None:
        """Close the connections."""
        await self._documents.close()


def _warn(provider: IdentityProvider, error: Exception) -> None:
    log.warning(
        "could not fetch the keys of an identity provider",
        extra={"issuer": provider.issuer, "why": f"{type(error).__name__}: {error}"[:500]},
    )


def _has(keys: KeySet, key_name: str | None) -> bool:
    return key_name is None or any(key.kid == key_name for key in keys)
