"""Owns leadership: an advisory lock that only one process holds, the one that does what must not be done twice.

The lock belongs to a connection of its own. A process that loses the connection has lost the lead, and once the server
notices, the next process that asks gets the lock. A pooler that shares sessions between clients breaks this.

A process that is frozen keeps its connection. So a leader says every second that it is there, and the server ends the
session of one that has been silent for SILENT_LEADER_SECONDS. A process that goes on after that knows without asking
that it leads no more: its lease is shorter, and is counted from when the last answered question was asked.
"""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any

import asyncpg

from token_ledger.storage.clocks import ClockDoubted, ClockWatch, steady_seconds
from token_ledger.storage.database import CONNECT_SECONDS, DatabaseAway, plain_dsn
from token_ledger.storage.failures import Failure, failure_of, in_words

LEADER_LOCK = 7_022_028
BEAT_SECONDS = 1.0
"""How often a leader asks the server whether it is still there."""
ANSWER_SECONDS = 2.0
"""How long it waits for the answer before it gives up the lead."""

SILENT_LEADER_SECONDS = 7
"""How long the server waits for a leader that says nothing before it ends its session, and so its lead."""
LEASE_SECONDS = 5.0
"""How long a leader may believe that it leads after it last asked a question that was answered. A transaction that it
begins just before the end is ended before the session would be, if nothing is heard of it."""

# A leader whose machine or network is gone says no good-bye: the server finds out within about ten seconds.
_SETTINGS = {
    "idle_session_timeout": f"{SILENT_LEADER_SECONDS}s",
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


class NotLeading(Exception):
    """The process is not, or no longer, the one that leads; what it was about to do is another's."""


class Leadership:
    """One process's claim to lead; of all processes on a database at most one does."""

    def __init__(self, url: str, clocks: ClockWatch | None = None) -> None:
        self._clocks = clocks or ClockWatch()
        self._dsn = plain_dsn(url)
        self._connection: Any = None
        self._closed = asyncio.Event()
        self._lease_ends = 0.0

    def check(self) -> None:
        """Raise NotLeading unless this process has the lead for certain."""
        if self._connection is None or steady_seconds() >= self._lease_ends:
            raise NotLeading("this process has not heard of its lead for too long: another process may have it")

    async def claim(self) -> bool:
        """Take the lead if it is free and tell whether this process has it now. Raises DatabaseAway."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
                if self._connection is None:
                    self._connection = await self._connect()
                await self._ask_for_time()
                return bool(await self._ask(f"select pg_try_advisory_lock({LEADER_LOCK})"))
        except ClockDoubted as error:
            self.resign()
            raise DatabaseAway(f"the lead is left to others: {error}", Failure.BROKEN) from error
        except Exception as error:
            self.resign()
            if (failure := failure_of(error)) is None:
                raise
            raise DatabaseAway(f"the lead can't be asked for: {in_words(error)}", failure) from error

    async def hold(self) -> None:
        """Return once a lead that was taken is lost; the connection is closed then."""
        try:
            while not self._closed.is_set():
                self.check()  # after a time in which the process was frozen, the connection may still seem to be there
                await self._ask_for_time()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), BEAT_SECONDS)
        except Exception as error:
            if failure_of(error) is None and not isinstance(error, NotLeading | ClockDoubted):
                raise
        finally:
            self.resign()

    def resign(self) -> None:
        """Give up the claim at once, so that another can lead."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _ask_for_time(self) -> None:
        """Ask the server for its time. Raises ClockDoubted: a process that does not believe it can't do the duties."""
        asked = self._clocks.ask()
        self._clocks.check(await self._ask("select clock_timestamp()"), asked)

    async def _ask(self, question: str) -> Any:
        """Return the answer to a question; the lease is counted from when it was asked."""
        asked_at = steady_seconds()
        answer = await self._connection.fetchval(question)
        self._lease_ends = asked_at + LEASE_SECONDS
        return answer

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
