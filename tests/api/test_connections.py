"""What a connection may cost: raw bytes against a listener; time is what `close_overdue` is told it is."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from tests.api.waiting import until
from token_ledger.api.connections import MOST_HEADER_BYTES, MOST_HEADERS, BoundedProtocol, Connections
from token_ledger.api.early_refusals import EarlyRefusals

GET = b"GET / HTTP/1.1\r\nHost: ledger\r\n\r\n"
HALF_HEADERS = b"POST / HTTP/1.1\r\nHost: ledger\r\n"
HALF_BODY = b"POST / HTTP/1.1\r\nHost: ledger\r\nContent-Length: 10\r\n\r\nhalf"
LATER = 1_000.0


@dataclass
class Listener:
    """A listener with bounds, and an application that reads a body and then waits until it may answer."""

    port: int
    connections: Connections
    refused: Counter[str]
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/later":
            await self.may_answer.wait()
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        if message["type"] == "http.disconnect":
            return
        self.bodies.append(body + message["body"])
        await self.may_answer.wait()
        size = 10_000_000 if scope["path"] == "/large" else 2
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    def close_overdue(self) -> None:
        """Close what is overdue a thousand seconds from now."""
        self.connections.close_overdue(asyncio.get_running_loop().time() + LATER)


@contextlib.asynccontextmanager
async def listening(lists: EarlyRefusals | None = None) -> AsyncIterator[Listener]:
    """Run a listener within the block."""
    refused: Counter[str] = Counter()
    connections = Connections(
        most=20, most_per_address=10, request_seconds=10, largest_body=200_000,
        refused=lambda reason: refused.update([reason]), lists=lists,
    )  # fmt: skip
    opened = socket.create_server(("127.0.0.1", 0))
    made = Listener(opened.getsockname()[1], connections, refused)
    made.may_answer.set()
    protocol: Any = partial(BoundedProtocol, connections=connections)
    server = uvicorn.Server(
        uvicorn.Config(made, http=protocol, ws="none", lifespan="off", log_config=None, timeout_keep_alive=600)
    )
    task = asyncio.create_task(server.serve(sockets=[opened]))

    async def started() -> bool:
        return server.started

    await until(started)
    try:
        yield made
    finally:
        made.may_answer.set()
        server.should_exit = server.force_exit = True
        await task


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening() as made:
        yield made


class Client:
    """A connection to a listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def answer(self) -> tuple[int, str]:
        """Return the status and the rest of the next answer."""
        head = await self.begin_of_answer()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split()[1]), head + (await self._reader.readexactly(length)).decode()

    async def begin_of_answer(self) -> str:
        """Return the status line and headers of the next answer."""
        return (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()

    async def is_closed(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return await self._reader.read(1) == b""
        return True

    def close(self) -> None:
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def opened(listener: Listener, number: int = 1, address: str = "127.0.0.1") -> AsyncIterator[list[Client]]:
    clients = []
    for _ in range(number):
        streams = await asyncio.open_connection("127.0.0.1", listener.port, local_addr=(address, 0))
        clients.append(Client(*streams))
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


async def test_a_header_that_does_not_end_is_431_after_a_few_pieces(listener: Listener) -> None:
    async with opened(listener) as [client]:
        await client.send(b"GET / HTTP/1.1\r\nX-Filler: ")
        sending = asyncio.create_task(_send_until_refused(client, listener))
        status, answer = await client.answer()
        await sending
        assert (status, listener.refused) == (431, {"headers": 1})
        assert "connection: close" in answer
        assert f"{MOST_HEADER_BYTES} bytes" in answer


async def _send_until_refused(client: Client, listener: Listener) -> None:
    for _ in range(2 * MOST_HEADER_BYTES // 1_000):
        if not listener.refused:
            await client.send(b"x" * 1_000)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"X: y\r\n" * MOST_HEADERS, 200),
        (b"X: y\r\n" * (MOST_HEADERS + 1), 431),
        (b"X: " + b"y" * (MOST_HEADER_BYTES - 100) + b"\r\n", 200),
        (b"X: " + b"y" * MOST_HEADER_BYTES + b"\r\n", 431),
    ],
)
async def test_headers_are_bounded_in_number_and_size(headers: bytes, status: int, listener: Listener) -> None:
    async with opened(listener) as [client]:
        for _ in range(2 if status == 200 else 1):  # the bounds are those of one request
            await client.send(b"GET / HTTP/1.1\r\n" + headers + b"\r\n")
            assert (await client.answer())[0] == status


