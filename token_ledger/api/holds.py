"""The hot routes: reserve, settle, release. Plain Starlette routes inside the FastAPI app, for speed.

Their OpenAPI entries are written here by hand, since FastAPI does not see them.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from token_ledger.api.access import CALLERS, principal_of, service_of
from token_ledger.api.answers import ReservationAnswer, SettlementAnswer, reservation_value, settlement_value
from token_ledger.api.problems import (
    ProblemError,
    denied_response,
    invalid_problem,
    media_type_problem,
    refused_problem,
)  # fmt: skip
from token_ledger.api.translate import release_command, reserve_command, settle_command
from token_ledger.api.wire import ReleaseBody, ReservationBody, SettlementBody
from token_ledger.core.outcomes import Denied, Granted, Quarantined, Refused, Released, Settled

_reservation = TypeAdapter(ReservationBody)
_settlement = TypeAdapter(SettlementBody)
_release = TypeAdapter(ReleaseBody)


async def reserve(request: Request) -> Response:
    """Hold what a call may take, or deny it with 402."""
    principal = await principal_of(request, CALLERS)
    command = reserve_command(await _parsed(request, _reservation))
    outcome = await service_of(request).submit(principal.tenant, command)
    if isinstance(outcome, Granted):
        return _json(reservation_value(outcome.reservation, replayed=outcome.replayed), 201)
    if isinstance(outcome, Denied):
        return denied_response(outcome)
    assert isinstance(outcome, Refused)
    raise refused_problem(outcome)


async def settle(request: Request) -> Response:
    """Book what a call really used and end its hold."""
    principal = await principal_of(request, CALLERS)
    reservation_id = id_in_path(request, "reservation_id")
    command = settle_command(await _parsed(request, _settlement), reservation_id)
    outcome = await service_of(request).submit(principal.tenant, command)
    if isinstance(outcome, Settled):
        return _json(settlement_value(outcome.event, replayed=outcome.replayed))
    assert isinstance(outcome, Refused | Quarantined)
    raise refused_problem(outcome)


async def release(request: Request) -> Response:
    """End a hold with nothing, because the call surely was not made."""
    principal = await principal_of(request, CALLERS)
    reservation_id = id_in_path(request, "reservation_id")
    command = release_command(await _parsed(request, _release), reservation_id)
    outcome = await service_of(request).submit(principal.tenant, command)
    if isinstance(outcome, Released):
        return _json(reservation_value(outcome.reservation, replayed=outcome.replayed))
    assert isinstance(outcome, Refused)
    raise refused_problem(outcome)


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


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")


Endpoint = Callable[[Request], Awaitable[Response]]

HOT_ROUTES: tuple[tuple[str, Endpoint, type[Any], type[Any], int], ...] = (
    ("/v1/reservations", reserve, ReservationBody, ReservationAnswer, 201),
    ("/v1/reservations/{reservation_id}/settle", settle, SettlementBody, SettlementAnswer, 200),
    ("/v1/reservations/{reservation_id}/release", release, ReleaseBody, ReservationAnswer, 200),
)
"""Path, endpoint, request model, response model and the status of success."""


def hot_routes() -> list[Route]:
    """Return the routes to mount."""
    return [Route(path, endpoint, methods=["POST"]) for path, endpoint, *_ in HOT_ROUTES]
