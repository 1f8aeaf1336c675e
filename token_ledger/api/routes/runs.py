"""Routes of runs."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from token_ledger.api import access
from token_ledger.api.caller_operations import CallerOperation
from token_ledger.api.ownership import find_own_run, no_run
from token_ledger.api.parameters import OlderThan, RunId, RunPageSize
from token_ledger.api.service import decide, reading
from token_ledger.core.batch.commands import EndRun, OpenRun, Rebalance
from token_ledger.core.batch.outcomes import RunAnswer, StepTaken
from token_ledger.core.model.principal import Principal
from token_ledger.core.model.run import RunState
from token_ledger.reports.formats.json import RunUsageReport, run_usage_report
from token_ledger.reports.run_usage import run_usage
from token_ledger.storage.reads.runs import find_run, find_run_accounts, find_runs
from token_ledger.wire.answers import runs as answers
from token_ledger.wire.bodies import runs as bodies
from token_ledger.wire.commands import runs as commands
from token_ledger.wire.fields import Name, Words

router = APIRouter(prefix="/v1", tags=["runs"])

STEP = CallerOperation(
    op="step",
    path="/v1/runs/{run_id}/steps",
    status=201,
    body=bodies.StepBody,
    command=commands.step_command,
    outcome=StepTaken,
    answer=answers.step_answer,
    answer_type=answers.StepAnswer,
    summary="Begin another iteration of a run",
    description="402 `iterations_exceeded` once the run, or one that it is part of, has taken all of its iterations.",
    named="run_id",
)


@router.post("/runs", status_code=201)
async def open_run(request: Request, caller: access.Caller, body: bodies.RunBody) -> answers.RunAnswer:
    """Open a run.

    A run can have limits of its own, split over agent types, and be part of another run. Calls name it with `run_id`
    and then count on the run, on all that it is part of, and on the tenant's budgets.
    """
    return await _decided(request, caller, commands.open_run_command(body))


@router.get("/runs")
async def list_runs(
    request: Request,
    reader: access.ReaderOrUser,
    user: Annotated[Name | None, Query(description="Return runs of this user.", examples=["ada"])] = None,
    state: Annotated[
        Literal["open", "closed", "cancelled"] | None,
        Query(description="Return runs in this state.", examples=["open"]),
    ] = None,
    external_id: Annotated[
        Words | None, Query(description="Return runs with this id of your own.", examples=["chat-2041"])
    ] = None,
    after: OlderThan = None,
    limit: RunPageSize = 100,
) -> answers.RunList:
    """List runs.

    Newest first, without balances. The token of a user shows their runs, the token of a run shows it and its sub-runs.
    """
    async with reading(request, reader.tenant) as connection:
        runs = await find_runs(
            connection, reader.tenant,
            user=reader.user or user, state=state, external_id=external_id, limit=limit,
            after=None if after is None else int(after), run_id=reader.run_id,
        )  # fmt: skip
    return {"runs": [answers.run_answer(run) for run in runs]}


@router.get("/runs/{run_id}")
async def get_run(request: Request, reader: access.ReaderOrUser, run_id: RunId) -> answers.RunAnswer:
    """Show a run.

    With its balance and those of its shares.
    """
    async with reading(request, reader.tenant) as connection:
        run = await find_own_run(connection, reader, run_id)
        return answers.run_answer(run, await find_run_accounts(connection, reader.tenant, run))


@router.post("/runs/{run_id}/cancel")
async def cancel_run(
    request: Request, caller: access.CallerOrUser, run_id: RunId, body: bodies.RunEndBody = bodies.RunEndBody()
) -> answers.RunAnswer:
    """Stop a run and its sub-runs.

    Every later reserve is refused. Calls that are under way still settle.
    """
    if caller.is_limited:
        async with reading(request, caller.tenant) as connection:
            await find_own_run(connection, caller, run_id)
    return await _end(request, caller, run_id, body, RunState.CANCELLED)


@router.post("/runs/{run_id}/close")
async def close_run(
    request: Request, caller: access.Caller, run_id: RunId, body: bodies.RunEndBody = bodies.RunEndBody()
) -> answers.RunAnswer:
    """Close a run that is done.

    Every later reserve is refused. Calls that are under way still settle.
    """
    return await _end(request, caller, run_id, body, RunState.CLOSED)


@router.post(STEP.path.removeprefix("/v1"), status_code=STEP.status, summary=STEP.summary, description=STEP.description)
async def take_step(
    request: Request, caller: access.Caller, run_id: RunId, body: bodies.StepBody
) -> answers.StepAnswer:
    """Begin another iteration of a run."""
    command = commands.step_command(body, run_id).sent_by(caller.role)
    return answers.step_answer(await decide(request, caller.tenant, StepTaken, command))


@router.post("/runs/{run_id}/rebalance")
async def rebalance_run(
    request: Request, caller: access.Caller, run_id: RunId, body: bodies.RebalanceBody
) -> answers.RunAnswer:
    """Split what a run has available again.

    Every share keeps what it has settled and held; the rest is split by the new weights and minimums.
    """
    return await _decided(request, caller, commands.rebalance_command(body, run_id))


@router.patch("/runs/{run_id}")
async def change_run(
    request: Request, admin: access.Admin, run_id: RunId, body: bodies.RunChangeBody
) -> answers.RunAnswer:
    """Change the limits of a run.

    A limit may be set below what is spent: nothing is then admitted until there is room again.
    """
    command = commands.change_run_command(body, run_id, access.actor_of(admin))
    outcome = await decide(request, admin.tenant, RunAnswer, command)
    return await _answer(request, admin, RunAnswer(outcome.run, (), outcome.replayed))


@router.get("/runs/{run_id}/usage")
async def get_run_usage(
    request: Request,
    reader: access.Reader,
    run_id: RunId,
    include_sub_runs: Annotated[
        bool, Query(description="Whether to count the calls of its sub-runs too.", examples=[True])
    ] = True,
) -> RunUsageReport:
    """Report what a run used.

    By agent type, by tool and by model.
    """
    async with reading(request, reader.tenant) as connection:
        if await find_run(connection, reader.tenant, run_id) is None:
            raise no_run(run_id)
        return run_usage_report(await run_usage(connection, reader.tenant, run_id, include_sub_runs=include_sub_runs))


async def _end(
    request: Request, caller: Principal, run_id: int, body: bodies.RunEndBody, state: RunState
) -> answers.RunAnswer:
    # Only what administrators do is in the audit log; agents end runs all the time.
    actor = access.actor_of(caller) if caller.role in access.ADMINS else None
    return await _decided(request, caller, commands.end_run_command(body, run_id, state, actor))


async def _decided(request: Request, caller: Principal, command: OpenRun | EndRun | Rebalance) -> answers.RunAnswer:
    outcome = await decide(request, caller.tenant, RunAnswer, command.sent_by(caller.role))
    return await _answer(request, caller, outcome)


async def _answer(request: Request, caller: Principal, outcome: RunAnswer) -> answers.RunAnswer:
    """Return a run with the balances of all its accounts, which are read where the outcome does not have them."""
    accounts = list(outcome.accounts)
    if not accounts:
        async with reading(request, caller.tenant) as connection:
            accounts = await find_run_accounts(connection, caller.tenant, outcome.run)
    return answers.run_answer(outcome.run, accounts, replayed=outcome.replayed)
