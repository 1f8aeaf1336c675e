"""The route of several operations in one request: each is parsed, decided and answered for itself, in order."""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from token_ledger.api.caller_operations import HotRoute
from token_ledger.api.problem_responses import problem_of
from token_ledger.api.rate_limits import RateLimits
from token_ledger.api.routes import leases, reservations, runs
from token_ledger.api.routes.events import EVENTS_OF_A_TURN, record_piece
from token_ledger.api.service import PARTS_OF_A_TURN, in_pieces, service_of
from token_ledger.core.model.principal import Principal
from token_ledger.ledger.errors import LedgerError
from token_ledger.runtime import Service
from token_ledger.wire.answers.operations import OperationResult, OperationResults
from token_ledger.wire.bodies.operations import OperationsBody
from token_ledger.wire.fields import Id
from token_ledger.wire.problems import ProblemError, invalid_field, invalid_problem

_HOT_VERBS = (reservations.RESERVE, leases.LEASE, reservations.SETTLE, reservations.EXTEND, reservations.RELEASE)
OPERATIONS = {operation.op: operation for operation in (*_HOT_VERBS, runs.STEP)}

_EVENT = "event"
_REPORTING = (reservations.SETTLE.op, reservations.RELEASE.op)
_id = TypeAdapter(Id)


class _OperationList(HotRoute):
    async def respond(self, request: Request, caller: Principal, body: Any, number: int | None) -> Mapping[str, Any]:
        service, caller = service_of(request), replace(caller, request=object())
        limits: RateLimits = request.app.state.rate_limits
        parts = await in_pieces(service, caller.tenant, _parts(service, limits, caller, body.operations))
        results = [result for part in parts for result in part]
        return {"tenant": str(caller.tenant), "role": caller.role.value, "results": results}


LIST = _OperationList(
    op="operate",
    path="/v1/operations",
    status=200,
    body=OperationsBody,
    answer_type=OperationResults,
    summary="Send several operations in one request",
    description=(
        "Each is decided in its order and has the status and body that its own route would answer with. One that is "
        "refused or malformed leaves the others alone."
    ),
)

HOT = (*_HOT_VERBS, LIST)
"""Routes outside FastAPI, for speed."""


def _parts(
    service: Service, limits: RateLimits, caller: Principal, operations: Sequence[Any]
) -> Iterator[tuple[int, Coroutine[Any, Any, list[OperationResult]]]]:
    """Yield the parts of a list: what follows one another and is an event, some at once, and every other operation."""
    for are_events, numbered in groupby(enumerate(operations), lambda each: _is_event(each[1])):
        if are_events:
            while piece := [
                (value, f"operations.{position}") for position, value in islice(numbered, EVENTS_OF_A_TURN)
            ]:
                # Many events take no longer than the other operations of a turn.
                yield min(PARTS_OF_A_TURN, len(piece)), _results_of_events(service, caller, piece)
        else:
            for position, value in numbered:
                yield 1, _result(service, limits, caller, value, f"operations.{position}")


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and value.get("op") == _EVENT


async def _results_of_events(
    service: Service, caller: Principal, operations: Sequence[tuple[dict[str, Any], str]]
) -> list[OperationResult]:
    events = [({name: each for name, each in value.items() if name != "op"}, within) for value, within in operations]
    try:
        answers = await record_piece(service, caller, events)
    except LedgerError as error:
        return [_refused(error) for _ in events]
    return [_refused(each) if isinstance(each, Exception) else {"status": 200, "body": {**each}} for each in answers]


async def _result(
    service: Service, limits: RateLimits, caller: Principal, value: Any, within: str
) -> list[OperationResult]:
    try:
        if not (isinstance(value, dict) and value.get("op") in _REPORTING):
            limits.take(caller)
        return [await _operate(service, caller, value, within)]
    except ValidationError as error:
        return [_refused(invalid_problem(error, within))]
    except (LedgerError, ProblemError) as error:
        return [_refused(error)]


def _refused(error: LedgerError | ProblemError) -> OperationResult:
    problem = error if isinstance(error, ProblemError) else problem_of(error)
    result: OperationResult = {"status": problem.status, "body": problem.body()}
    if (seconds := problem.headers.get("Retry-After")) is not None:
        result["retry_after"] = int(seconds)
    return result


async def _operate(service: Service, caller: Principal, value: Any, within: str) -> OperationResult:
    if not isinstance(value, dict):
        raise invalid_field(within, 'send an object such as {"op": "settle", "reservation_id": "68354048", …}')
    fields = dict(value)
    op = fields.pop("op", None)
    operation = OPERATIONS.get(op) if isinstance(op, str) else None
    if operation is None:
        raise invalid_field(f"{within}.op", f"use one of {', '.join((*OPERATIONS, _EVENT))}")
    number = None
    if operation.named is not None:
        try:
            number = int(_id.validate_python(fields.pop(operation.named, None)))
        except ValidationError as error:
            raise invalid_problem(error, f"{within}.{operation.named}") from None
    answer = await operation.run(service, caller, operation.body.model_validate(fields), number)
    return {"status": operation.status, "body": dict(answer)}
