"""Routes for browsers: short-lived tokens, what is one's own, and what a token's user may do about it.

Whoever comes with a token sees and stops only what is theirs. That is decided here and nowhere else: `own_run` and
`own_account` answer like something that does not exist.
"""

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from token_ledger.api.access import CALLERS, USERS, Needs, service_of
from token_ledger.api.problems import ProblemError
from token_ledger.api.tokens import new_token
from token_ledger.api.values import account_value, run_value
from token_ledger.api.wire_admin import TokenBody
from token_ledger.core.account import Account
from token_ledger.core.run import Run
from token_ledger.storage.api_keys import Principal
from token_ledger.storage.limit_reads import find_account, find_user_accounts
from token_ledger.storage.reads import find_run, find_run_accounts, find_runs

router = APIRouter(prefix="/v1")
Caller = Annotated[Principal, Depends(Needs(CALLERS))]
Owner = Annotated[Principal, Depends(Needs(USERS))]


@router.post("/tokens", status_code=201, tags=["keys"])
async def issue_token(request: Request, caller: Caller, body: TokenBody) -> dict[str, Any]:
    """Make a short-lived token for one user or one run, for a browser; it ends with the key that issues it."""
    if (body.user is None) == (body.run_id is None):
        raise ProblemError(422, "invalid_request", "user: give user or run_id, one of them", field="user")
    if caller.person is not None:
        raise ProblemError(403, "forbidden", "tokens are issued with an API key: they end when it is revoked")
    service = service_of(request)
    run_id = None if body.run_id is None else int(body.run_id)
    if run_id is not None:
        async with service.database.reading(caller.tenant) as connection:
            if await find_run(connection, caller.tenant, run_id) is None:
                raise _no_run(run_id)
    now = int(time.time())
    token = new_token(
        service.token_key, caller.tenant, caller.key_id,
        user=body.user, run_id=run_id, now=now, ttl_seconds=body.ttl_seconds,
    )  # fmt: skip
    return {"token": token, "ttl_seconds": body.ttl_seconds, "user": body.user, "run_id": body.run_id}


@router.get("/me", tags=["keys"])
async def show_own(request: Request, owner: Owner) -> dict[str, Any]:
    """Show one's own open balances and runs."""
    async with service_of(request).database.reading(owner.tenant) as connection:
        if owner.run_id is not None:
            run = await find_run(connection, owner.tenant, owner.run_id)
            runs = [] if run is None else [run]
            accounts: list[Account] = []
        else:
            assert owner.user is not None
            accounts = await find_user_accounts(connection, owner.tenant, owner.user)
            runs = await find_runs(connection, owner.tenant, user=owner.user, state="open", external_id=None, limit=100)
        balances = [run_value(run, await find_run_accounts(connection, owner.tenant, run)) for run in runs]
    return {
        "user": owner.user,
        "run_id": None if owner.run_id is None else str(owner.run_id),
        "accounts": [account_value(account) for account in accounts],
        "runs": balances,
    }


async def own_run(connection: Any, principal: Principal, run_id: int) -> Run:
    """Return a run that whoever asks may see; raise 404 where there is none."""
    run = await find_run(connection, principal.tenant, run_id)
    if run is None or not _is_own(principal, run):
        raise _no_run(run_id)
    return run


async def own_account(connection: Any, principal: Principal, account_id: int) -> None:
    """Raise 404 unless whoever asks may ask for more on an account."""
    if not principal.is_limited:
        return  # the ledger looks for it
    if principal.user is not None:
        own = bool(await find_user_accounts(connection, principal.tenant, principal.user, account_id=account_id))
    else:
        account = await find_account(connection, principal.tenant, account_id)
        own = account is not None and json.loads(account.subject).get("run") == str(principal.run_id)
    if not own:
        detail = f"there is no account {account_id}"
        raise ProblemError(404, "account_not_found", detail, field="account_id")


def _is_own(principal: Principal, run: Run) -> bool:
    if not principal.is_limited:
        return True
    return run.user == principal.user if principal.run_id is None else principal.run_id in run.lineage


def _no_run(run_id: int) -> ProblemError:
    return ProblemError(404, "run_not_found", f"there is no run {run_id}", field="run_id")
