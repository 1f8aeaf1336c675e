"""A proxy between a client and the service that loses one request at a chosen step."""

import asyncio
import contextlib
from enum import Enum

from tests.faults.processes import free_port


class Step(Enum):
    """Where the connection is lost."""

    BEFORE_SEND = "the request does not reach the service"
    AFTER_SEND = "the request reaches the service, and nobody waits for the answer"
    BEFORE_ANSWER = "the service has answered, and the answer is lost"


class HttpProxy:
    """Forwards connections, a request at a time, and cuts the next one whose path ends as it is told."""

    def __init__(self, port: int) -> None:
        self._service_port = port
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.cuts = 0
        self._cut: tuple[bytes, Step] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuse new connections and drop the open ones."""
        if self._listener is not None:
            self._listener.close()
        for connection in [*self._connections]:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self, ending: str, step: Step) -> None:
        """Lose the next request whose path ends with this."""
        self._cut = ending.encode(), step

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        service_reader, service_writer = await asyncio.open_connection("127.0.0.1", self._service_port)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange((reader, writer), (service_reader, service_writer)):
                pass
        self._connections.discard(task)
        # Abort rather than close: what is buffered must not arrive after the connection is cut.
        writer.transport.abort()
        service_writer.transport.abort()

    async def _exchange(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        service: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        """Forward a request and its answer; returns whether the connection goes on."""
        request = await _message(client[0])
        step = self._step(request)
        if step is Step.BEFORE_SEND:
            return False
        service[1].write(request)
        await service[1].drain()
        if step is Step.AFTER_SEND:
            # Half closed: what was sent still arrives.
            service[1].write_eof()
            return False
        answer = await _message(service[0])
        if step is Step.BEFORE_ANSWER:
            return False
        client[1].write(answer)
        await client[1].drain()
        return True

    def _step(self, request: bytes) -> Step | None:
        if self._cut is None or not request.split(b" ", 2)[1].endswith(self._cut[0]):
            return None
        (_, step), self._cut = self._cut, None
        self.cuts += 1
        return step


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read a request or an answer whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)
