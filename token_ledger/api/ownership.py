"""Decides what the holder of a token may see and stop: only their own. Anything else is 404, as if it did not exist."""

from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.principal import Principal
from token_ledger.core.model.run import Run
from token_ledger.core.model.subject import Subject
from token_ledger.storage.database import Connection
from token_ledger.storage.reads.accounts import find_account, find_user_accounts
from token_ledger.storage.reads.budgets import selects_only
from token_ledger.storage.reads.runs import find_run
from token_ledger.wire.problems import ProblemError, not_found


async def find_own_run(connection: Connection, principal: Principal, run_id: int) -> Run:
    """Return a run that a principal may see; raise 404 if there is none."""
    run = await find_run(connection, principal.tenant, run_id)
    if run is None or not _is_own(principal, run):
        raise no_run(run_id)
    return run


async def check_own_account(connection: Connection, principal: Principal, account_id: int) -> None:
    """Raise 404 unless a principal may ask for an increase on an account."""
    if not principal.is_limited:
        return  # the ledger finds out whether there is such an account
    if principal.user is not None:
        own = bool(await find_user_accounts(connection, principal.tenant, principal.user, account_id=account_id))
    else:
        account = await find_account(connection, principal.tenant, account_id)
        own = account is not None and account.subject.get("run") == str(principal.run_id)
    if not own:
        raise no_account(account_id)


async def check_own_subject(
    connection: Connection, principal: Principal, budget_id: int, subject: Subject | None
) -> None:
    """Raise 404 unless a principal may ask for an increase of the account of a budget and subject."""
    if not principal.is_limited:
        return  # the ledger finds out whether there is such a budget
    values = {} if subject is None else dict(subject.pairs)
    if principal.user is None:
        own = values.get("run") == str(principal.run_id)
    elif "user" in values:
        own = values["user"] == principal.user
    else:
        own = await selects_only(connection, principal.tenant, budget_id, principal.user)
    if not own:
        raise not_found("budget_id", f"there is no budget {budget_id} with such an account of yours")


def _is_own(principal: Principal, run: Run) -> bool:
    if not principal.is_limited:
        return True
    return run.user == principal.user if principal.run_id is None else principal.run_id in run.lineage


def no_run(run_id: int) -> ProblemError:
    """Return the problem of a run that does not exist."""
    return not_found("run_id", f"there is no run {run_id}", Code.RUN_NOT_FOUND)


def no_account(account_id: int) -> ProblemError:
    """Return the problem of an account that does not exist."""
    return not_found("account_id", f"there is no account {account_id}", Code.ACCOUNT_NOT_FOUND)
