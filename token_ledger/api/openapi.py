"""Makes the OpenAPI document: what FastAPI says, the hot routes that it does not see, the problems it cannot know."""

from collections.abc import Iterable
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.sse import EventSourceResponse
from pydantic import TypeAdapter

from token_ledger.api import routes
from token_ledger.api.caller_operations import CallerOperation, HotRoute
from token_ledger.api.routes import operations
from token_ledger.reports.formats.json import LiveEventAnswer
from token_ledger.wire.answers.problems import Problem
from token_ledger.wire.answers.run_news import RunNewsAnswer
from token_ledger.wire.bodies.events import USAGE_BODIES

DESCRIPTION = """\
Budgets, holds and exact cost for the LLM calls of many agents, users and tenants.

Reserve before a call, settle after it. Send the API key as `Authorization: Bearer tl_…`.

* Money is dollars as a decimal string, exact to the nano-dollar. Ids are strings of digits. Instants are RFC 3339.
* Every request that changes something has an `idempotency_key`: after a lost answer, send the same request again.
* Errors are `application/problem+json` with a stable `code`. A denied call is 402. After 503, retry with the same key.
"""

TAGS = [
    {"name": "reservations", "description": "Ask before a call, settle after it."},
    {"name": "runs", "description": "One request that agents work on, with limits of its own."},
    {"name": "events", "description": "Calls that were made without a reservation, and reversals of what was booked."},
    {"name": "quarantine", "description": "What could not be booked, until someone decides on it."},
    {"name": "budgets", "description": "Limits for calls that a selector chooses, per window."},
    {"name": "accounts", "description": "Balances of budgets and runs, and what raises their limits."},
    {"name": "triggers", "description": "Advice to compress a prompt or take a cheaper model."},
    {"name": "reports", "description": "Spend, denials and the live stream."},
    {"name": "users", "description": "People and systems for whom agents run, and their cost centers."},
    {"name": "prices", "description": "What models cost, prices of the tenant's own, and what names stand for."},
    {"name": "model names", "description": "What the names of models are in the books."},
    {"name": "calendar", "description": "Time zone, first day of a week and fiscal year of the tenant."},
    {"name": "duplicates", "description": "Whether the reports of one response of a provider are one call."},
    {"name": "stop", "description": "The emergency stop."},
    {"name": "audit", "description": "Who changed what."},
    {"name": "keys", "description": "API keys, short-lived tokens, and what their holders see."},
    {"name": "tenants", "description": "For operators: the tenants of the service."},
    {"name": "identity providers", "description": "For operators: whose tokens are accepted for people of a tenant."},
    {"name": "health", "description": "The process itself. No key is needed."},
]

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
_ID_PARAMETERS = {"reservation_id": ("The reservation or lease.", "68354048")}
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "Continue after this event; browsers send it when they reconnect. It takes precedence over `after`.",
    "schema": {"type": "string", "examples": ["68419584"]},
}

_STREAMS = ("/v1/live", "/v1/runs/{run_id}/events")


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app, made once."""
    if not app.openapi_schema:
        app.openapi_schema = _document(app)
    return app.openapi_schema


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, tags=app.openapi_tags, routes=app.routes
    )
    hot = {route.path: {"post": _entry(route)} for route in operations.HOT}
    for path, entry in hot.items():
        document["paths"].setdefault(path, {}).update(entry)
    # The hot routes first, because readers of the page look for them first.
    document["paths"] = {path: document["paths"][path] for path in (*hot, *document["paths"])}
    for path in _STREAMS:
        _describe_stream(document["paths"][path]["get"])
    for path, methods in document["paths"].items():
        for entry in methods.values():
            _split_docstring(entry)
            _add_problems(entry, with_key=path.startswith("/v1"))
    document["components"] = {
        "schemas": _schemas(),
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key or token."}},
    }
    return document


def _schemas() -> dict[str, Any]:
    """Return the schemas of all bodies and answers.

    Those that FastAPI makes lack the ones of the hot routes, and every null in their examples.
    """
    types: list[Any] = [*USAGE_BODIES, Problem, LiveEventAnswer, RunNewsAnswer]
    for hot in operations.HOT:
        types += [hot.body, hot.answer_type]
    for noun in routes.NOUNS:
        for route in noun.router.routes:
            if isinstance(route, APIRoute) and route.response_class is not EventSourceResponse:
                types += [route.response_model, route.body_field and route.body_field.field_info.annotation]
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [
        (each.__name__, "validation", TypeAdapter(each)) for each in dict.fromkeys(types) if each is not None
    ]
    _, schemas = TypeAdapter.json_schemas(adapters, ref_template=_REFERENCE)
    found: dict[str, Any] = schemas["$defs"]
    return found


def _entry(route: HotRoute) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(route.status): {"description": "Successful Response", "content": _content(route.answer_type)}
    }
    if isinstance(route, CallerOperation):
        responses["402"] = {"description": "Denied: do not make the call", "content": _PROBLEM}
    return {
        "tags": ["reservations"],
        "summary": route.summary,
        "description": route.description,
        "operationId": route.op,
        "parameters": list(_parameters(route.named)),
        "requestBody": {"required": True, "content": _content(route.body)},
        "responses": responses,
    }


def _parameters(named: str | None) -> Iterable[dict[str, Any]]:
    if named is not None:
        description, example = _ID_PARAMETERS[named]
        yield {
            "name": named, "in": "path", "required": True, "description": description,
            "schema": {"type": "string", "examples": [example]},
        }  # fmt: skip


def _content(of: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model=of.__name__)}}}


def _describe_stream(entry: dict[str, Any]) -> None:
    # FastAPI describes a stream with a word of OpenAPI 3.2 in a document of 3.1.
    entry["responses"]["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    entry["parameters"].append(_LAST_EVENT_ID)


def _split_docstring(entry: dict[str, Any]) -> None:
    """Take the first sentence of a route's docstring as its summary; FastAPI takes all of it as the description."""
    summary, _, rest = entry["description"].partition("\n\n")
    if rest:
        entry["summary"], entry["description"] = summary.removesuffix("."), rest


def _add_problems(entry: dict[str, Any], *, with_key: bool) -> None:
    if with_key:
        entry["security"] = [{"key": []}]
        entry["responses"]["4XX"] = {"description": "A problem with the request", "content": _PROBLEM}
    entry["responses"]["503"] = {"description": "The service cannot answer now: try again", "content": _PROBLEM}
    entry["responses"].pop("422", None)
