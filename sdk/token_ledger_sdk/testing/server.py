"""A local port at which the fake service answers, for clients that only have an address."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

Answer = Callable[[httpx2.Request], httpx2.Response]


class Server(ThreadingHTTPServer):
    """A server that many may connect to at once: of more than five, some were hung up on."""

    request_queue_size = 128
    daemon_threads = True


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Answer requests at a local port within the block; returns the address. What raises closes the connection."""
    server = Server(("127.0.0.1", 0), _handler(answer))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(answer: Answer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            address = f"http://{self.headers['Host']}{self.path}"
            request = httpx2.Request(self.command, address, headers=dict(self.headers), content=content)
            try:
                response = answer(request)
            except Exception:
                self.close_connection = True
                return
            self.send_response(response.status_code)
            for name in ("Content-Type", "ETag"):
                if name in response.headers:
                    self.send_header(name, response.headers[name])
            self.send_header("Content-Length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = _answer  # noqa: N815  # the names that the base class calls

        def log_message(self, *args: Any) -> None:
            pass

    return Handler