async def test_what_is_no_http_is_a_problem(listener: Listener) -> None:
    async with opened(listener) as [client]:
        await client.send(b"EHLO ledger\r\n\r\n")
        assert (await client.answer())[0] == 400
        assert await client.is_closed()


async def test_a_body_without_an_end_closes_the_connection(listener: Listener) -> None:
    async with opened(listener) as [client]:
        await client.send(b"POST / HTTP/1.1\r\nHost: ledger\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not listener.refused:
            await client.send(b"1\r\nx\r\n" * 1_000)
            await asyncio.sleep(0)
        assert listener.refused == {"body": 1}


@pytest.mark.parametrize("sent", [HALF_HEADERS, HALF_BODY, GET + HALF_HEADERS], ids=["headers", "body", "second"])
async def test_a_request_that_does_not_arrive_is_408(sent: bytes, listener: Listener) -> None:
    async with opened(listener, 5) as clients:
        for client in clients:
            await client.send(sent)
            if sent.startswith(GET):
                assert (await client.answer())[0] == 200
        await _received(listener, 5)
        listener.connections.close_overdue(asyncio.get_running_loop().time())  # they still have time
        assert len(listener.connections) == 5
        listener.close_overdue()
        for client in clients:
            assert (await client.answer())[0] == 408
            assert await client.is_closed()
        assert listener.refused == {"slow": 5}


@pytest.mark.parametrize("sent", [b"", b"\r\n", GET], ids=["nothing", "an empty line", "one request"])
async def test_an_idle_connection_is_closed_without_an_answer(sent: bytes, listener: Listener) -> None:
    async with opened(listener) as [client]:
        await client.send(sent)
        if sent == GET:
            assert (await client.answer())[0] == 200
        await _received(listener, 1)
        listener.close_overdue()
        assert await client.is_closed()


async def test_a_client_that_waits_for_us_is_never_overdue(listener: Listener) -> None:
    listener.may_answer.clear()
    async with opened(listener, 3) as [first, second, third]:
        await first.send(GET)
        await third.send(HALF_BODY.replace(b"POST /", b"POST /later"))  # nobody has asked for its body yet
        await second.send(GET + GET + HALF_BODY)  # the others wait for the first to be answered
        await _received(listener, 3)
        listener.close_overdue()
        listener.may_answer.set()
        await third.send(b" of it")
        assert [(await client.answer())[0] for client in (first, third)] == [200, 200]
        assert [(await second.answer())[0] for _ in range(2)] == [200, 200]


async def test_a_client_that_does_not_take_its_answer_is_closed(listener: Listener) -> None:
    async with opened(listener) as [client]:
        await client.send(b"GET /large HTTP/1.1\r\nHost: ledger\r\n\r\n")
        await client.begin_of_answer()
        listener.close_overdue()
        assert listener.refused == {"answer_not_taken": 1}


async def _received(listener: Listener, number: int) -> None:
    """Wait until the listener has taken so many connections, and what was sent on them."""

    async def has() -> bool:
        return len(listener.connections) == number

    await until(has)
    for _ in range(20):
        await asyncio.sleep(0)


async def test_connections_are_bounded_per_address_and_in_all(listener: Listener) -> None:
    async with opened(listener, 10) as first, opened(listener, 1) as [one_more]:
        status, answer = await one_more.answer()
        assert (status, listener.refused) == (503, {"connections_of_address": 1})
        assert "retry-after: 1" in answer
        async with opened(listener, 10, "127.0.0.2") as others, opened(listener, 1, "127.0.0.3") as [in_all]:
            assert (await in_all.answer())[0] == 503
            assert listener.refused == {"connections_of_address": 1, "connections": 1}
            for client in (*first, *others):
                await client.send(GET)
                assert (await client.answer())[0] == 200
            first[0].close()
            await _received(listener, 19)
            async with opened(listener) as [again]:
                await again.send(GET)
                assert (await again.answer())[0] == 200
