"""A proxy between a service and PostgreSQL that loses connections at a chosen moment.

It listens on its own port and forwards bytes to the server. Of the protocol it knows two messages: the simple query
`commit`, which ends a batch, and the execution of the one statement that books another.
"""

import asyncio
import contextlib
import re
from enum import Enum
from urllib.parse import parse_qs, urlsplit

from tests.faults.processes import free_port

COMMIT = b"Q\x00\x00\x00\x0bcommit\x00"
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
BOOK = re.compile(rb"P....([^\x00]+)\x00select became, clock from token_ledger_book", re.DOTALL)
"""The preparation of that statement, with the name that it is executed by."""


class At(Enum):
    """When a connection is lost: before the commit arrives, or after it, so that only its answer is lost."""

    BEFORE_COMMIT = "the commit does not reach the server"
    AFTER_COMMIT = "the answer to the commit is lost"


class DatabaseProxy:
    """Forwards connections to a PostgreSQL until it is told to break them."""

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
        self._books = False

    async def start(self) -> None:
        """Listen; until then, connections are refused."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuse new connections and drop the open ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self.drop()

    async def drop(self) -> None:
        """Drop every open connection and the bytes not forwarded yet; forward new connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._hang_at = None
        self._flowing.set()

    def cut(self, at: At, times: int = 1) -> None:
        """Drop the next connections that commit, this many times."""
        self._cut_at, self._cuts_left = at, times

    def hang(self) -> None:
        """Stop forwarding in both directions; connections stay open and new ones are accepted."""
        self._flowing.clear()

    def hang_at_commit(self, *, reaches_server: bool) -> None:
        """Stop forwarding at the next commit; `reaches_server` says whether the commit itself is still forwarded."""
        self._hang_at = At.AFTER_COMMIT if reaches_server else At.BEFORE_COMMIT

    async def is_stuck(self) -> bool:
        """Tell whether forwarding is stopped."""
        return not self._flowing.is_set()

    def flow(self) -> None:
        """Forward again, beginning with the bytes held back."""
        self._hang_at = None
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # one side disconnected, or the proxy was stopped
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
            # Abort rather than close: buffered bytes must not arrive after the connection is cut.
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
        name = None
        while data := await reader.read(65_536):
            await self._flowing.wait()
            if (prepared := BOOK.search(data)) is not None:
                name = prepared[1]
            self._books = name is not None and data[:1] == b"B" and data[5:].startswith(b"\x00" + name + b"\x00")
            if data.endswith(COMMIT) or self._books:
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
            # The commit of a reading transaction is answered in the same way, so check that a batch is committing.
            if (
                (COMMITTED in data or self._books)
                and committing.is_set()
                and self._cut_at is At.AFTER_COMMIT
                and self._take_cut()
            ):
                return
            writer.write(data)
            await writer.drain()

    def _take_cut(self) -> bool:
        if not self._cuts_left:
            return False
        self._cuts_left -= 1
        self.cuts += 1
        return True
