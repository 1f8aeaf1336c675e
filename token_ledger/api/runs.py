"""Routes of runs, and of reservations that are read."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from token_ledger.analytics.runs import run_usage
from token_ledger.api import verbs
from token_ledger.api.access import ADMINS, CALLERS, READERS, USERS, Needs, actor_of, service_of
from token_ledger.api.answers import PreflightResult, ReservationAnswer, RunAnswerBody, StepAnswer
from token_ledger.api.holds import id_in_path
from token_ledger.api.own import own_run
from token_ledger.api.problems import ProblemError, refused_problem
from token_ledger.api.service import Service
from token_ledger.api.translate import end_run_command, open_run_command, rebalance_command
from token_ledger.api.translate_admin import change_run_command, force_release_command
from token_ledger.api.values import reservation_value, run_value
from token_ledger.api.wire import (
    ForceReleaseBody,
    Id,
    Name,
    PreflightBody,
    RebalanceBody,
    RunBody,
    RunChangeBody,
    RunEndBody,
    StepBody,
)  # fmt: skip
from token_ledger.core.outcomes import Outcome, Refused, Released, RunAnswer
from token_ledger.core.run import RunState
from token_ledger.core.tenant import TenantId
from token_ledger.storage.api_keys import Principal
from token_ledger.storage.reads import find_reservation, find_reservations, find_run, find_run_accounts, find_runs

router = APIRouter(prefix="/v1")
Caller = Annotated[Principal, Depends(Needs(CALLERS))]
Reader = Annotated[Principal, Depends(Needs(READERS))]
Admin = Annotated[Principal, Depends(Needs(ADMINS))]
RunCaller = Annotated[Principal, Depends(Needs(CALLERS | USERS))]
RunReader = Annotated[Principal, Depends(Needs(READERS | USERS))]


@router.post("/runs", status_code=201, response_model=RunAnswerBody, tags=["runs"])
async def open_run(request: Request, caller: Caller, body: RunBody) -> Any:
    """Open a run with limits of its own, split over agent types."""
    service = service_of(request)
    outcome = await service.submit(caller.tenant, open_run_command(body))
    return await _run_answer(service, caller.tenant, outcome)


@router.get("/runs", tags=["runs"])
async def list_runs(
    request: Request,
    reader: RunReader,
    user: Name | None = None,
    state: Literal["open", "closed", "cancelled"] | None = None,
    external_id: Name | None = None,
    after: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, list[RunAnswerBody]]:
    """List runs, newest first; `after` a run come those that are older. A run's token sees it and its sub-runs."""
    async with service_of(request).database.reading(reader.tenant) as connection:
        runs = await find_runs(
            connection, reader.tenant,
            user=reader.user or user, state=state, external_id=external_id, limit=limit,
            after=None if after is None else int(after), run_id=reader.run_id,
        )  # fmt: skip
    return {"runs": [RunAnswerBody(**run_value(run, [])) for run in runs]}


@router.get("/runs/{run_id}", response_model=RunAnswerBody, tags=["runs"])
async def get_run(request: Request, reader: RunReader, run_id: str) -> Any:
    """Show a run with its balances."""
    number = id_in_path(request, "run_id")
    async with service_of(request).database.reading(reader.tenant) as connection:
        run = await own_run(connection, reader, number)
        return run_value(run, await find_run_accounts(connection, reader.tenant, run))


@router.post("/runs/{run_id}/cancel", response_model=RunAnswerBody, tags=["runs"])
async def cancel_run(request: Request, caller: RunCaller, run_id: str, body: RunEndBody = RunEndBody()) -> Any:
    """Stop a run: every later reserve is refused, what is under way still settles."""
    if caller.is_limited:
        number = id_in_path(request, "run_id")
        async with service_of(request).database.reading(caller.tenant) as connection:
            await own_run(connection, caller, number)
    return await _end(request, caller, body, RunState.CANCELLED)


@router.post("/runs/{run_id}/close", response_model=RunAnswerBody, tags=["runs"])
async def close_run(request: Request, caller: Caller, run_id: str, body: RunEndBody = RunEndBody()) -> Any:
    """Close a run that is done."""
    return await _end(request, caller, body, RunState.CLOSED)


