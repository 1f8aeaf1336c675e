"""The route of several operations in one request: each is parsed, decided and answered for itself, in order."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from token_ledger.api import verbs
from token_ledger.api.access import CALLERS, Needs, service_of
from token_ledger.api.answers import OperationResults
from token_ledger.api.events import record_event
from token_ledger.api.problems import STATUS_OF, ProblemError, invalid_problem, ledger_problem
from token_ledger.api.service import Service
from token_ledger.api.wire import (
    ExtensionBody,
    Id,
    LeaseBody,
    OperationsBody,
    ReleaseBody,
    ReservationBody,
    SettlementBody,
    StepBody,
)  # fmt: skip
from token_ledger.core.outcomes import Code
from token_ledger.core.tenant import TenantId
from token_ledger.ledger.errors import LedgerError
from token_ledger.storage.api_keys import Principal

router = APIRouter(prefix="/v1")
Caller = Annotated[Principal, Depends(Needs(CALLERS))]

Verb = Callable[..., Awaitable[verbs.Result]]

OPERATIONS: dict[str, tuple[TypeAdapter[Any], Verb, str | None]] = {
    "reserve": (TypeAdapter(ReservationBody), verbs.reserve, None),
    "lease": (TypeAdapter(LeaseBody), verbs.lease, None),
    "settle": (TypeAdapter(SettlementBody), verbs.settle, "reservation_id"),
    "extend": (TypeAdapter(ExtensionBody), verbs.extend, "reservation_id"),
    "release": (TypeAdapter(ReleaseBody), verbs.release, "reservation_id"),
    "step": (TypeAdapter(StepBody), verbs.step, "run_id"),
}
"""By `op`: the body, the verb, and what the path of its own route names."""

_id = TypeAdapter(Id)


@router.post("/operations", response_model=OperationResults, tags=["reservations"])
async def operate(request: Request, caller: Caller, body: OperationsBody) -> Any:
    """Do several operations, each for itself: one that is refused or malformed leaves the others alone."""
    service = service_of(request)
    results = await asyncio.gather(
        *(_operate(service, caller.tenant, value, position) for position, value in enumerate(body.operations))
    )
    return {"results": [{"status": status, "body": value} for status, value in results]}


async def _operate(service: Service, tenant: TenantId, value: Any, position: int) -> verbs.Result:
    within = f"operations.{position}"
    try:
        return await _done(service, tenant, value, within)
    except ValidationError as error:
        problem = invalid_problem(error, within)
    except LedgerError as error:
        problem = ledger_problem(error)
    except ProblemError as error:
        problem = error
    return problem.status, problem.value()


async def _done(service: Service, tenant: TenantId, value: Any, within: str) -> verbs.Result:
    if not isinstance(value, dict):
        raise ProblemError(422, "invalid_request", f"{within}: an operation is an object", field=within)
    fields = dict(value)
    op = fields.pop("op", None)
    if op == "event":
        result = await record_event(service, tenant, fields, within)
        if result["status"] in ("conflict", "refused"):
            status = STATUS_OF[Code(result["code"])]
            raise ProblemError(status, result["code"], result["detail"], field=result.get("field"))
        return 200, result
    if not isinstance(op, str) or op not in OPERATIONS:
        known = ", ".join((*OPERATIONS, "event"))
        raise ProblemError(422, "invalid_request", f"{within}.op: use one of {known}", field=f"{within}.op")
    adapter, verb, named = OPERATIONS[op]
    if named is None:
        return await verb(service, tenant, adapter.validate_python(fields))
    try:
        number = int(_id.validate_python(fields.pop(named, None)))
    except ValidationError as error:
        raise invalid_problem(error, f"{within}.{named}") from None
    parsed: BaseModel = adapter.validate_python(fields)
    return await verb(service, tenant, parsed, number)
