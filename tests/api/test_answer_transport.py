"""How many writes an answer takes: a recording transport in place of a socket, and uvicorn's own protocol before it."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from token_ledger.api.connections import BoundedProtocol, Connections

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nHost: ledger\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: ledger\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: ledger\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"


class Recorder(asyncio.Transport):
    """Keeps what was written, and whether the connection was closed."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Client:
    """One connection to an application."""

    def __init__(self, application: Application) -> None:
        bounds = Connections(
            most=1, most_per_address=1, request_seconds=10, largest_body=1_000, refused=lambda reason: None
        )
        config = uvicorn.Config(application, ws="none", lifespan="off", log_config=None)
        config.load()
        self.connection = Recorder()
        self._state = ServerState()
        self.protocol = BoundedProtocol(config=config, server_state=self._state, app_state={}, connections=bounds)

    async def send(self, request: bytes) -> Recorder:
        """Return what was written for a request, once the application has ended."""
        self.protocol.connection_made(self.connection)
        self.protocol.data_received(request)
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        self.protocol.connection_lost(None)
        return self.connection


async def answered(application: Application, request: bytes) -> Recorder:
    return await Client(application).send(request)


async def send_head(send: Send, length: int | None = 2) -> None:
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_piece(send: Send, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def test_an_answer_of_stated_length_is_one_write() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send_head(send)
        await send_piece(send, b"ok")

    recorder = await answered(application, GET)

    (written,) = recorder.writes
    head, _, body = written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"ok"


async def test_later_pieces_of_a_body_are_written_as_they_come() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send_head(send, 4)
        await send_piece(send, b"on", more=True)
        await send_piece(send, b"ce")

    recorder = await answered(application, GET)

    assert [written.rpartition(b"\r\n\r\n")[2] for written in recorder.writes] == [b"on", b"ce"]


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event() -> None:
    written_before_the_event = 0

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal written_before_the_event
        await send_head(send, None)
        written_before_the_event = len(client.connection.writes)
        await send_piece(send, b"data: 1\n\n")

    client = Client(application)
    recorder = await client.send(GET)

    assert written_before_the_event == 1
    assert len(recorder.writes) == 2


@pytest.mark.parametrize(("request_", "length"), [(HEAD, 2), (GET, 0)])
async def test_a_head_without_a_body_is_written(request_: bytes, length: int) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send_head(send, length)
        await send_piece(send, b"")

    recorder = await answered(application, request_)

    assert b"".join(recorder.writes).endswith(f"content-length: {length}\r\n\r\n".encode())


async def test_a_client_that_waits_to_be_told_to_continue_is_told_at_once() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        asyncio.get_running_loop().call_soon(continue_as_told)
        await receive()
        await send_head(send)
        await send_piece(send, b"ok")

    def continue_as_told() -> None:
        written.extend(client.connection.writes)
        client.protocol.data_received(b"{}")

    written: list[bytes] = []
    client = Client(application)
    recorder = await client.send(EXPECTING)

    assert written == [b"HTTP/1.1 100 Continue\r\n\r\n"]

    assert len(recorder.writes) == 2
    assert recorder.writes[1].endswith(b"\r\n\r\nok")


async def test_an_answered_request_is_not_left_to_the_garbage_collector() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send_head(send)
        await send_piece(send, b"ok")

    client = Client(application)
    gc.disable()
    try:
        await client.send(GET)
        cycle = weakref.ref(client.protocol.cycle)
        client.protocol.cycle = None  # type: ignore[assignment]  # as the next request would
        assert cycle() is None
    finally:
        gc.enable()


async def test_an_application_that_fails_after_its_head_closes_and_the_head_is_not_lost() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send_head(send)
        raise RuntimeError("an application that fails")

    recorder = await answered(application, GET)

    assert recorder.closed
    assert [written.split(b"\r\n")[0] for written in recorder.writes] == [b"HTTP/1.1 200 OK"]
