"""Owns what a running process has: settings, database, group commit, authenticator and metrics."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry

import token_ledger
from token_ledger.config import Settings
from token_ledger.core.batch.commands import Command, Report
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.tenant import TenantId
from token_ledger.identity.authentication import Authenticator
from token_ledger.ledger.batch_metrics import BatchMetrics
from token_ledger.ledger.errors import Unavailable
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.ledger.turns import Turns
from token_ledger.ledger.waiting_room import Room
from token_ledger.observability.metrics import Metrics
from token_ledger.storage.access_changes import listen_for_less_access
from token_ledger.storage.database import Connection, Database
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import current_price_book, load_price_book
from token_ledger.storage.readiness import Readiness

log = logging.getLogger(__name__)

START_RETRY_SECONDS = 1.0
"""How long a process waits before it tries again to reach its database."""
_NOT_REACHED = "the service is starting: it has not reached the database yet"


class Service:
    """The state of one process. It may start before its database can be `reached`, and becomes ready when it can."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, version=token_ledger.__version__)
        self.database = Database(url, writers=settings.writer_connections, readers=settings.reader_connections)
        self.room = Room()
        self.turns = Turns()
        self.stopping = asyncio.Event()
        self.reached = asyncio.Event()
        self.pepper = settings.pepper()
        self.authenticator = Authenticator(
            self.database, self.pepper, is_started=lambda: self._commits is not None,
            networks=settings.identity_provider_networks,
        )  # fmt: skip
        self._commits: GroupCommit | None = None
        self._prices: PriceBook | None = None
        self._readiness = Readiness(self.database)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect in the background; at the end wait for the batches that are under way."""
        starting = asyncio.create_task(self._start_until_ready())
        listening = asyncio.create_task(self._listen_for_less_access())
        try:
            yield
        finally:
            self.stopping.set()
            for task in (starting, listening):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            if self._commits is not None:
                await self._commits.drain()
            await self.authenticator.close()
            await self.database.close()

    async def prices_of(self, connection: Connection, tenant: TenantId) -> PriceBook:
        """Return the price book as a tenant sees it now; raises Unavailable before this process has one."""
        if self._prices is None:
            raise Unavailable(_NOT_REACHED)
        self._prices = await current_price_book(connection, self._prices)
        return await load_tenant_book(connection, tenant, self._prices)

    async def submit(
        self, tenant: TenantId, command: Command, key_id: str | None = None, request: object = None
    ) -> Outcome:
        """Return the outcome of a command, as `GroupCommit.submit` does; raises the errors of `ledger.errors`."""
        return await self.begin(tenant, command, key_id, request)

    def begin(
        self, tenant: TenantId, command: Command, key_id: str | None = None, request: object = None
    ) -> "asyncio.Future[Outcome]":
        """Let a command wait for its batch, and return its outcome to come, as `submit` does."""
        if self._commits is None:
            raise Unavailable(_NOT_REACHED)
        return self._commits.begin(tenant, command, key_id, request)

    def begin_reports(
        self, tenant: TenantId, reports: Sequence[Report], key_id: str | None, request: object
    ) -> "list[asyncio.Future[Outcome]]":
        """Let reports of one list wait for their batch, as `begin` does for one command."""
        if self._commits is None:
            raise Unavailable(_NOT_REACHED)
        return self._commits.begin_reports(tenant, reports, key_id, request)

    async def try_out(self, tenant: TenantId, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Return what commands would come to, as `GroupCommit.try_out` does."""
        if self._commits is None:
            raise Unavailable(_NOT_REACHED)
        return await self._commits.try_out(tenant, commands)

    async def why_not_ready(self) -> str | None:
        """Return why this process can't serve requests, or None if it can."""
        if self.stopping.is_set():
            return "the process is stopping"
        if self._commits is None:
            return "the database has not been reached yet"
        return await self._readiness.why_not()

    async def _start_until_ready(self) -> None:
        while self._commits is None:
            try:
                await self._start()
            except Exception as error:  # whatever it is, the process stays up and /readyz says why
                log.warning("not ready yet", extra={"reason": f"{type(error).__name__}: {error}"})
                await asyncio.sleep(START_RETRY_SECONDS)

    async def _listen_for_less_access(self) -> None:
        """Forget who may do what as soon as another process changes that. While nothing is heard, little is trusted."""
        await self.reached.wait()
        while True:
            try:
                await listen_for_less_access(
                    self.database,
                    changed=self.authenticator.forget,
                    heard_all_until=self.authenticator.heard_all_until,
                )
            except Exception as error:  # it is connected again, whatever ended the connection
                log.warning("not listening for revoked keys", extra={"reason": f"{type(error).__name__}: {error}"})
                await asyncio.sleep(START_RETRY_SECONDS)

    async def _start(self) -> None:
        async with self.database.reading() as connection:
            prices = await load_price_book(connection)
        await self.database.writer_pool()
        prices.find("openai", "")  # loads the matching rules now and not in the first request
        self._prices = prices
        self._commits = GroupCommit(
            self.database,
            prices,
            writers=self.settings.writer_connections,
            batch_operations=self.settings.batch_operations,
            report=BatchMetrics(self.metrics).count,
            count_at_once=self.metrics.count_at_once,
        )
        self.reached.set()
