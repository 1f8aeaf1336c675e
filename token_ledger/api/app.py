"""Puts the HTTP service together: routes, errors, limits, metrics, documentation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import token_ledger
from token_ledger.api import routes
from token_ledger.api.door import Door
from token_ledger.api.live_feeds import LiveFeeds
from token_ledger.api.measuring import Measured
from token_ledger.api.openapi import DESCRIPTION, TAGS, openapi_document
from token_ledger.api.problem_responses import add_problem_handlers
from token_ledger.api.rate_limits import RateLimits
from token_ledger.api.security_headers import SecureHeaders
from token_ledger.api.swagger_ui import add_documentation
from token_ledger.runtime import Service


def create_app(service: Service) -> FastAPI:
    """Return the ASGI application of a service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
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
    limits = app.state.rate_limits = RateLimits(service.settings.requests_per_second)
    app.state.live_feeds = LiveFeeds(service.database, service.stopping)
    routes.add_to(app)
    add_documentation(app)
    add_problem_handlers(app)
    # The one that is added last is outermost.
    app.add_middleware(
        Door,
        authenticator=service.authenticator,
        limits=limits,
        check_room=service.check_room,
        turns=service.turns,
        largest_body=service.settings.max_body_bytes,
    )
    app.add_middleware(Measured, metrics=service.metrics)
    app.add_middleware(SecureHeaders)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]
    return app
