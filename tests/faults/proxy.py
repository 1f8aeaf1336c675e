"""Stands between a service and PostgreSQL and loses connections at a chosen moment.

It listens on a port of its own and forwards bytes to the server. It knows one message of the protocol:
the simple query `commit`, with which a batch ends.
"""

import asyncio
import contextlib
from enum import Enum
from urllib.parse import parse_qs, urlsplit

from tests.faults.processes import free_port

COMMIT = b"Q\x00\x00\x00\x0bcommit\x00"
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"


class At(Enum):
    """Where a connection is lost: the commit never arrives, or it does and its answer is lost."""

    BEFORE_COMMIT = "the commit does not reach the server"
    AFTER_COMMIT = "the answer to the commit is lost"


class DatabaseProxy:
    """Forwards connections to a PostgreSQL until it is told to break something."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._server = parts
        self.port = free_port()
        self.url = f"postgresql://{parts.username}@127.0.0.1:{self.port}{parts.path}?sslmode=disable"
        self.cuts = 0
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut_at: At | None = None
        self._cuts_left = 0
        self._hang_at: At | None = None

    async def start(self) -> None:
        """Listen; before this, connections are refused."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self.drop()

    async def drop(self) -> None:
        """Lose every open connection, with all that was not forwarded yet; then forward again."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._hang_at = None
        self._flowing.set()

    def cut(self, at: At, times: int = 1) -> None:
        """Lose the next connections that commit."""
        self._cut_at, self._cuts_left = at, times

    def hang(self) -> None:
        """Forward nothing more, in either direction; connections stay open and new ones are still accepted."""
        self._flowing.clear()

    def hang_at_commit(self, *, reaches_server: bool) -> None:
        """Forward everything until a commit comes, and from then on nothing; the commit itself if so wanted."""
        self._hang_at = At.AFTER_COMMIT if reaches_server else At.BEFORE_COMMIT

    async def is_stuck(self) -> bool:
        """Tell whether the proxy hangs, by order or at a commit."""
        return not self._flowing.is_set()

    def flow(self) -> None:
        """Forward again, first of all what was held back."""
        self._hang_at = None
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the proxy was stopped
        finally:
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            raise
        committing = asyncio.Event()
        sent = asyncio.ensure_future(self._to_server(reader, server_writer, committing))
        received = asyncio.ensure_future(self._to_client(server_reader, writer, committing))
        try:
            await asyncio.wait((sent, received), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in (sent, received):
                pump.cancel()
            await asyncio.gather(sent, received, return_exceptions=True)
            # Abort, not close: what is still in a buffer must not arrive after the cut.
            writer.transport.abort()
            server_writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            with contextlib.suppress(OSError):
                await server_writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self._server.port or 5432
        if directory := parse_qs(self._server.query).get("host"):
            return await asyncio.open_unix_connection(f"{directory[0]}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self._server.hostname, port)

    async def _to_server(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, committing: asyncio.Event
    ) -> None:
        while data := await reader.read(65_536):
            await self._flowing.wait()
            if data.endswith(COMMIT):
                if self._cut_at is At.BEFORE_COMMIT and self._take_cut():
                    return
                committing.set()
                if self._hang_at is not None:
                    self.hang()
                if self._hang_at is At.BEFORE_COMMIT:
                    await self._flowing.wait()
            server.write(data)
            await server.drain()

    async def _to_client(
        self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, committing: asyncio.Event
    ) -> None:
        while data := await server.read(65_536):
            await self._flowing.wait()
            # A reading transaction is answered alike; only what answers a batch's commit counts.
            if COMMITTED in data and committing.is_set() and self._cut_at is At.AFTER_COMMIT and self._take_cut():
                return
            writer.write(data)
            await writer.drain()

    def _take_cut(self) -> bool:
        if not self._cuts_left:
            return False
        self._cuts_left -= 1
        self.cuts += 1
        return True
