"""Owns what one service process holds: its database, its group commit, its metrics, its cache of API keys."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry

import token_ledger
from token_ledger.api.people import People, claimed
from token_ledger.api.tokens import Claims, read_token, signing_key
from token_ledger.config import Settings
from token_ledger.core.commands import Command
from token_ledger.core.outcomes import Outcome
from token_ledger.core.tenant import TenantId
from token_ledger.ledger.counting import BatchCounter
from token_ledger.ledger.errors import Unavailable
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.observability.metrics import Metrics
from token_ledger.storage.api_keys import Principal, Role, find_principal, key_in_force, parse_key
from token_ledger.storage.database import Database, DatabaseAway
from token_ledger.storage.migrations import current_revision, head_revision
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.tenants import all_tenants

log = logging.getLogger(__name__)

KEY_SECONDS = 5.0
"""How long a key that was looked up is believed: a revocation takes effect within this time."""
_REMEMBERED_KEYS = 10_000
_START_AGAIN_SECONDS = 1.0


class Service:
    """One process's state. It starts while the database is away and becomes ready when it can be reached."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, version=token_ledger.__version__)
        self.database = Database(url, writers=settings.writer_connections, readers=settings.reader_connections)
        self.stopping = asyncio.Event()
        self._pepper = settings.pepper()
        self.token_key = signing_key(self._pepper)
        self._people = People(self.database)
        self._commits: GroupCommit | None = None
        self._keys: OrderedDict[str, tuple[float, Principal | None]] = OrderedDict()
        self._head = head_revision()
        self._counter = BatchCounter(self.metrics)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what the process needs beside its requests; at the end wait for the batches under way."""
        starting = asyncio.create_task(self._start_until_ready())
        try:
            yield
        finally:
            self.stopping.set()
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            if self._commits is not None:
                await self._commits.drain()
            await self._people.close()
            await self.database.close()

    async def submit(self, tenant: TenantId, command: Command) -> Outcome:
        """Return the outcome of a command; raises the errors of `ledger.errors`."""
        if self._commits is None:
            raise Unavailable("the service is starting: the database was not reached yet")
        return await self._commits.submit(tenant, command)

    def remembered(self, key: str) -> Principal | None:
        """Return who a key stands for if it was looked up a moment ago."""
        found = self._keys.get(key)
        return found[1] if found is not None and found[0] > time.monotonic() else None

    async def authenticate(self, key: str) -> Principal | None:
        """Return who a key stands for, or None. Raises DatabaseAway."""
        found = self._keys.get(key)
        if found is not None and found[0] > time.monotonic():
            return found[1]
        now = time.time()
        named = parse_key(key)
        claims = None if named else read_token(self.token_key, key, int(now))
        told = None if named or claims else claimed(key)
        if named is None and claims is None and told is None:
            return None
        if self._commits is None:
            raise DatabaseAway("the service is starting: the database was not reached yet")
        principal, believed = None, KEY_SECONDS
        if named is not None:
            async with self.database.reading(named[0]) as connection:
                principal = await find_principal(connection, key, self._pepper)
        elif claims is not None:
            principal = await self._bearer_of(claims)
            believed = min(KEY_SECONDS, claims.expires_at - now)
        elif told is not None and (person := await self._people.find(key, told)) is not None:
            principal, expires_at = person
            believed = min(KEY_SECONDS, expires_at - now)
        self._keys[key] = time.monotonic() + believed, principal
        self._keys.move_to_end(key)
        while len(self._keys) > _REMEMBERED_KEYS:
            self._keys.popitem(last=False)
        return principal

    async def _bearer_of(self, claims: Claims) -> Principal | None:
        """Return whom a token stands for while the key that issued it is in force."""
        async with self.database.reading(claims.tenant) as connection:
            if not await key_in_force(connection, claims.tenant, claims.key_id):
                return None
        return Principal(claims.tenant, Role.USER, claims.key_id, claims.user, claims.run_id, claims.token_id)

    def forget_keys(self) -> None:
        """Look every key up again, because one was revoked here."""
        self._keys.clear()

    def tenant_name(self, tenant: TenantId) -> str:
        """Return the name that a tenant has in metrics."""
        return self._counter.names.get(tenant) or str(tenant)

    def name_tenant(self, tenant: TenantId, name: str) -> None:
        """Remember the name of a tenant that was made here."""
        self._counter.names[tenant] = name

    @property
    def pepper(self) -> bytes:
        """The secret that key hashes are made with."""
        return self._pepper

    async def why_not_ready(self) -> str | None:
        """Return what keeps this process from serving, or None."""
        if self.stopping.is_set():
            return "the process is stopping"
        if self._commits is None:
            return "the database was not reached yet"
        try:
            async with asyncio.timeout(2), self.database.reading() as connection:
                revision = await connection.run_sync(current_revision)
        except (DatabaseAway, TimeoutError) as error:
            return str(error) or "the database did not answer within 2 s"
        if revision != self._head:
            return f"the database is at revision {revision}, this version needs {self._head}: run token-ledger migrate"
        return None

    async def _start_until_ready(self) -> None:
        while self._commits is None:
            try:
                await self._start()
            except Exception as error:  # whatever it is, the process stays up and says why at /readyz
                log.warning("not ready yet", extra={"reason": f"{type(error).__name__}: {error}"})
                await asyncio.sleep(_START_AGAIN_SECONDS)

    async def _start(self) -> None:
        async with self.database.reading() as connection:
            self._counter.names.update(await all_tenants(connection))
            prices = await load_price_book(connection)
        await self.database.writer_pool()
        prices.find("openai", "")  # loads the matching rules now, not within the first caller's request
        self._commits = GroupCommit(
            self.database,
            prices,
            writers=self.settings.writer_connections,
            batch_operations=self.settings.batch_operations,
            report=self._counter.count,
        )
