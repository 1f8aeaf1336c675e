"""Adds the headers that keep browsers from doing with an answer what it is not meant for."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    # Answers have a tenant's figures, and the browser of a user may be shared.
    "Cache-Control": "no-store",
    # No answer but the documentation page is a page.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Each unless the answer has its own. Strict-Transport-Security is for the proxy that has the certificate."""
_RAW: Final = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())


class SecureHeaders:
    """Adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the headers when its response begins."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                has = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(header for header in _RAW if header[0] not in has)]
            await send(message)

        await self._app(scope, receive, adding if scope["type"] == "http" else send)
