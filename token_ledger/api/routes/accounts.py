"""Routes of accounts: their balances, their thresholds, and grants to them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.ownership import no_account
from token_ledger.api.parameters import AccountId, After, BudgetId, PageSize, SubjectText
from token_ledger.api.service import decide, reading, service_of
from token_ledger.core.batch.administration import GiveGrant
from token_ledger.core.batch.outcomes import GrantAnswer
from token_ledger.core.model.principal import Principal
from token_ledger.storage.reads.accounts import (
    Wanted,
    find_account,
    find_accounts,
    find_limit_entries,
    find_names_of_subject,
    find_thresholds,
)
from token_ledger.storage.reads.grants import find_grants
from token_ledger.wire.answers import accounts as answers
from token_ledger.wire.answers import grants
from token_ledger.wire.bodies.accounts import GrantBody, SubjectGrantBody
from token_ledger.wire.commands.accounts import grant_command, subject_grant_command
from token_ledger.wire.fields import Id, Name

router = APIRouter(prefix="/v1", tags=["accounts"])
_MOST_THRESHOLDS = 500
"""How many threshold events one account shows; /v1/thresholds pages through all of them."""


@router.get("/accounts")
async def list_accounts(
    request: Request,
    finance: Finance,
    budget_id: Annotated[Id | None, Query(description="Return accounts of this budget.", examples=["3"])] = None,
    budget: Annotated[
        Name | None, Query(description="Return accounts of budgets of this name.", examples=["user day"])
    ] = None,
    user: Annotated[
        Name | None, Query(description="Return accounts on which only this user's calls fall.", examples=["ada"])
    ] = None,
    subject: Annotated[
        SubjectText | None,
        Query(
            description="Return accounts that stand for exactly these values, a JSON object. "
            "Any name of a model and of its provider will do.",
            examples=['{"user":"ada"}'],
        ),
    ] = None,
    after: After = "0",
    limit: PageSize = 200,
) -> answers.AccountList:
    """List accounts with their balances.

    In the order they were made. Filters combine.
    """
    async with reading(request, finance.tenant) as connection:
        subjects = None
        if subject is not None:
            prices = await service_of(request).prices_of(connection, finance.tenant)
            subjects = await find_names_of_subject(connection, finance.tenant, subject, prices)
        wanted = Wanted(None if budget_id is None else int(budget_id), budget, user, subjects)
        found = await find_accounts(connection, finance.tenant, wanted, after=int(after), limit=limit)
    return {"accounts": [answers.account_answer(account) for account in found]}


@router.get("/accounts/{account_id}")
async def get_account(request: Request, finance: Finance, account_id: AccountId) -> answers.AccountDetailAnswer:
    """Show an account.

    With its balance, the journal of its limit, its grants and the thresholds it reached.
    """
    async with reading(request, finance.tenant) as connection:
        account = await find_account(connection, finance.tenant, account_id)
        if account is None:
            raise no_account(account_id)
        return answers.account_detail_answer(
            account,
            await find_limit_entries(connection, finance.tenant, account_id),
            await find_grants(connection, finance.tenant, account_id),
            await find_thresholds(connection, finance.tenant, account_id=account_id, after=0, limit=_MOST_THRESHOLDS),
        )


@router.get("/thresholds")
async def list_thresholds(
    request: Request, finance: Finance, after: After = "0", limit: PageSize = 200
) -> answers.ThresholdList:
    """List thresholds that accounts have reached.

    In order, also when an account lies below one again, as after a grant.
    """
    async with reading(request, finance.tenant) as connection:
        found = await find_thresholds(connection, finance.tenant, account_id=None, after=int(after), limit=limit)
    return {"thresholds": [answers.threshold_answer(threshold) for threshold in found]}


@router.post("/accounts/{account_id}/grants", status_code=201)
async def give_grant(request: Request, admin: Admin, account_id: AccountId, body: GrantBody) -> grants.GrantAnswer:
    """Grant an account extra limit for a time.

    It lapses at `expires_at`, or when the account's window ends; only what is not used of it is taken back.
    """
    return await _granted(request, admin, grant_command(body, account_id, actor_of(admin)))


@router.post("/budgets/{budget_id}/grants", status_code=201)
async def give_subject_grant(
    request: Request, admin: Admin, budget_id: BudgetId, body: SubjectGrantBody
) -> grants.GrantAnswer:
    """Grant a subject extra limit for a time.

    To its account in the window under way, which is made if no call has fallen on it yet.
    """
    return await _granted(request, admin, subject_grant_command(body, budget_id, actor_of(admin)))


async def _granted(request: Request, admin: Principal, command: GiveGrant) -> grants.GrantAnswer:
    outcome = await decide(request, admin.tenant, GrantAnswer, command)
    return grants.grant_answer(outcome.grant, replayed=outcome.replayed)
