"""Sends the head of an answer together with its body, where uvicorn would write twice.

Two writes are two calls of the system and two packets, and wake the client twice: more than a hot answer costs to make.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class AnswerTransport(asyncio.Transport):
    """What one answer is written to: a head that states a length waits for the first piece of its body."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self._transport = cycle.transport
        self._head = b""
        self._to_begin: RequestResponseCycle | None = cycle
        """The cycle, until its head is written: two objects that name each other are left to the garbage collector."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a head or a piece of a body."""
        cycle = self._to_begin
        if cycle is None:
            self._transport.write(self._head + data if self._head else data)
            self._head = b""
        # Before the head there may be a "100 Continue", for which the client waits.
        elif not cycle.response_started:
            self._transport.write(data)
        else:
            self._to_begin = None
            if cycle.expected_content_length and cycle.scope["method"] != "HEAD":
                self._head = bytes(data)
            else:
                self._transport.write(data)

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closed or about to be."""
        return self._transport.is_closing()
