"""Puts the HTTP service together: routes, errors, limits, metrics, the OpenAPI document."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import token_ledger
from token_ledger.api import admin, budgets, events, operations, own, quarantine, reports, runs, tenancy
from token_ledger.api.answers import Problem
from token_ledger.api.holds import HOT_ROUTES, hot_routes
from token_ledger.api.problems import (
    ProblemError,
    answer_problem,
    ledger_problem,
    media_type_problem,
    problem_response,
)  # fmt: skip
from token_ledger.api.service import Service
from token_ledger.api.wire import EventBody
from token_ledger.ledger.errors import LedgerError, Unavailable
from token_ledger.observability.metrics import Metrics
from token_ledger.storage.database import DatabaseAway


def create_app(service: Service) -> FastAPI:
    """Return the ASGI application of a service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Token Ledger",
        version=token_ledger.__version__,
        description="Budgets, holds and exact cost for the LLM calls of many agents, users and tenants.",
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.service = service
    app.router.routes.extend(hot_routes())
    for routes in (own, runs, events, operations, budgets, tenancy, admin, quarantine, reports):
        app.include_router(routes.router)
    _add_health(app, service)
    _add_errors(app)
    app.add_middleware(Measured, metrics=service.metrics, largest_body=service.settings.max_body_bytes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


class Measured:
    """Measures every request by its route's template and stops reading a body that is too large.

    FastAPI's own limit answers in plain text where a request states its length; this one answers with a problem.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, largest_body: int) -> None:
        self.app = app
        self.metrics = metrics
        self.largest_body = largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when its response has begun."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - started
                self.metrics.http_request(_template(scope), scope["method"], message["status"], seconds=seconds)
            await send(message)

        stated = Headers(scope=scope).get("content-length", "")
        if stated.isdigit() and int(stated) > self.largest_body:
            await self._too_large()(scope, receive, counting)
            return
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.largest_body:
                raise HTTPException(413, f"the body is larger than {self.largest_body} bytes")
            return message

        await self.app(scope, limited, counting)

    def _too_large(self) -> Response:
        return problem_response(413, "body_too_large", f"the body is larger than {self.largest_body} bytes")


_HOT_TEMPLATES: dict[object, str] = {endpoint: path for path, endpoint, *_ in HOT_ROUTES}


def _template(scope: Scope) -> str:
    hot = _HOT_TEMPLATES.get(scope.get("endpoint"))
    if hot is not None:
        return hot
    return getattr(scope.get("route"), "path", None) or "unknown"


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """The process is up."""
        return {"status": "ok", "version": token_ledger.__version__}

    @app.get("/readyz", tags=["health"])
    async def readyz() -> Response:
        """The process can serve: the database answers and has this version's schema."""
        reason = await service.why_not_ready()
        if reason is None:
            return Response('{"status":"ready"}', media_type="application/json")
        return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", reason, headers={"Retry-After": "1"})

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)


def _add_errors(app: FastAPI) -> None:
    app.add_exception_handler(ProblemError, answer_problem)

    @app.exception_handler(LedgerError)
    async def ledger_error(request: Request, error: LedgerError) -> Response:
        return await answer_problem(request, ledger_problem(error))

    @app.exception_handler(DatabaseAway)
    async def away(request: Request, error: DatabaseAway) -> Response:
        return await answer_problem(request, ledger_problem(Unavailable(str(error))))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"field": ".".join(str(part) for part in found["loc"][1:]), "message": found["msg"]}
            for found in error.errors()
        ]
        if any(found["type"] == "json_invalid" for found in error.errors()):
            return problem_response(400, "malformed_json", "the body is not JSON")
        if isinstance(error.body, bytes):  # FastAPI leaves a body of another type as it came
            return await answer_problem(request, media_type_problem(request))
        first = errors[0]
        detail = f"{first['field'] or 'the body'}: {first['message']}"
        return problem_response(422, "invalid_request", detail, errors=errors)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        # FastAPI says 400 of a body that it can't decode.
        codes = {400: "malformed_json", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
        code = codes.get(error.status_code, "http_error")
        return problem_response(error.status_code, code, str(error.detail), headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # The server's log has the trace; the caller learns that it is not at fault and that nothing was booked.
        return problem_response(500, "internal_error", "an unexpected error; the operation was not booked")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the hot routes that FastAPI does not see and the problems it can't know."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models: set[type[BaseModel]] = {EventBody, Problem}
    models.update(model for _, _, request, response, _ in HOT_ROUTES for model in (request, response))
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(definitions["$defs"])
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, endpoint, request, response, status in HOT_ROUTES:
        document["paths"].setdefault(path, {})["post"] = {
            "tags": ["reservations"],
            "summary": (endpoint.__doc__ or "").strip(),
            "operationId": endpoint.__name__,
            "parameters": [{"name": "reservation_id", "in": "path", "required": True, "schema": {"type": "string"}}]
            if "{" in path
            else [],
            "requestBody": {"required": True, "content": _json_content(request)},
            "responses": {
                str(status): {"description": "Done", "content": _json_content(response)},
                "402": {"description": "Denied", "content": problem},
            },
        }
    # FastAPI describes the stream with a word of OpenAPI 3.2 in a document of 3.1.
    document["paths"]["/v1/live"]["get"]["responses"]["200"]["content"] = {
        "text/event-stream": {"schema": {"type": "string"}}
    }
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if path.startswith("/v1"):
                operation["security"] = [{"key": []}]
                operation["responses"]["4XX"] = {"description": "A problem", "content": problem}
            operation["responses"]["503"] = {"description": "Try again", "content": problem}
            operation["responses"].pop("422", None)
    app.openapi_schema = document
    return document


def _json_content(model: type[Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
