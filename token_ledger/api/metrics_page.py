"""Serves the process's metrics to Prometheus, on a listener of its own, because they name tenants and users."""

import asyncio
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from token_ledger.api.problem_responses import problem_response
from token_ledger.observability.metrics import Metrics
from token_ledger.wire.problems import ProblemError, RequestCode

PATH: Final = "/metrics"
KEPT_SECONDS: Final = 1.0
"""How long a page is kept: rendering it takes a tenth of a second, and scrapers come every few seconds."""


class MetricsPage:
    """The ASGI application with the metrics of a process. They are rendered in a thread, once for all who ask."""

    def __init__(self, registry: CollectorRegistry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self._begun = 0.0
        self._page: asyncio.Future[bytes] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the page."""
        assert scope["type"] == "http"
        if (scope["method"], scope["path"]) == ("GET", PATH):
            response = Response(await self._rendered(), media_type=CONTENT_TYPE_LATEST)
        else:
            response = problem_response(ProblemError(RequestCode.NOT_FOUND, f"only GET {PATH} is here"))
        await response(scope, receive, send)

    async def _rendered(self) -> bytes:
        now = asyncio.get_running_loop().time()
        if self._page is None or (self._page.done() and now - self._begun >= KEPT_SECONDS):
            self._begun = now
            self._metrics.begin_scrape()
            self._page = asyncio.ensure_future(asyncio.to_thread(generate_latest, self._registry))
        return await asyncio.shield(self._page)
