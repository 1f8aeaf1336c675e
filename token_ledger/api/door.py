"""Lets requests in: a body is read only when it is known who sends it, and parsed only when it is within the limits.

Every path under /v1 needs a key or a token. The others have no body: they tell about the service, and nothing is read
for them.
"""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from token_ledger.api.access import authenticated
from token_ledger.api.body_limits import SMALL_BYTES, BodyRoom, check_shape
from token_ledger.api.problem_responses import ANSWERED, problem_of, problem_response
from token_ledger.api.rate_limits import RateLimits, counts
from token_ledger.api.shedding import asked_for
from token_ledger.core.model.tenant import TenantId
from token_ledger.identity.authentication import Authenticator
from token_ledger.ledger.turns import Turns
from token_ledger.wire.problems import ProblemError, RequestCode

KEYED: Final = "/v1"
"""The begin of every path that needs a key or token."""


CheckRoom = Callable[[TenantId, str, int], None]
"""Raises Unavailable if a tenant's key can't ask for so much that is new now."""


class ClientGone(Exception):
    """The client closed its connection before its body was complete."""


class Door:
    """Authenticates a request, waits for the turn of its tenant, reads its body within the limits, passes both on."""

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, limits: RateLimits, check_room: CheckRoom, turns: Turns,
        largest_body: int,
    ) -> None:  # fmt: skip
        self._app = app
        self._authenticator = authenticator
        self._check_room = check_room
        self._turns = turns
        self._limits = limits
        self._largest = largest_body
        self._room = BodyRoom(largest_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its principal and its body, or answer why not."""
        if scope["type"] != "http" or not scope["path"].startswith(KEYED):
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # of a header that comes twice, the first counts
        try:
            credential = headers.get(b"authorization", b"").decode("latin-1")
            principal = scope["principal"] = await authenticated(self._authenticator, credential)
            await self._turns.take(principal.tenant)
            if counts(scope["path"]):
                self._limits.take(principal)
            chunked = b"transfer-encoding" in headers
            if not chunked and headers.get(b"content-length", b"0") == b"0":
                await self._app(scope, receive, send)
                return
            stated = None if chunked else int(headers[b"content-length"])
            async with _Body(self._room, principal.tenant, self._largest) as body:
                content = await body.read(stated, receive)
                if commands := asked_for(scope["path"], content):
                    self._check_room(principal.tenant, principal.key_id, commands)
                check_shape(content)
                await self._app(scope, _again(content, receive), send)
        except ANSWERED as error:
            # No variable keeps the problem: it is the error, whose traceback keeps this frame and so the body alive.
            response = problem_response(problem_of(error))
            if b"expect" in headers or _is_endless(headers, self._largest):
                response.headers["Connection"] = "close"
            await response(scope, receive, send)
        except ClientGone:
            return


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
