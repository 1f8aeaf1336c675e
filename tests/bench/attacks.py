"""Attacks on the HTTP front door, over plain sockets: what they send is what no client library would."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.api_keys import new_key

_ANSWER_SECONDS: Final = 20
_PIECE: Final = 65_536

Attack = Callable[[], bytes]
"""Returns what one connection sends."""


def deep_list(key: str, size: int = 1_000_000) -> Attack:
    """A body of `size` bytes that is small to send and large to parse, with a key."""
    body = b'{"events":[' + b"[]," * ((size - 16) // 3) + b"[]]}"
    sent = _head(key, len(body)) + body
    return lambda: sent


def made_up_key() -> Attack:
    """A key of the right form that was never made, another for every connection, and a long one that is none."""
    return lambda: _head(new_key(TenantId(1), "live")[0], 2) + b"{}"


def long_made_up_key() -> Attack:
    """A key of 16 kB, another for every connection."""
    return lambda: _head(new_key(TenantId(1), "live")[0] + "x" * 16_000, 2) + b"{}"


def endless_header(size: int = 100_000_000) -> Attack:
    """A header that has not ended after `size` bytes."""
    return lambda: b"POST /v1/events HTTP/1.1\r\nHost: ledger\r\nX-Filler: " + b"x" * size


async def attack(base: str, attack: Attack, *, connections: int, rounds: int = 1) -> list[int]:
    """Send an attack on so many connections at once, so many times each; return the statuses, 0 for no answer."""
    address = urlsplit(base)
    statuses: list[int] = []

    async def one() -> None:
        for _ in range(rounds):
            status = await _send(str(address.hostname), address.port or 80, attack())
            statuses.append(status)

    await asyncio.gather(*(one() for _ in range(connections)))
    return statuses


async def _send(host: str, port: int, sent: bytes) -> int:
    """Send bytes as fast as they are taken, and return the status that is answered."""
    reader, writer = await asyncio.open_connection(host, port)
    sending = asyncio.create_task(_write(writer, sent))
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except (OSError, TimeoutError):
        return 0
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        writer.transport.abort()


async def _write(writer: asyncio.StreamWriter, sent: bytes) -> None:
    with contextlib.suppress(OSError):
        for start in range(0, len(sent), _PIECE):
            writer.write(sent[start : start + _PIECE])
            await writer.drain()


def _head(key: str, length: int) -> bytes:
    return (
        f"POST /v1/events HTTP/1.1\r\nHost: ledger\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
