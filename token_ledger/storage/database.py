"""Owns the connections: readers through SQLAlchemy and writers on plain asyncpg, both limited to given tenants.

Every connection works as the role `token_ledger_app`, which owns no table, so row-level security applies: a query on
tenants' rows fails unless the transaction has set which tenants it may see.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.clocks import BOUND_SECONDS, ClockDoubted, ClockWatch
from token_ledger.storage.failures import ABOUT_DATA, Failure, failure_of, in_words

Connection = AsyncConnection
"""A transaction to read in."""
APP_ROLE = "token_ledger_app"
LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "30s"
CONNECT_SECONDS = 3
OPEN_SECONDS = 5
"""How long opening a reading transaction may take, including the wait for a connection and its check."""
READ_SECONDS = 30.0
COMMAND_SECONDS = 10
"""How long a batch waits for one answer, because a server that hangs does not enforce its own time-outs."""

# A batch finds every row by its key. Without these settings, a plan that was made while a table was small would keep
# scanning it after it has grown, and some statements would be planned for every batch.
_WRITER_SETTINGS = {
    "role": APP_ROLE,
    "application_name": "token-ledger writer",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "lock_timeout": LOCK_TIMEOUT,
    "statement_timeout": STATEMENT_TIMEOUT,
    "idle_in_transaction_session_timeout": "2s",
    "timezone": "UTC",
}
READER_SETTINGS = {
    "role": APP_ROLE,
    "application_name": "token-ledger reader",
    "jit": "off",
    "lock_timeout": LOCK_TIMEOUT,
    "statement_timeout": STATEMENT_TIMEOUT,
    "idle_in_transaction_session_timeout": "30s",
    "timezone": "UTC",
}


def plain_dsn(url: str) -> str:
    """Return a database address without the name of a driver, as asyncpg wants it."""
    scheme, rest = url.split("://", 1)
    return f"{scheme.split('+', 1)[0]}://{rest}"


class DatabaseAway(Exception):
    """The database can't do what was asked, for a reason of its own. Nothing was changed; try again."""

    def __init__(self, reason: str, failure: Failure = Failure.AWAY) -> None:
        super().__init__(reason)
        self.failure = failure


class CommitLost(DatabaseAway):
    """The connection was lost when a change was to be committed: it was made or not."""


class Database:
    """The two pools of a process. They connect on first use, so a process can start before its database."""

    def __init__(
        self, url: str, *, writers: int = 4, readers: int = 8, read_seconds: float | None = READ_SECONDS,
        clocks: ClockWatch | None = None,
    ) -> None:  # fmt: skip
        self.dsn = plain_dsn(url)
        self.clocks = clocks or ClockWatch()
        self._read_seconds = read_seconds
        self._check: Callable[[], None] = _always
        self._writer_count = writers
        self._writers: asyncpg.Pool[asyncpg.Record] | None = None
        self.readers: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect_reader,
            pool_size=readers,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,  # else errors quote what a caller has sent
            execution_options={"clocks": self.clocks},
        )

    async def _connect_reader(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            self.dsn, timeout=CONNECT_SECONDS, command_timeout=self._read_seconds, server_settings=READER_SETTINGS
        )

    async def writer_pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        """Return the writers' pool, making it on first use."""
        if self._writers is None:
            self._writers = await asyncpg.create_pool(
                self.dsn,
                min_size=0,
                max_size=self._writer_count,
                timeout=CONNECT_SECONDS,
                command_timeout=COMMAND_SECONDS,
                server_settings=_WRITER_SETTINGS,
                reset=_keep_as_is,
                max_inactive_connection_lifetime=0,
            )
        return self._writers

    def checked(self, check: Callable[[], None]) -> "Database":
        """Return the same database, of which every transaction calls `check` when it is open; that may raise."""
        database = copy(self)
        database._check = check
        return database

    def reading(
        self, *tenants: TenantId, snapshot: bool = False, unlimited: bool = False
    ) -> AbstractAsyncContextManager[AsyncConnection]:  # fmt: skip
        """Return a transaction that sees the rows of these tenants and the tables that belong to none.

        All statements of a `snapshot` see the same state, those of an `unlimited` one may take any time. Raises
        DatabaseAway.
        """
        return self._transaction(tenants, DatabaseAway, snapshot=snapshot, unlimited=unlimited)

    def changing(self, *tenants: TenantId) -> AbstractAsyncContextManager[AsyncConnection]:
        """Return a transaction as `reading` does, to change something in. Raises DatabaseAway, CommitLost."""
        return self._transaction(tenants, CommitLost)

    @asynccontextmanager
    async def _transaction(
        self, tenants: Iterable[TenantId], lost_at_commit: type[DatabaseAway],
        *, snapshot: bool = False, unlimited: bool = False,
    ) -> AsyncIterator[AsyncConnection]:  # fmt: skip
        is_done = False
        try:
            async with asyncio.timeout(OPEN_SECONDS) as patience, self.readers.connect() as connection:
                if snapshot:
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                async with connection.begin():
                    await connection.exec_driver_sql(see_tenants(tenants))
                    if unlimited:
                        await connection.execute(text("set local statement_timeout = 0"))
                    patience.reschedule(None)
                    self._check()
                    yield connection
                    is_done = True
        except ClockDoubted as error:
            raise DatabaseAway(str(error), Failure.BROKEN) from error
        except Exception as error:
            failure = failure_of(error)
            if failure is None or failure in ABOUT_DATA:
                raise
            away = lost_at_commit if is_done and failure is Failure.AWAY else DatabaseAway
            raise away(f"{failure}: {in_words(error)}", failure) from error

    async def check_clock(self, connection: AsyncConnection) -> None:
        """Raise ClockDoubted unless the instant at which a transaction began is believed; functions go by it."""
        asked = self.clocks.ask()
        now = (await connection.execute(text("select now(), clock_timestamp()"))).one()
        self.clocks.check(now[1], asked)
        if abs((now[1] - now[0]).total_seconds()) > BOUND_SECONDS:
            raise ClockDoubted("the database's clock has jumped within a transaction; try again")

    async def close(self) -> None:
        """Close both pools."""
        if self._writers is not None:
            await self._writers.close()
        await self.readers.dispose()


def see_tenants(tenants: Iterable[TenantId]) -> str:
    """Return the statement that lets a transaction see the rows of these tenants, for row-level security.

    A message of its own, and no `set_config`: a database that is distributed by tenant passes on this form only. It
    takes no parameters, so the ids, which are integers, stand in the text.
    """
    return f"set local app.tenants = '{{{','.join(str(int(tenant)) for tenant in tenants)}}}'"


_QUOTED = re.compile(r"(?P<before>invalid input for query argument \$\d+: |DETAIL:\s+).*")


def without_values(text: str) -> str:
    """Return a text of the driver or the server without the values of rows and arguments that it quotes."""
    return _QUOTED.sub(r"\g<before>…", text)


def _always() -> None:
    """Let every transaction begin."""


async def _keep_as_is(connection: Any) -> None:
    """Reset nothing: a batch makes only transaction-local settings, and a reset would cost a round trip."""