@router.post("/runs/{run_id}/steps", status_code=201, response_model=StepAnswer, tags=["runs"])
async def take_step(request: Request, caller: Caller, run_id: str, body: StepBody) -> Any:
    """Begin another iteration of a run; 402 once it, or one it is a part of, has made all of its own."""
    _, value = await verbs.step(service_of(request), caller.tenant, body, id_in_path(request, "run_id"))
    return value


@router.post("/runs/{run_id}/rebalance", response_model=RunAnswerBody, tags=["runs"])
async def rebalance_run(request: Request, caller: Caller, run_id: str, body: RebalanceBody) -> Any:
    """Split what a run has available anew over agent types."""
    service = service_of(request)
    command = rebalance_command(body, id_in_path(request, "run_id"))
    return await _run_answer(service, caller.tenant, await service.submit(caller.tenant, command))


@router.patch("/runs/{run_id}", response_model=RunAnswerBody, tags=["runs"])
async def change_run(request: Request, admin: Admin, run_id: str, body: RunChangeBody) -> Any:
    """Set a run's limits anew, also below what is spent."""
    service = service_of(request)
    command = change_run_command(body, id_in_path(request, "run_id"), actor_of(admin))
    outcome = await service.submit(admin.tenant, command)
    if isinstance(outcome, RunAnswer):
        outcome = RunAnswer(outcome.run, (), outcome.replayed)  # with the balances of all its accounts
    return await _run_answer(service, admin.tenant, outcome)


@router.get("/runs/{run_id}/usage", tags=["runs"])
async def get_run_usage(request: Request, reader: Reader, run_id: str, include_sub_runs: bool = True) -> dict[str, Any]:
    """What a run used by agent type, by tool and by model, its sub-runs included unless told otherwise."""
    number = id_in_path(request, "run_id")
    async with service_of(request).database.reading(reader.tenant) as connection:
        if await find_run(connection, reader.tenant, number) is None:
            raise ProblemError(404, "run_not_found", f"there is no run {run_id}", field="run_id")
        return await run_usage(connection, reader.tenant, number, include_sub_runs=include_sub_runs)


@router.post("/preflight", response_model=PreflightResult, tags=["reservations"])
async def preflight(request: Request, caller: Caller, body: PreflightBody) -> Any:
    """Tell whether planned calls would fit now, one after the other, and what stops them; nothing is held."""
    _, value = await verbs.preflight(service_of(request), caller.tenant, body)
    return value


@router.get("/reservations", tags=["reservations"])
async def list_reservations(
    request: Request,
    reader: Reader,
    state: Literal["held", "settled", "released", "expired"] = "held",
    lease: bool | None = None,
    run_id: Id | None = None,
    user: Name | None = None,
    agent_type: Name | None = None,
    older_than_seconds: Annotated[int, Query(ge=0, le=10**9)] = 0,
    after: Id = "0",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, list[ReservationAnswer]]:
    """List holds, oldest first, those that are open unless another state is asked for; `after` pages on."""
    async with service_of(request).database.reading(reader.tenant) as connection:
        found = await find_reservations(
            connection, reader.tenant, state=state, lease=lease, run_id=None if run_id is None else int(run_id),
            user=user, agent_type=agent_type, older_than_seconds=older_than_seconds, after=int(after), limit=limit,
        )  # fmt: skip
    return {"reservations": [ReservationAnswer(**reservation_value(each)) for each in found]}


@router.post("/reservations/{reservation_id}/force-release", response_model=ReservationAnswer, tags=["reservations"])
async def force_release(request: Request, admin: Admin, reservation_id: str, body: ForceReleaseBody) -> Any:
    """End a hold whose client is believed dead; what it reports later is still booked."""
    number = id_in_path(request, "reservation_id")
    outcome = await service_of(request).submit(admin.tenant, force_release_command(body, number, actor_of(admin)))
    if not isinstance(outcome, Released):
        assert isinstance(outcome, Refused)
        raise refused_problem(outcome)
    return reservation_value(outcome.reservation, replayed=outcome.replayed)


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


async def _end(request: Request, caller: Principal, body: RunEndBody, state: RunState) -> Any:
    service = service_of(request)
    actor = actor_of(caller) if caller.role in ADMINS else None
    command = end_run_command(body, id_in_path(request, "run_id"), state, actor)
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
