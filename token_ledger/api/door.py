"""Lets requests in: a body is read only when it is known who sends it, and parsed only when it is within the limits.

Every path under /v1 needs a key or a token. The others have no body: they tell about the service, and nothing is read
for them.
"""

import asyncio
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from token_ledger.api.access import authenticated
from token_ledger.api.body_limits import SMALL_BYTES, BodyRoom, check_shape
from token_ledger.api.early_refusals import NO_ROOM_SECONDS
from token_ledger.api.measuring import count_request
from token_ledger.api.problem_responses import ANSWERED, problem_of, problem_response
from token_ledger.api.rate_limits import RateLimits, counts
from token_ledger.api.security_headers import with_security_headers
from token_ledger.api.shedding import only_asks, operations_in
from token_ledger.core.model.principal import Principal
from token_ledger.core.model.tenant import TenantId
from token_ledger.identity.authentication import Authenticator
from token_ledger.ledger.errors import NoRoom
from token_ledger.ledger.turns import PIECES_OF_A_LIST, Turns
from token_ledger.ledger.waiting_room import Room
from token_ledger.observability.metrics import Metrics
from token_ledger.wire.problems import ProblemError, RequestCode

KEYED: Final = "/v1"
"""The start of every path that needs a key or token."""


class ClientGone(Exception):
    """The client closed its connection before its body was complete."""


class Door:
    """Authenticates a request, reads its body within the limits, waits for the turn of its tenant, passes both on.

    It is outside everything else, so it also measures every request and adds the headers of every answer.
    """

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, limits: RateLimits, room: Room, turns: Turns,
        metrics: Metrics, largest_body: int,
    ) -> None:  # fmt: skip
        self._app = app
        self._authenticator = authenticator
        self._limits = limits
        self._room = room
        self._turns = turns
        self._metrics = metrics
        self._largest = largest_body
        self._body_room = BodyRoom(largest_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its principal and its body, or answer why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = self._answering(scope, send)
        if not scope["path"].startswith(KEYED):
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # of a header that comes twice, the first counts
        pause = 0.0
        try:
            await self._let_in(scope, headers, receive, send)
            return
        except ANSWERED as error:
            # No variable keeps the problem: it is the error, whose traceback keeps the frames and so the body alive.
            response = problem_response(problem_of(error))
            if isinstance(error, NoRoom):
                pause = NO_ROOM_SECONDS
        except ClientGone:
            return
        if b"expect" in headers or _is_endless(headers, self._largest):
            response.headers["Connection"] = "close"
        if pause:
            await asyncio.sleep(pause)
        await response(scope, receive, send)

    async def _let_in(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        """Pass a request on; raise why not."""
        credential = headers.get(b"authorization", b"").decode("latin-1")
        principal = scope["principal"] = await authenticated(self._authenticator, credential)
        path = scope["path"]
        if self._limits.are_set and counts(path):
            self._limits.take(principal)
        chunked = b"transfer-encoding" in headers
        if not chunked and headers.get(b"content-length", b"0") == b"0":
            await self._turns.take(principal.tenant)
            scope["content"] = b""
            await self._app(scope, receive, send)
            return
        stated = None if chunked else int(headers[b"content-length"])
        if stated is None or stated <= self._largest:
            self._check_room(principal, operations_in(path, stated or 0), asking=False)
        async with _Body(self._body_room, principal.tenant, self._largest) as body:
            content = await body.read(stated, receive)
            operations = operations_in(path, len(content))
            if self._why_full(principal, operations, asking=True) is not None:  # else nobody has to look
                self._check_room(principal, operations, asking=only_asks(path, content))
            self._room.enter(principal.tenant, principal.key_id, operations)
            try:
                await self._turns.take(principal.tenant, 1 if operations == 1 else PIECES_OF_A_LIST)
                check_shape(content)
                scope["content"] = content
                await self._app(scope, _again(content, receive), send)
            finally:
                self._room.leave(principal.tenant, principal.key_id, operations)

    def _check_room(self, principal: Principal, operations: int, *, asking: bool) -> None:
        if (full := self._why_full(principal, operations, asking=asking)) is not None:
            raise NoRoom(full)

    def _why_full(self, principal: Principal, operations: int, *, asking: bool) -> str | None:
        return self._room.why_full(principal.tenant, principal.key_id, asking=asking, operations=operations)

    def _answering(self, scope: Scope, send: Send) -> Send:
        """Return what sends an answer, with the headers of every answer, and counts the request when it begins."""
        started = time.perf_counter()

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start":
                count_request(self._metrics, scope, message["status"], time.perf_counter() - started)
                message["headers"] = with_security_headers(message["headers"])
            await send(message)

        return answering


class _Body:
    """A body under way, and the room that it takes."""

    def __init__(self, room: BodyRoom, tenant: TenantId, largest: int) -> None:
        self._room = room
        self._tenant = tenant
        self._largest = largest
        self._taken = 0

    async def __aenter__(self) -> "_Body":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._taken:
            self._room.give_back(self._tenant, self._taken)

    async def read(self, stated: int | None, receive: Receive) -> bytes:
        """Return the whole body, of which a header may have stated the size."""
        if stated is not None:
            await self._make_room(stated)
        message = await _piece(receive)
        if not message.get("more_body"):
            content: bytes = message.get("body", b"")
            await self._make_room(len(content))
            return content
        pieces = bytearray()
        while True:
            pieces += message.get("body", b"")
            await self._make_room(len(pieces))
            if not message.get("more_body"):
                return bytes(pieces)
            message = await _piece(receive)

    async def _make_room(self, size: int) -> None:
        if size > self._largest:
            detail = f"the body is larger than {self._largest} bytes; send less at a time"
            raise ProblemError(RequestCode.BODY_TOO_LARGE, detail)
        if size > SMALL_BYTES and size > self._taken:
            await self._room.take(self._tenant, size - self._taken)
            self._taken = size


async def _piece(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _again(content: bytes, receive: Receive) -> Receive:
    """Return what gives the body once more, and then what comes after it."""
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


def _is_endless(headers: dict[bytes, bytes], largest: int) -> bool:
    """Return whether a body that nobody reads is too long to let it pass by until the next request."""
    return b"transfer-encoding" in headers or int(headers.get(b"content-length", b"0")) > largest
