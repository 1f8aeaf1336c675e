"""Sends the head of an answer together with its body, where uvicorn would write twice.

Two writes are two calls of the system and two packets, and wake the client twice: more than a hot answer costs to make.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class AnswerTransport(asyncio.Transport):
    """What one answer is written to: a head that states a length waits for the first piece of its body."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self._cycle = cycle
        self._transport = cycle.transport
        self._head = b""
        self._has_begun = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a head or a piece of a body."""
        if self._has_begun:
            self._transport.write(self._head + data if self._head else data)
            self._head = b""
            return
        # Before the head there may be a "100 Continue", for which the client waits.
        self._has_begun = self._cycle.response_started
        if self._has_begun and self._cycle.expected_content_length and self._cycle.scope["method"] != "HEAD":
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
