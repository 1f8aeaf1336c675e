"""The hot routes: reserve, lease, settle, extend, release. Plain Starlette routes inside the FastAPI app, for speed.

Their OpenAPI entries are written by hand (see `app`), since FastAPI does not see them.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from token_ledger.api import verbs
from token_ledger.api.access import CALLERS, principal_of, service_of
from token_ledger.api.answers import LeaseAnswer, ReservationAnswer, SettlementAnswer
from token_ledger.api.problems import ProblemError, invalid_problem, media_type_problem
from token_ledger.api.wire import ExtensionBody, LeaseBody, ReleaseBody, ReservationBody, SettlementBody

_reservation = TypeAdapter(ReservationBody)
_lease = TypeAdapter(LeaseBody)
_settlement = TypeAdapter(SettlementBody)
_extension = TypeAdapter(ExtensionBody)
_release = TypeAdapter(ReleaseBody)


async def reserve(request: Request) -> Response:
    """Hold what a call may take, or deny it with 402."""
    principal = await principal_of(request, CALLERS)
    body = await _parsed(request, _reservation)
    return _json(await verbs.reserve(service_of(request), principal.tenant, body))


async def lease(request: Request) -> Response:
    """Hold what up to so many calls may take, to be drawn down without asking, or deny it with 402."""
    principal = await principal_of(request, CALLERS)
    body = await _parsed(request, _lease)
    return _json(await verbs.lease(service_of(request), principal.tenant, body))


async def settle(request: Request) -> Response:
    """Book what a call really used; unless it was a part, end its hold."""
    principal = await principal_of(request, CALLERS)
    reservation_id = id_in_path(request, "reservation_id")
    body = await _parsed(request, _settlement)
    return _json(await verbs.settle(service_of(request), principal.tenant, body, reservation_id))


async def extend(request: Request) -> Response:
    """Let a hold expire later."""
    principal = await principal_of(request, CALLERS)
    reservation_id = id_in_path(request, "reservation_id")
    body = await _parsed(request, _extension)
    return _json(await verbs.extend(service_of(request), principal.tenant, body, reservation_id))


async def release(request: Request) -> Response:
    """End a hold with nothing, because the call surely was not made; or a lease, because it is not needed."""
    principal = await principal_of(request, CALLERS)
    reservation_id = id_in_path(request, "reservation_id")
    body = await _parsed(request, _release)
    return _json(await verbs.release(service_of(request), principal.tenant, body, reservation_id))


def id_in_path(request: Request, name: str) -> int:
    """Return an id from the path; what is no id names nothing."""
    text: str = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**63):
        raise ProblemError(404, "not_found", f"{text!r} is no {name}; ids are digits")
    return int(text)


async def _parsed(request: Request, adapter: TypeAdapter[Any]) -> Any:
    body = await request.body()
    if body and not request.headers.get("content-type", "").startswith("application/json"):
        raise media_type_problem(request)
    try:
        return adapter.validate_json(body or b"{}")
    except ValidationError as error:
        raise invalid_problem(error) from None


def _json(result: verbs.Result) -> Response:
    status, value = result
    return Response(json.dumps(value), status, media_type="application/json")


Endpoint = Callable[[Request], Awaitable[Response]]

HOT_ROUTES: tuple[tuple[str, Endpoint, type[Any], type[Any], int], ...] = (
    ("/v1/reservations", reserve, ReservationBody, ReservationAnswer, 201),
    ("/v1/leases", lease, LeaseBody, LeaseAnswer, 201),
    ("/v1/reservations/{reservation_id}/settle", settle, SettlementBody, SettlementAnswer, 200),
    ("/v1/reservations/{reservation_id}/extend", extend, ExtensionBody, ReservationAnswer, 200),
    ("/v1/reservations/{reservation_id}/release", release, ReleaseBody, ReservationAnswer, 200),
)
"""Path, endpoint, request model, response model and the status of success."""


def hot_routes() -> list[Route]:
    """Return the routes to mount."""
    return [Route(path, endpoint, methods=["POST"]) for path, endpoint, *_ in HOT_ROUTES]
