"""Routes of increases: users ask for more, administrators decide."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from token_ledger.api.access import Admin, CallerOrUser, FinanceOrUser, actor_of
from token_ledger.api.ownership import check_own_account, check_own_subject
from token_ledger.api.parameters import AccountId, After, BudgetId, IncreaseId, PageSize
from token_ledger.api.service import decide, reading
from token_ledger.core.batch.administration import AskIncrease, DecideIncrease
from token_ledger.core.batch.outcomes import IncreaseAnswer
from token_ledger.core.model.principal import Principal
from token_ledger.storage.reads.increases import find_increases
from token_ledger.wire.answers import grants as answers
from token_ledger.wire.bodies.accounts import AmountsBody, ApprovalBody, RefusalBody, SubjectAmountsBody
from token_ledger.wire.commands import accounts as commands

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.post("/accounts/{account_id}/increases", status_code=201)
async def ask_increase(
    request: Request, caller: CallerOrUser, account_id: AccountId, body: AmountsBody
) -> answers.IncreaseAnswer:
    """Ask for an increase of an account's limit.

    An administrator decides. Users may ask on their own accounts, a run's token on those of its run.
    """
    async with reading(request, caller.tenant) as connection:
        await check_own_account(connection, caller, account_id)
    return await _decided(
        request, caller, commands.ask_increase_command(body, account_id, caller.user or actor_of(caller))
    )


@router.post("/budgets/{budget_id}/increases", status_code=201)
async def ask_subject_increase(
    request: Request, caller: CallerOrUser, budget_id: BudgetId, body: SubjectAmountsBody
) -> answers.IncreaseAnswer:
    """Ask for an increase of a subject's limit.

    On its account in the window under way, which is made if no call has fallen on it yet. An administrator decides.
    Users may ask for themselves only, a run's token for its run.
    """
    command = commands.ask_subject_increase_command(body, budget_id, caller.user or actor_of(caller))
    async with reading(request, caller.tenant) as connection:
        await check_own_subject(connection, caller, budget_id, command.subject)
    return await _decided(request, caller, command)


@router.get("/increases")
async def list_increases(
    request: Request,
    reader: FinanceOrUser,
    state: Annotated[
        Literal["asked", "approved", "refused"] | None,
        Query(description="Return increases in this state.", examples=["asked"]),
    ] = None,
    after: After = "0",
    limit: PageSize = 200,
) -> answers.IncreaseList:
    """List increases.

    In the order they were asked for. Users see those that they asked for, a run's token those on its accounts.
    """
    async with reading(request, reader.tenant) as connection:
        found = await find_increases(
            connection, reader.tenant, state=state, after=int(after), limit=limit,
            asked_by=reader.user, run_id=reader.run_id,
        )  # fmt: skip
    return {"increases": [answers.increase_answer(increase) for increase in found]}


@router.post("/increases/{increase_id}/approve")
async def approve_increase(
    request: Request, admin: Admin, increase_id: IncreaseId, body: ApprovalBody
) -> answers.IncreaseAnswer:
    """Approve an increase.

    The limit rises by what was asked for; with `expires_at` it is a grant that lapses then.
    """
    return await _decided(request, admin, commands.approve_increase_command(body, increase_id, actor_of(admin)))


@router.post("/increases/{increase_id}/refuse")
async def refuse_increase(
    request: Request, admin: Admin, increase_id: IncreaseId, body: RefusalBody
) -> answers.IncreaseAnswer:
    """Refuse an increase.

    The limit stays as it is.
    """
    return await _decided(request, admin, commands.refuse_increase_command(body, increase_id, actor_of(admin)))


async def _decided(
    request: Request, principal: Principal, command: AskIncrease | DecideIncrease
) -> answers.IncreaseAnswer:
    outcome = await decide(request, principal.tenant, IncreaseAnswer, command.sent_by(principal.role))
    return answers.increase_answer(outcome.increase, replayed=outcome.replayed)
