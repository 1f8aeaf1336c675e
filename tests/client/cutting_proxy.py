"""A network between the SDK and a service that cuts connections: before a request is sent, after it, or its answer."""

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


class CuttingProxy:
    """Forwards connections to a service; `choose` says of each request how its connection ends."""

    def __init__(self, service_url: str, choose: Callable[[], Cut]) -> None:
        self._service = urlsplit(service_url)
        self._choose = choose
        self.url = ""
        self.requests = 0
        self.cuts: list[Cut] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CuttingProxy"]:
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
        writer.transport.abort()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: asyncio.StreamReader,
        to_service: asyncio.StreamWriter,
    ) -> bool:  # fmt: skip
        request = await _message(reader)
        self.requests += 1
        cut = self._choose()
        if cut is not Cut.NEVER:
            self.cuts.append(cut)
        if cut is Cut.BEFORE_SEND:
            return False
        to_service.write(request)
        await to_service.drain()
        if cut is Cut.AFTER_SEND:
            return False
        answer = await _message(service)
        if cut is Cut.BEFORE_ANSWER:
            return False
        writer.write(answer)
        await writer.drain()
        return True


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return head + await reader.readexactly(int(value))
    return head
