"""A network between clients and a service that cuts connections: before a request is sent, after it, or its answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from urllib.parse import urlsplit


class Cut(Enum):
    """What of an exchange gets through before its connection is lost."""

    NEVER = "all of it"
    BEFORE_SEND = "nothing"
    AFTER_SEND = "the request; nobody waits until it is served"
    BEFORE_ANSWER = "the request, and it is served; its answer is lost"


CUTS = (Cut.BEFORE_SEND, Cut.AFTER_SEND, Cut.BEFORE_ANSWER)
Choose = Callable[[str], Cut]
"""Says of a request, by its path, how its connection ends."""


def never(path: str) -> Cut:
    """Cut nothing."""
    return Cut.NEVER


def once(ending: str, cut: Cut) -> Choose:
    """Cut the next request whose path ends with this, and no other."""
    left = [cut]

    def choose(path: str) -> Cut:
        return left.pop() if left and path.endswith(ending) else Cut.NEVER

    return choose


class CuttingProxy:
    """Forwards connections to a service, a request at a time, and cuts those that `choose` says."""

    def __init__(self, service_url: str, choose: Choose = never) -> None:
        self._service = urlsplit(service_url)
        self.choose = choose
        self.url = ""
        self.requests = 0
        self.cuts: list[Cut] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CuttingProxy"]:
        """Listen, and drop the connections at the end."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            to_service = await asyncio.open_connection(self._service.hostname, self._service.port)
            try:
                while await self._exchange(reader, writer, *to_service):
                    pass
            finally:
                to_service[1].transport.abort()
        # Abort rather than close: what is buffered must not arrive after the connection is cut.
        writer.transport.abort()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: asyncio.StreamReader,
        to_service: asyncio.StreamWriter,
    ) -> bool:  # fmt: skip
        """Forward a request and its answer; returns whether the connection goes on."""
        request = await _message(reader)
        self.requests += 1
        cut = self.choose(request.split(b" ", 2)[1].decode())
        if cut is not Cut.NEVER:
            self.cuts.append(cut)
        if cut is Cut.BEFORE_SEND:
            return False
        to_service.write(request)
        await to_service.drain()
        if cut is Cut.AFTER_SEND:
            to_service.write_eof()  # half closed: what was sent still arrives
            return False
        answer = await _message(service)
        if cut is Cut.BEFORE_ANSWER:
            return False
        writer.write(answer)
        await writer.drain()
        return True


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read a request or an answer whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return head + await reader.readexactly(int(value))
    return head
