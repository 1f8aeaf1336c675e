"""Owns leadership: an advisory lock that only one process holds, the one that does what must not be done twice.

The lock belongs to a connection of its own. A process that loses the connection has lost the lead, and once the server
notices, the next process that asks gets the lock. A pooler that shares sessions between clients breaks this.
"""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any

import asyncpg

from token_ledger.storage.database import AWAY, CONNECT_SECONDS, DatabaseAway, plain_dsn

LEADER_LOCK = 7_022_028
BEAT_SECONDS = 1.0
"""How often a leader asks the server whether it is still there."""
ANSWER_SECONDS = 2.0
"""How long it waits for the answer before it gives up the lead."""

# A leader whose machine or network is gone says no good-bye: the server finds out within about ten seconds.
_SETTINGS = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_LOST = (*AWAY, asyncpg.InterfaceError)


class Leadership:
    """One process's claim to lead; of all processes on a database at most one does."""

    def __init__(self, url: str) -> None:
        self._dsn = plain_dsn(url)
        self._connection: Any = None
        self._closed = asyncio.Event()

    async def claim(self) -> bool:
        """Take the lead if it is free and tell whether this process has it now. Raises DatabaseAway."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
                if self._connection is None:
                    self._connection = await self._connect()
                return bool(await self._connection.fetchval(f"select pg_try_advisory_lock({LEADER_LOCK})"))
        except _LOST as error:
            self.resign()
            raise DatabaseAway(f"the lead can't be asked for: {str(error) or type(error).__name__}") from error

    async def hold(self) -> None:
        """Return once a lead that was taken is lost; the connection is closed then."""
        with suppress(*_LOST):
            while not self._closed.is_set():
                await self._connection.fetchval("select 1")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), BEAT_SECONDS)
        self.resign()

    def resign(self) -> None:
        """Give up the claim at once, so that another can lead."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connect(self) -> Any:
        name = f"token-ledger worker {socket.gethostname()}:{os.getpid()}"[:63]
        connection: Any = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=ANSWER_SECONDS,
            server_settings={"application_name": name, **_SETTINGS},
        )
        self._closed = closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        return connection
