"""Owns who is asking: finds the principal of an API key or token, and trusts what it found for a few seconds.

Nothing that a stranger sends is kept but its hash. Look-ups of one credential are one query, however many ask, and
strangers use a part of the readers only, so that they keep nobody out who is known.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext

from token_ledger.core.model.principal import Principal, Role
from token_ledger.identity.people import MOST_TOKEN_CHARACTERS, People, read_unverified
from token_ledger.identity.provider_documents import Network
from token_ledger.identity.short_lived_tokens import Claims, read_token, signing_key
from token_ledger.storage.api_keys import find_principal, is_in_force, parse_key
from token_ledger.storage.database import Database, DatabaseAway

KEY_TRUST_SECONDS = 5.0
"""How long a looked-up key or token is trusted before it is looked up again, while all changes are heard of."""
DEAF_TRUST_SECONDS = 0.9
"""How long it is trusted while changes of other processes may not be heard of: so no revoked key works for a second."""
MOST_REMEMBERED = 10_000
"""How many valid keys and tokens a process remembers, and how many others; beyond that it forgets the oldest."""
STRANGERS_AT_ONCE = 4
"""How many look-ups of credentials that are not remembered as valid may be under way."""
STRANGERS_WAITING = 1_000
"""How many such look-ups may wait; when a process has started, every client is a stranger."""

_Remembered = OrderedDict[bytes, tuple[float, float, Principal | None]]
"""By the hash of a credential: when it was looked up, until when it is believed, and who it stands for.

Instants are of the monotonic clock.
"""


class Authenticator:
    """Finds out who requests come from, and remembers the answers, also that a key is not valid."""

    def __init__(
        self, database: Database, pepper: bytes, *, is_started: Callable[[], bool], networks: tuple[Network, ...] = ()
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._is_started = is_started
        self.token_key = signing_key(pepper)
        self._people = People(database, networks)
        self._valid: _Remembered = OrderedDict()
        self._refused: _Remembered = OrderedDict()
        self._looking_up: dict[bytes, asyncio.Future[Principal | None]] = {}
        self._strangers = asyncio.Semaphore(STRANGERS_AT_ONCE)
        self._strangers_waiting = 0
        self._heard_all_until = float("-inf")

    async def authenticate(self, credential: str) -> Principal | None:
        """Return who an API key or token stands for, or None if it is not valid. Raises DatabaseAway, Unavailable."""
        if len(credential) > MOST_TOKEN_CHARACTERS:
            return None
        digest = _digest(credential)
        known = self._valid.get(digest)
        remembered = known or self._refused.get(digest)
        if remembered is not None and self._is_trusted(*remembered[:2]):
            return remembered[2]
        look_up = self._looking_up.get(digest)
        if look_up is None:
            look_up = asyncio.ensure_future(self._look_up(credential, digest, is_known=known is not None))
            self._looking_up[digest] = look_up
            look_up.add_done_callback(lambda done: self._looked_up(digest, done))
        # Shielded, because whoever asked first may go away while others wait.
        return await asyncio.shield(look_up)

    def remembered(self, credential: str) -> Principal | None:
        """Return who an API key or token stands for, if that is known without a look-up."""
        if len(credential) > MOST_TOKEN_CHARACTERS:
            return None
        known = self._valid.get(_digest(credential))
        return known[2] if known is not None and self._is_trusted(*known[:2]) else None

    def _is_trusted(self, asked: float, until: float) -> bool:
        """Return whether what was found at an instant still counts."""
        now = time.monotonic()
        return now < until and now - max(asked, self._heard_all_until) < DEAF_TRUST_SECONDS

    def _looked_up(self, digest: bytes, done: asyncio.Future[Principal | None]) -> None:
        if self._looking_up.get(digest) is done:
            del self._looking_up[digest]
        if not done.cancelled():
            done.exception()  # whoever waits raises it; without a call here asyncio would log it when nobody does

    async def _look_up(self, credential: str, digest: bytes, *, is_known: bool) -> Principal | None:
        now = time.time()
        key = parse_key(credential)
        token = None if key else read_token(self.token_key, credential, int(now))
        claimed = None if key or token else read_unverified(credential)
        if key is None and token is None and claimed is None:
            return None  # mistyped or made up: not worth a query
        if not self._is_started():
            raise DatabaseAway("the service is starting: it has not reached the database yet")
        if not is_known and self._strangers_waiting >= STRANGERS_WAITING:
            raise DatabaseAway("too many keys that are not known yet wait to be looked up")
        this = self._looking_up.get(digest)
        asked = time.monotonic()
        principal, expires_at = None, None
        self._strangers_waiting += not is_known
        try:
            async with nullcontext() if is_known else self._strangers:
                if key is not None:
                    async with self._database.reading(key[0]) as connection:
                        principal = await find_principal(connection, credential, self._pepper)
                elif token is not None:
                    principal, expires_at = await self._bearer_of(token), token.expires_at
                elif claimed is not None:
                    principal, expires_at = await self._people.find(credential, claimed)
        finally:
            self._strangers_waiting -= not is_known
        trust_seconds = KEY_TRUST_SECONDS if expires_at is None else min(KEY_TRUST_SECONDS, expires_at - now)
        if self._looking_up.get(digest) is this:  # else a key was revoked meanwhile, perhaps this one
            self._remember(digest, principal, asked, trust_seconds)
        return principal

    async def _bearer_of(self, token: Claims) -> Principal | None:
        """Return whom a short-lived token stands for, as long as the key that issued it is in force."""
        async with self._database.reading(token.tenant) as connection:
            if not await is_in_force(connection, token.tenant, token.key_id):
                return None
        return Principal(token.tenant, Role.USER, token.key_id, token.user, token.run_id, token.token_id)

    def _remember(self, digest: bytes, principal: Principal | None, asked: float, trust_seconds: float) -> None:
        self._valid.pop(digest, None)
        remembered = self._refused if principal is None else self._valid
        remembered[digest] = asked, asked + trust_seconds, principal
        remembered.move_to_end(digest)
        while len(remembered) > MOST_REMEMBERED:
            remembered.popitem(last=False)

    def forget(self) -> None:
        """Look every key up again, because one of them was revoked or an identity provider was removed."""
        self._valid = OrderedDict((digest, (0.0, 0.0, None)) for digest in self._valid)  # still no strangers
        self._refused.clear()
        self._looking_up.clear()

    def heard_all_until(self, instant: float) -> None:
        """Note that `forget` was called for every change before an instant of the monotonic clock."""
        self._heard_all_until = instant

    async def close(self) -> None:
        """Close the connections to identity providers."""
        await self._people.close()


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode()).digest()
