"""A provider of models on a local port, which answers by a script and keeps what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx2

from token_ledger_sdk.testing.server import Server

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For connections that use no TLS: to read the machine's authorities takes 20 ms for each client."""


@dataclass
class Reply:
    """One answer of the provider: `parts` are sent one by one; `cut` closes the connection without the end.

    One that is `withheld` is never sent; one that is `late` comes when the client waits no longer (see `LateAnswers`).
    """

    parts: list[bytes]
    status: int = 200
    content_type: str = "application/json"
    cut: bool = False
    withheld: bool = False
    late: bool = False
    between: Callable[[], object] | None = None


@dataclass
class Asked:
    """A request as it came: the headers in their order, and the bytes of the body."""

    path: str
    headers: list[tuple[str, str]]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.content)
        return body


@dataclass
class Provider:
    """A provider that answers what is in its script, else the last of it again."""

    replies: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    @property
    def root(self) -> str:
        """Its address without the version."""
        return self.url.removesuffix("/v1")

    def json(self, body: str | dict[str, Any], status: int = 200) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.replies.append(Reply([text.encode()], status))

    def stream(self, text: str, *, cut_after: int | None = None, **options: Any) -> None:
        """Answer with the events of a stream, or only so many of them before the connection breaks."""
        events = [part.encode() + b"\n\n" for part in text.strip().split("\n\n")]
        self.replies.append(
            Reply(events[:cut_after], content_type="text/event-stream", cut=cut_after is not None, **options)
        )


class LateAnswers(httpx2.HTTPTransport):
    """Connections whose time runs out, at once, where the provider's answer is late."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(verify=NO_AUTHORITIES)
        self._provider = provider

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; raises ReadTimeout in place of a late answer."""
        late = self._provider.replies[0].late
        response = super().handle_request(request)
        if late:
            response.read()
            raise httpx2.ReadTimeout("the answer is late", request=request)
        return response


class AsyncLateAnswers(httpx2.AsyncHTTPTransport):
    """The same, without blocking."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(verify=NO_AUTHORITIES)
        self._provider = provider

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; raises ReadTimeout in place of a late answer."""
        late = self._provider.replies[0].late
        response = await super().handle_async_request(request)
        if late:
            await response.aread()
            raise httpx2.ReadTimeout("the answer is late", request=request)
        return response


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            provider.asked.append(Asked(self.path, self.headers.items(), content))
            reply = provider.replies.pop(0) if len(provider.replies) > 1 else provider.replies[0]
            if reply.withheld:
                self.rfile.read(1)  # until the client goes away
                self.close_connection = True
                return
            if reply.cut and not reply.parts:
                self.close_connection = True
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Retry-After-Ms", "1")
            self.end_headers()
            try:
                for part in reply.parts:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.flush()
                    if reply.between is not None:
                        reply.between()
                if not reply.cut:
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection = reply.cut
            except OSError:
                self.close_connection = True  # the caller has hung up

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Run a provider."""
    made = Provider()
    server = Server(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
