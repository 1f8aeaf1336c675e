"""Routes of runs, of reservations that are read, and of events without a hold."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import TypeAdapter, ValidationError

from token_ledger.api.access import CALLERS, READERS, Needs, service_of
from token_ledger.api.answers import (
    EventResults,
    ReservationAnswer,
    RunAnswerBody,
    reservation_value,
    run_value,
)  # fmt: skip
from token_ledger.api.holds import id_in_path
from token_ledger.api.problems import ProblemError, invalid_problem, refused_problem
from token_ledger.api.service import Service
from token_ledger.api.translate import end_run_command, kept_body, open_run_command, record_command
from token_ledger.api.wire import EventBody, EventsBody, Name, RunBody, RunEndBody
from token_ledger.core.commands import Quarantine, Record, fingerprint
from token_ledger.core.money import format_money
from token_ledger.core.outcomes import Code, Outcome, Quarantined, Recorded, Refused, RunAnswer
from token_ledger.core.run import RunState
from token_ledger.core.tenant import TenantId
from token_ledger.ledger.errors import Unstorable
from token_ledger.storage.api_keys import Principal
from token_ledger.storage.reads import find_reservation, find_run, find_run_accounts, find_runs

router = APIRouter(prefix="/v1")
Caller = Annotated[Principal, Depends(Needs(CALLERS))]
Reader = Annotated[Principal, Depends(Needs(READERS))]


@router.post("/runs", status_code=201, response_model=RunAnswerBody, tags=["runs"])
async def open_run(request: Request, caller: Caller, body: RunBody) -> Any:
    """Open a run with limits of its own, split over agent types."""
    service = service_of(request)
    outcome = await service.submit(caller.tenant, open_run_command(body))
    return await _run_answer(service, caller.tenant, outcome)


@router.get("/runs", tags=["runs"])
async def list_runs(
    request: Request,
    reader: Reader,
    user: Name | None = None,
    state: Literal["open", "closed", "cancelled"] | None = None,
    external_id: Name | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, list[RunAnswerBody]]:
    """List the newest runs."""
    async with service_of(request).database.reading(reader.tenant) as connection:
        runs = await find_runs(connection, reader.tenant, user=user, state=state, external_id=external_id, limit=limit)
    return {"runs": [RunAnswerBody(**run_value(run, [])) for run in runs]}


@router.get("/runs/{run_id}", response_model=RunAnswerBody, tags=["runs"])
async def get_run(request: Request, reader: Reader, run_id: str) -> Any:
    """Show a run with its balances."""
    number = id_in_path(request, "run_id")
    async with service_of(request).database.reading(reader.tenant) as connection:
        run = await find_run(connection, reader.tenant, number)
        if run is None:
            raise ProblemError(404, "run_not_found", f"there is no run {run_id}", field="run_id")
        return run_value(run, await find_run_accounts(connection, reader.tenant, run))


@router.post("/runs/{run_id}/cancel", response_model=RunAnswerBody, tags=["runs"])
async def cancel_run(request: Request, caller: Caller, run_id: str, body: RunEndBody = RunEndBody()) -> Any:
    """Stop a run: every later reserve is refused, what is under way still settles."""
    return await _end(request, caller, body, RunState.CANCELLED)


@router.post("/runs/{run_id}/close", response_model=RunAnswerBody, tags=["runs"])
async def close_run(request: Request, caller: Caller, run_id: str, body: RunEndBody = RunEndBody()) -> Any:
    """Close a run that is done."""
    return await _end(request, caller, body, RunState.CLOSED)


@router.get("/reservations/{reservation_id}", response_model=ReservationAnswer, tags=["reservations"])
async def get_reservation(request: Request, reader: Reader, reservation_id: str) -> Any:
    """Show a reservation as it stands."""
    number = id_in_path(request, "reservation_id")
    async with service_of(request).database.reading(reader.tenant) as connection:
        reservation = await find_reservation(connection, reader.tenant, number)
    if reservation is None:
        detail = f"there is no reservation {reservation_id}"
        raise ProblemError(404, "reservation_not_found", detail, field="reservation_id")
    return reservation_value(reservation)


@router.post("/events", response_model=EventResults, response_model_exclude_none=True, tags=["events"])
async def record_events(
    request: Request,
    caller: Caller,
    body: EventsBody,
) -> Any:
    """Book calls that had no hold; each event has a result of its own, and what can't be booked is quarantined."""
    import asyncio

    service = service_of(request)
    results = await asyncio.gather(
        *(_record(service, caller.tenant, event, position) for position, event in enumerate(body.events))
    )
    return {"results": results}


_event = TypeAdapter(EventBody)


async def _record(service: Service, tenant: TenantId, value: Any, position: int) -> dict[str, Any]:
    within = f"events.{position}"
    try:
        body = _event.validate_python(value)
        command: Record | Quarantine = record_command(body, f"{within}.")
    except ValidationError as error:
        problem = invalid_problem(error, within)
    except ProblemError as error:
        problem = error
    else:
        return await _submit_event(service, tenant, command)
    named = value if isinstance(value, dict) else {}
    source, key = named.get("source"), named.get("idempotency_key")
    if not (_is_name(source) and _is_name(key)):
        # Without a name nothing could find it again, and a repetition would be kept a second time.
        return {"status": "refused", "code": problem.code, "detail": problem.detail, "field": _field(problem)}
    kept = kept_body(value)
    command = Quarantine(f"event:{source}", str(key), fingerprint(kept.encode()), problem.code, problem.detail, kept)
    return {**await _submit_event(service, tenant, command), "field": _field(problem)}


async def _submit_event(service: Service, tenant: TenantId, command: Record | Quarantine) -> dict[str, Any]:
    try:
        return _event_result(await service.submit(tenant, command))
    except Unstorable as error:  # the other events of the list are booked and have to be answered
        return {"status": "refused", "code": Code.INVALID_REQUEST.value, "detail": str(error)}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _field(problem: ProblemError) -> str | None:
    errors = problem.extra.get("errors")
    return errors[0]["field"] if errors else None


def _event_result(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Recorded):
        event = outcome.event
        return {
            "status": "booked",
            "event_id": str(event.event_id),
            "cost": format_money(event.cost_nanos),
            "tokens": event.usage.total_tokens,
            "replayed": outcome.replayed,
        }
    if isinstance(outcome, Quarantined):
        return {
            "status": "quarantined",
            "quarantine_id": str(outcome.quarantine_id),
            "code": outcome.code,
            "detail": outcome.detail,
            "replayed": outcome.replayed,
        }
    assert isinstance(outcome, Refused)
    return {"status": "conflict", "code": outcome.code.value, "detail": outcome.detail, "field": outcome.field}


async def _end(request: Request, caller: Principal, body: RunEndBody, state: RunState) -> Any:
    service = service_of(request)
    command = end_run_command(body, id_in_path(request, "run_id"), state)
    return await _run_answer(service, caller.tenant, await service.submit(caller.tenant, command))


async def _run_answer(service: Service, tenant: TenantId, outcome: Outcome) -> Any:
    if not isinstance(outcome, RunAnswer):
        assert isinstance(outcome, Refused)
        raise refused_problem(outcome)
    accounts = list(outcome.accounts)
    if not accounts:
        async with service.database.reading(tenant) as connection:
            accounts = await find_run_accounts(connection, tenant, outcome.run)
    return run_value(outcome.run, accounts, replayed=outcome.replayed)
