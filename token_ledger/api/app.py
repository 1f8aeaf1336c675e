"""Puts the HTTP service together: routes, errors, limits, metrics, documentation."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import token_ledger
from token_ledger.api import routes
from token_ledger.api.door import Door
from token_ledger.api.live_feeds import LiveFeeds
from token_ledger.api.openapi import DESCRIPTION, TAGS, openapi_document
from token_ledger.api.problem_responses import ANSWERED, add_problem_handlers
from token_ledger.api.rate_limits import RateLimits
from token_ledger.api.swagger_ui import add_documentation
from token_ledger.runtime import Service

_TRUSTED_PROXIES: Final = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
"""Whose X-Forwarded headers are believed. Only redirects look at them, so the hot operations do without."""


class _App(FastAPI):
    """FastAPI behind a door, which no middleware is outside of: a request that it refuses costs nothing else.

    Behind the door the hot operations are called at once: the middleware between costs as much as half of a decision.
    """

    def __init__(self, door: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._door = door

    def build_middleware_stack(self) -> ASGIApp:
        """Return what answers requests."""
        others: Any = ProxyHeadersMiddleware(cast(Any, super().build_middleware_stack()), _TRUSTED_PROXIES)
        hot = routes.hot_routes()
        unexpected = self.exception_handlers[Exception]

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            route = next((each for each in hot if _is_for(each, scope)), None)
            if route is None:
                await others(scope, receive, send)
                return
            scope["app"] = self
            try:
                await route.handle(scope, receive, send)
            except ANSWERED:
                raise
            except Exception as error:
                response: Response = await unexpected(Request(scope), error)  # type: ignore[misc]
                await response(scope, receive, send)
                raise

        return self._door(answer)


def _is_for(route: Route, scope: Scope) -> bool:
    """Return whether a request is for a route; note in its scope what the route needs to know."""
    if scope["type"] != "http":
        return False
    match, found = route.matches(scope)
    if match is not Match.FULL:
        return False
    scope.update(found)
    return True


def create_app(service: Service) -> FastAPI:
    """Return the ASGI application of a service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    limits = RateLimits(service.settings.requests_per_second)
    app = _App(
        partial(
            Door,
            authenticator=service.authenticator,
            limits=limits,
            room=service.room,
            turns=service.turns,
            metrics=service.metrics,
            largest_body=service.settings.max_body_bytes,
        ),
        title="Token Ledger",
        version=token_ledger.__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        docs_url=None,  # FastAPI's page needs the internet; `swagger_ui` serves one that does not
        redoc_url=None,
    )
    app.state.service = service
    app.state.rate_limits = limits
    app.state.live_feeds = LiveFeeds(service.database, service.stopping)
    routes.add_to(app)
    add_documentation(app)
    add_problem_handlers(app)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]
    return app
