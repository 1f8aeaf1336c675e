"""Counts requests and measures how long they take."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from token_ledger.observability.metrics import Metrics


class Measured:
    """Measures every request by the template of its route; one that is refused at the door has none."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when its response begins."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - started
                measured = self.metrics.http_request_seconds(_template(scope), scope["method"], str(message["status"]))
                measured.observe(seconds)
            await send(message)

        await self.app(scope, receive, counting)


def _template(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", None) or "unknown"
