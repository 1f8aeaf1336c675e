"""Routes of budgets, their accounts, and what changes an account's limit: grants and increases."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from token_ledger.api.access import ADMINS, CALLERS, FINANCE, USERS, Needs, actor_of, service_of
from token_ledger.api.answers import BudgetAnswerBody, GrantAnswerBody, IncreaseAnswerBody
from token_ledger.api.holds import id_in_path
from token_ledger.api.own import own_account
from token_ledger.api.problems import ProblemError, refused_problem
from token_ledger.api.translate_admin import (
    archive_budget_command,
    ask_increase_command,
    change_budget_command,
    create_budget_command,
    decide_increase_command,
    grant_command,
)  # fmt: skip
from token_ledger.api.values import account_value, budget_value, grant_value, increase_value
from token_ledger.api.wire import Id
from token_ledger.api.wire_admin import (
    AmountsBody,
    ApprovalBody,
    BudgetBody,
    BudgetChangeBody,
    GrantBody,
    RefusalBody,
)  # fmt: skip
from token_ledger.core.administration import DecideIncrease
from token_ledger.core.outcomes import BudgetAnswer, GrantAnswer, IncreaseAnswer, Outcome, Refused
from token_ledger.storage.api_keys import Principal
from token_ledger.storage.limit_reads import (
    find_account,
    find_grants,
    find_increases,
    find_limit_entries,
    find_thresholds,
)  # fmt: skip
from token_ledger.storage.reads import find_accounts, find_budgets

router = APIRouter(prefix="/v1")
Admin = Annotated[Principal, Depends(Needs(ADMINS))]
Asker = Annotated[Principal, Depends(Needs(CALLERS | USERS))]
Finance = Annotated[Principal, Depends(Needs(FINANCE))]
IncreaseReader = Annotated[Principal, Depends(Needs(FINANCE | USERS))]


@router.post("/budgets", status_code=201, response_model=BudgetAnswerBody, tags=["budgets"])
async def create_budget(request: Request, admin: Admin, body: BudgetBody) -> Any:
    """Set a limit for the calls that a selector chooses, per window."""
    return _budget(await service_of(request).submit(admin.tenant, create_budget_command(body, actor_of(admin))))


@router.get("/budgets", tags=["budgets"])
async def list_budgets(request: Request, finance: Finance) -> dict[str, list[BudgetAnswerBody]]:
    """List all budgets, archived ones too."""
    async with service_of(request).database.reading(finance.tenant) as connection:
        found = await find_budgets(connection, finance.tenant)
    return {"budgets": [BudgetAnswerBody(**budget_value(budget, archived=archived)) for budget, archived in found]}


@router.delete("/budgets/{budget_id}", response_model=BudgetAnswerBody, tags=["budgets"])
async def archive_budget(request: Request, admin: Admin, budget_id: str) -> Any:
    """Let a budget match no further call."""
    command = archive_budget_command(id_in_path(request, "budget_id"), actor_of(admin))
    return _budget(await service_of(request).submit(admin.tenant, command))


@router.patch("/budgets/{budget_id}", response_model=BudgetAnswerBody, tags=["budgets"])
async def change_budget(request: Request, admin: Admin, budget_id: str, body: BudgetChangeBody) -> Any:
    """Change what a budget allows, also below what is spent."""
    command = change_budget_command(body, id_in_path(request, "budget_id"), actor_of(admin))
    return _budget(await service_of(request).submit(admin.tenant, command))


@router.get("/accounts", tags=["budgets"])
async def list_accounts(
    request: Request,
    finance: Finance,
    budget_id: Id | None = None,
    after: Id = "0",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, list[dict[str, Any]]]:
    """List accounts with their balances, in the order they were made; `after` pages on."""
    async with service_of(request).database.reading(finance.tenant) as connection:
        found = await find_accounts(
            connection, finance.tenant,
            budget_id=None if budget_id is None else int(budget_id), after=int(after), limit=limit,
        )  # fmt: skip
    return {"accounts": [account_value(account) for account in found]}


@router.get("/accounts/{account_id}", tags=["budgets"])
async def get_account(request: Request, finance: Finance, account_id: str) -> dict[str, Any]:
    """Show an account: its balance, the journal of its limit, its grants and thresholds."""
    number = id_in_path(request, "account_id")
    async with service_of(request).database.reading(finance.tenant) as connection:
        account = await find_account(connection, finance.tenant, number)
        if account is None:
            raise ProblemError(404, "account_not_found", f"there is no account {account_id}", field="account_id")
        return {
            **account_value(account),
            "limit_entries": await find_limit_entries(connection, finance.tenant, number),
            "grants": [grant_value(grant) for grant in await find_grants(connection, finance.tenant, number)],
            "threshold_events": await find_thresholds(
                connection, finance.tenant, account_id=number, after=0, limit=500
            ),
        }


@router.get("/thresholds", tags=["budgets"])
async def list_thresholds(
    request: Request, finance: Finance, after: Id = "0", limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> dict[str, list[dict[str, Any]]]:
    """List the thresholds that accounts have reached, or lie below again, in order; `after` pages on."""
    async with service_of(request).database.reading(finance.tenant) as connection:
        found = await find_thresholds(connection, finance.tenant, account_id=None, after=int(after), limit=limit)
    return {"thresholds": found}


@router.post("/accounts/{account_id}/grants", status_code=201, response_model=GrantAnswerBody, tags=["budgets"])
async def give_grant(request: Request, admin: Admin, account_id: str, body: GrantBody) -> Any:
    """Give an account extra limit, until an instant or to the end of its window."""
    command = grant_command(body, id_in_path(request, "account_id"), actor_of(admin))
    outcome = await service_of(request).submit(admin.tenant, command)
    if not isinstance(outcome, GrantAnswer):
        assert isinstance(outcome, Refused)
        raise refused_problem(outcome)
    return grant_value(outcome.grant, replayed=outcome.replayed)


@router.post("/accounts/{account_id}/increases", status_code=201, response_model=IncreaseAnswerBody, tags=["budgets"])
async def ask_increase(request: Request, caller: Asker, account_id: str, body: AmountsBody) -> Any:
    """Ask for more on an account; an administrator decides."""
    number = id_in_path(request, "account_id")
    async with service_of(request).database.reading(caller.tenant) as connection:
        await own_account(connection, caller, number)
    command = ask_increase_command(body, number, caller.user or actor_of(caller))
    return _increase(await service_of(request).submit(caller.tenant, command))


@router.get("/increases", tags=["budgets"])
async def list_increases(
    request: Request,
    reader: IncreaseReader,
    state: Literal["asked", "approved", "refused"] | None = None,
    after: Id = "0",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, list[IncreaseAnswerBody]]:
    """List what was asked for and what became of it, in order; `after` pages on.

    A user sees what they asked for themselves, a run's token what was asked for on its accounts.
    """
    async with service_of(request).database.reading(reader.tenant) as connection:
        found = await find_increases(
            connection, reader.tenant, state=state, after=int(after), limit=limit,
            asked_by=reader.user, run_id=reader.run_id,
        )  # fmt: skip
    return {"increases": [IncreaseAnswerBody(**increase_value(increase)) for increase in found]}


@router.post("/increases/{increase_id}/approve", response_model=IncreaseAnswerBody, tags=["budgets"])
async def approve_increase(request: Request, admin: Admin, increase_id: str, body: ApprovalBody) -> Any:
    """Raise the limit by what was asked for; with `expires_at` as a grant."""
    return await _decide(request, admin, decide_increase_command(body, *_decision(request, admin)))


@router.post("/increases/{increase_id}/refuse", response_model=IncreaseAnswerBody, tags=["budgets"])
async def refuse_increase(request: Request, admin: Admin, increase_id: str, body: RefusalBody) -> Any:
    """Leave the limit as it is."""
    return await _decide(request, admin, decide_increase_command(body, *_decision(request, admin)))


def _decision(request: Request, admin: Principal) -> tuple[int, str]:
    return id_in_path(request, "increase_id"), actor_of(admin)


async def _decide(request: Request, admin: Principal, command: DecideIncrease) -> Any:
    return _increase(await service_of(request).submit(admin.tenant, command))


def _increase(outcome: Outcome) -> dict[str, Any]:
    if not isinstance(outcome, IncreaseAnswer):
        assert isinstance(outcome, Refused)
        raise refused_problem(outcome)
    return increase_value(outcome.increase, replayed=outcome.replayed)


def _budget(outcome: Outcome) -> dict[str, Any]:
    if not isinstance(outcome, BudgetAnswer):
        assert isinstance(outcome, Refused)
        raise refused_problem(outcome)
    return budget_value(outcome.budget, archived=outcome.archived, replayed=outcome.replayed)
