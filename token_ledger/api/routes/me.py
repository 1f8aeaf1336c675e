"""The route that shows the holder of a token what is theirs."""

from fastapi import APIRouter, Request

from token_ledger.api.access import User
from token_ledger.api.service import reading
from token_ledger.core.model.account import Account
from token_ledger.core.model.principal import Principal
from token_ledger.core.model.run import Run
from token_ledger.storage.database import Connection
from token_ledger.storage.reads.accounts import find_user_accounts
from token_ledger.storage.reads.runs import find_run, find_run_accounts, find_runs
from token_ledger.wire.answers.me import OwnAnswer, own_answer
from token_ledger.wire.answers.runs import run_answer

router = APIRouter(prefix="/v1", tags=["keys"])
_MOST_RUNS = 100


@router.get("/me")
async def show_own(request: Request, owner: User) -> OwnAnswer:
    """Show one's own balances and runs.

    For the token of a user, their open accounts and their newest 100 open runs; for the token of a run, that run.
    """
    async with reading(request, owner.tenant) as connection:
        accounts, runs = await _own(connection, owner)
        shown = [run_answer(run, await find_run_accounts(connection, owner.tenant, run)) for run in runs]
    return own_answer(owner, accounts, shown)


async def _own(connection: Connection, owner: Principal) -> tuple[list[Account], list[Run]]:
    if owner.run_id is not None:
        run = await find_run(connection, owner.tenant, owner.run_id)
        return [], [] if run is None else [run]
    assert owner.user is not None
    accounts = await find_user_accounts(connection, owner.tenant, owner.user)
    return accounts, await find_runs(
        connection, owner.tenant, user=owner.user, state="open", external_id=None, limit=_MOST_RUNS
    )
