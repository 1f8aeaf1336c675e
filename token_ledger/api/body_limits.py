"""Decides how much of a body is taken: how many bytes, values and levels, and how many bytes of all bodies at once.

Parsing makes a body up to thirty times as large, so all limits hold before it is parsed.
"""

import asyncio
from collections import Counter
from typing import Final

from token_ledger.core.model.tenant import TenantId
from token_ledger.wire.problems import RETRY_AFTER_SECONDS, ProblemError, RequestCode

MOST_VALUES: Final = 50_000
"""How many values a body may have. The largest that is useful, 256 users with 64 cost centers, has 33,000."""
MOST_LEVELS: Final = 1_000
"""How deep lists and objects may be nested. None needs more than eight, but events with more are kept in quarantine."""
SMALL_BYTES: Final = 16_384
"""A body up to this size needs no room: the number of connections bounds the bytes of all of them."""
LEAST_ROOM_BYTES: Final = 16 * 1_048_576
SHARES: Final = 4
"""A tenant has a quarter of the room, so that three others can be busy without any delay to a fifth."""
WAIT_SECONDS: Final = 1.0
"""How long a body waits for room."""

_BRACKETS: Final = bytes.maketrans(b"[{]}", b"(())")
_OPENING: Final = ord("(")
_FLAT_LEVELS: Final = 8
_NO_MARKS: Final = bytes(set(range(256)) - set(b'[{]}",'))


def check_shape(body: bytes) -> None:
    """Raise the problem of a body that has too many values or levels, without parsing it."""
    # Every value but the first of a list or object comes after a comma, and a string has two quotes. What is within
    # strings, as in a file that is imported, is looked at only where it might matter.
    if (body.count(b",") >= MOST_VALUES or body.count(b'"') >= 4 * MOST_VALUES) and _has_many_values(body):
        detail = f"the body has more than {MOST_VALUES} values; send less at a time"
        raise ProblemError(RequestCode.BODY_TOO_LARGE, detail)
    if body.count(b"[") + body.count(b"{") > MOST_LEVELS and _is_deep(body):
        detail = f"the body is nested more than {MOST_LEVELS} levels deep; send it as the documentation shows"
        raise ProblemError(RequestCode.MALFORMED_JSON, detail)


def _outside_strings(body: bytes) -> bytes:
    """Return the brackets and commas of a body that are not within strings, each opening one as ( and closing one as ).

    The quotes of a string without any are next to each other then, and most bodies have few others.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(_BRACKETS, _NO_MARKS).replace(b'""', b"")
    return b"".join(marks.split(b'"')[::2])


def _has_many_values(body: bytes) -> bool:
    return _outside_strings(body).count(b",") >= MOST_VALUES or _count_strings(body) >= 2 * MOST_VALUES


def _count_strings(body: bytes) -> int:
    return body.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') // 2


def _is_deep(body: bytes) -> bool:
    brackets = _outside_strings(body).replace(b",", b"")
    for _ in range(_FLAT_LEVELS):  # each pass takes the innermost level away, and of most bodies all is gone
        brackets = brackets.replace(b"()", b"")
    depth = _FLAT_LEVELS
    for bracket in brackets:
        depth += 1 if bracket == _OPENING else -1
        if depth > MOST_LEVELS:
            return True
        if depth < 0:
            return False  # it is no JSON, as the parser will say
    return False


class BodyRoom:
    """The room for bodies in memory, shared by tenants; `largest` is the largest body that is taken, in bytes."""

    def __init__(self, largest: int) -> None:
        self._room = max(LEAST_ROOM_BYTES, SHARES * largest)
        self._share = self._room // SHARES
        self._taken = 0
        self._taken_by: Counter[TenantId] = Counter()
        self._given_back = asyncio.Event()

    async def take(self, tenant: TenantId, size: int) -> None:
        """Take room for so many bytes as soon as there is some; raise 503 if there is none in time."""
        if not self._fits(tenant, size):
            await self._wait(tenant, size)
        self._taken += size
        self._taken_by[tenant] += size

    async def _wait(self, tenant: TenantId, size: int) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not self._fits(tenant, size):
                    await self._given_back.wait()
        except TimeoutError:
            detail = "too many large bodies are under way; nothing was booked, send this one again"
            headers = {"Retry-After": RETRY_AFTER_SECONDS}
            raise ProblemError(RequestCode.UNAVAILABLE, detail, headers=headers) from None

    def give_back(self, tenant: TenantId, size: int) -> None:
        """Give room back."""
        self._taken -= size
        self._taken_by[tenant] -= size
        if not self._taken_by[tenant]:
            del self._taken_by[tenant]
        self._given_back.set()
        self._given_back = asyncio.Event()

    def _fits(self, tenant: TenantId, size: int) -> bool:
        return self._taken + size <= self._room and self._taken_by[tenant] + size <= self._share
