"""Bounds what one connection may cost before there is a request: its headers, its time, and how many there are.

uvicorn has no limit on headers and none on the time that a request takes to arrive, and its limit on connections does
not look at addresses.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from token_ledger.api.answer_transport import AnswerTransport
from token_ledger.api.early_refusals import NO_ROOM_SECONDS, EarlyRefusals
from token_ledger.api.security_headers import with_security_headers
from token_ledger.wire.problems import RETRY_AFTER_SECONDS, ProblemError, RequestCode

MOST_HEADER_BYTES: Final = 32_768
"""Bytes of a request's first line and headers; the longest token has 16 kB."""
MOST_HEADERS: Final = 100
CHUNKED_OVERHEAD: Final = 4
"""A body in chunks may be so many times as long as what is in the chunks; clients send chunks of kilobytes."""


class Connections:
    """The open connections of a listener, and what bounds them. `refused` is told the reason of each that is refused.

    A client has `request_seconds` to send a request, or to take a piece of an answer. `largest_body` is in bytes.
    `lists` are refused early where there is no room for them.
    """

    def __init__(
        self, *, most: int, most_per_address: int, request_seconds: float, largest_body: int,
        refused: Callable[[str], None], lists: EarlyRefusals | None = None,
    ) -> None:  # fmt: skip
        self.most = most
        self.most_per_address = most_per_address
        self.request_seconds = request_seconds
        self.most_message_bytes = MOST_HEADER_BYTES + CHUNKED_OVERHEAD * largest_body
        self.refused = refused
        self.lists = lists
        self._open: set[BoundedProtocol] = set()
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: "BoundedProtocol") -> str | None:
        """Count a new connection; return why it is refused, or None."""
        if len(self._open) >= self.most:
            return "connections"
        if self._by_address[connection.address] >= self.most_per_address:
            return "connections_of_address"
        self._open.add(connection)
        self._by_address[connection.address] += 1
        return None

    def leave(self, connection: "BoundedProtocol") -> None:
        """Count a connection no longer, if it was admitted."""
        if connection in self._open:
            self._open.remove(connection)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def close_overdue(self, now: float) -> None:
        """Close every connection whose client owes bytes for too long; `now` is the event loop's time."""
        before = now - self.request_seconds
        for connection in [each for each in self._open if each.owes_since_before(before)]:
            connection.give_up()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, within the bounds of `connections`."""

    def __init__(self, *arguments: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.bounds = connections
        self.address = ""
        self._owes_since: float | None = None
        """Since when the client owes us the rest of a request, or the next one."""
        self._stalled_since: float | None = None
        """Since when the client does not take what we send."""
        self._in_headers = False
        self._message_bytes = 0
        self._begun = 0
        self._body_is_to_come = False
        """Whether headers have just come without all of their body."""
        self._problem: ProblemError | None = None
        self._list: list[bytes] | None = None
        """The pieces that have come of a list that may be refused early."""
        self._list_size = 0
        self._list_began = 0.0
        self._refusal: asyncio.TimerHandle | None = None
        """What will tell that the last list is refused."""

    def connection_made(self, transport: Any) -> None:
        """Count a connection, or refuse it."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._owes_since = self.loop.time()
        reason = self.bounds.admit(self)
        if reason is not None:
            detail = "too many connections are open; close some, or try again in a moment"
            retry = {"Retry-After": RETRY_AFTER_SECONDS}
            self._refuse(reason, ProblemError(RequestCode.UNAVAILABLE, detail, headers=retry))

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a connection no longer."""
        self.bounds.leave(self)
        self._end_list()
        if self._refusal is not None:
            self._refusal.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is too much for one request."""
        between_messages = self._message_bytes == 0
        self._begun = 0
        self._message_bytes += len(data)
        super().data_received(data)
        if self._body_is_to_come:
            # Until the application asks for the body, it stays in the client's socket; uvicorn resumes when it does.
            self._body_is_to_come = False
            self.flow.pause_reading()
        if between_messages and self._begun == 1 and self._in_headers:
            self._message_bytes = len(data)
        if self._in_headers and self._message_bytes > MOST_HEADER_BYTES:
            self._refuse("headers", _large_headers())
        elif self._message_bytes > self.bounds.most_message_bytes:
            self.bounds.refused("body")
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._refusal is not None:
            self._tell_refusal()  # answers have the order of their requests
        super().on_message_begin()
        self._begun += 1
        self._message_bytes = 0
        self._in_headers = True
        self._owes_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Start to answer a request, unless its headers are too large."""
        self._in_headers = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.headers) > MOST_HEADERS or size > MOST_HEADER_BYTES:
            self._problem = _large_headers()
            raise ValueError(self._problem.detail)  # the parser stops, and uvicorn sends `send_400_response`
        is_idle = self.cycle is None or self.cycle.response_complete
        if self.bounds.lists is not None and is_idle and self.parser.should_keep_alive():
            self._list_size = self.bounds.lists.begin(self.url, self.headers)
        if self._list_size:
            self._list, self._list_began = [], time.perf_counter()
        else:
            self._begin_request()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if self._list is None:
            super().on_body(body)
        else:
            self._list.append(body)

    def on_message_complete(self) -> None:
        """End a request: now it is for us to answer."""
        if self._list is None:
            super().on_message_complete()
        else:
            self._end_or_refuse_list(b"".join(self._list))
        self._body_is_to_come = False
        if not self.pipeline:
            self.flow.resume_reading()
        self._owes_since = None
        self._message_bytes = 0

    def _begin_request(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = AnswerTransport(self.cycle)
        self._body_is_to_come = True

    def _end_or_refuse_list(self, body: bytes) -> None:
        """Refuse a list in a moment, or make a request of it that is complete."""
        assert self.bounds.lists is not None
        self._end_list()
        if self.bounds.lists.refuses(body, self._list_began):
            self._refusal = self.loop.call_later(NO_ROOM_SECONDS, self._tell_refusal)
        else:
            self._begin_request()
            super().on_body(body)
            super().on_message_complete()

    def _end_list(self) -> None:
        if self._list is not None and self.bounds.lists is not None:
            self.bounds.lists.end(self._list_size)
            self._list, self._list_size = None, 0

    def _tell_refusal(self) -> None:
        assert self._refusal is not None
        self._refusal.cancel()
        self._refusal = None
        self.transport.write(_NO_ROOM)
        super().on_response_complete()
        self._owes_since = self.loop.time()

    def shutdown(self) -> None:
        """Close the connection as soon as what was sent is answered."""
        if self._refusal is not None:
            self._tell_refusal()
        super().shutdown()

    def on_response_complete(self) -> None:
        """End an answer: now it is for the client to send another request."""
        super().on_response_complete()
        if self.cycle.response_complete or self._owes_since is not None:
            self._owes_since = self.loop.time()

    def pause_writing(self) -> None:
        """Note that the client does not take what we send."""
        super().pause_writing()
        self._stalled_since = self.loop.time()

    def resume_writing(self) -> None:
        """Note that the client takes it again."""
        super().resume_writing()
        self._stalled_since = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        detail = "this is no HTTP request; send one of HTTP/1.1"
        problem = self._problem or ProblemError(RequestCode.HTTP_ERROR, detail, status=400)
        self._refuse("headers" if self._problem else "malformed", problem)

    def owes_since_before(self, instant: float) -> bool:
        """Return whether the client has owed us bytes, or not taken ours, since before an instant."""
        if self._stalled_since is not None and self._stalled_since < instant:
            return True
        # While we do not read, because nobody has asked for the body yet, the client can't send it.
        if self._owes_since is None or self.pipeline or self.flow.read_paused:
            return False
        # A request that came while we work on the one before has to wait for us, not for its client.
        waits_for_us = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        return self._owes_since < instant and not waits_for_us

    def give_up(self) -> None:
        """Close the connection; say why, where an answer is expected."""
        if self._stalled_since is not None:
            self.bounds.refused("answer_not_taken")
            self.transport.abort()
        elif self._in_headers or self._list is not None or (self.cycle is not None and not self.cycle.response_started):
            detail = f"the request did not arrive within {self.bounds.request_seconds:g} s; send it again"
            self._refuse("slow", ProblemError(RequestCode.HTTP_ERROR, detail, status=408))
        else:
            self.transport.close()

    def _refuse(self, reason: str, problem: ProblemError) -> None:
        """Answer with a problem and close, unless an answer is under way."""
        self.bounds.refused(reason)
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_as_bytes(problem))
        self.transport.close()


def _large_headers() -> ProblemError:
    detail = f"the headers have more than {MOST_HEADER_BYTES} bytes or are more than {MOST_HEADERS}; send fewer"
    return ProblemError(RequestCode.HTTP_ERROR, detail, status=431)


def _as_bytes(problem: ProblemError, *, close: bool = True) -> bytes:
    body = json.dumps(problem.body()).encode()
    headers = {"content-type": "application/problem+json", "content-length": str(len(body)), **problem.headers}
    if close:
        headers["connection"] = "close"
    raw = with_security_headers([(name.lower().encode(), value.encode()) for name, value in headers.items()])
    lines = [b"".join((name, b": ", value, b"\r\n")) for name, value in raw]
    return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body])


_NO_ROOM: Final = _as_bytes(
    ProblemError(
        RequestCode.UNAVAILABLE,
        "so many operations of this key are under way that this list has no room; nothing was booked, send less at a "
        "time and try again",
        headers={"Retry-After": RETRY_AFTER_SECONDS},
    ),
    close=False,
)
