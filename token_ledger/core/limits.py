"""Decides on limits: grants and their lapse, increases, what open accounts take from a changed budget (design D6)."""

from dataclasses import replace
from datetime import datetime

from token_ledger.core.account import Account, EntryKind, Grant, spend_grants
from token_ledger.core.administration import AskIncrease, DecideIncrease, GiveGrant
from token_ledger.core.audit import limits_state
from token_ledger.core.books import Books
from token_ledger.core.budget import Budget, Enforcement, Limits, Unit
from token_ledger.core.commands import TendAccounts
from token_ledger.core.increase import Increase, IncreaseState
from token_ledger.core.outcomes import Code, GrantAnswer, IncreaseAnswer, Outcome, Refused, Swept
from token_ledger.core.runs import change_between


def bring_up_to_date(books: Books) -> None:
    """Let grants lapse that are due, and let open accounts take what their budget allows now."""
    budgets = books.config.budgets_by_id
    for account in books.loaded.accounts:
        if account.grants_until is not None and account.grants_until <= books.now:
            _lapse(books, account)
        budget = budgets.get(account.budget_id)
        if budget is not None:
            take_terms(books, account, budget)


def take_terms(books: Books, account: Account, budget: Budget) -> None:
    """Let an open account take the limits and the enforcement of its budget."""
    if account.base == budget.limits and account.enforcement is budget.enforcement:
        return
    if not account.is_open(books.now):
        return
    hard = (budget.enforcement is Enforcement.HARD) - (account.enforcement is Enforcement.HARD)
    change = change_between(account.base, budget.limits)
    account.base = budget.limits
    account.enforcement = budget.enforcement
    books.change_limits(account, EntryKind.CHANGE, change, hard=hard)


def give_grant(books: Books, command: GiveGrant) -> Outcome:
    """Raise an account's limit until an instant; what is not used by then lapses."""
    account = _open_account(books, command.account_id, command.amounts)
    if isinstance(account, Refused):
        return account
    if command.expires_at is not None and command.expires_at <= books.now:
        return _in_the_past(command.expires_at)
    grant = _grant(books, account, command.amounts, command.expires_at, command.reason, command.actor)
    books.audit(command, "grant.give", str(account.account_id), None, _grant_state(grant))
    books.note_key(command, "grant", grant.grant_id)
    return GrantAnswer(replace(grant), account)


def ask_increase(books: Books, command: AskIncrease) -> Outcome:
    """Keep what someone asks for until an administrator decides."""
    account = _open_account(books, command.account_id, command.amounts)
    if isinstance(account, Refused):
        return account
    increase = Increase(
        books.new_id(), account.account_id, command.amounts, command.reason, command.asked_by, books.now
    )
    _keep(books, increase)
    books.note_key(command, "increase", increase.increase_id)
    return IncreaseAnswer(replace(increase))


def decide_increase(books: Books, command: DecideIncrease) -> Outcome:
    """Approve or refuse what was asked for, once."""
    increase = books.loaded.increases.get(command.increase_id)
    if increase is None:
        return Refused(Code.INCREASE_NOT_FOUND, f"there is no increase {command.increase_id}", "increase_id")
    if increase.state is not IncreaseState.ASKED:
        detail = f"the increase was {increase.state} by {increase.decided_by}"
        return Refused(Code.INCREASE_DECIDED, detail, extra={"state": increase.state.value})
    if command.approve:
        refused = _approve(books, command, increase)
        if refused is not None:
            return refused
    increase.state = IncreaseState.APPROVED if command.approve else IncreaseState.REFUSED
    increase.decided_by, increase.decided_at, increase.note = command.actor, books.now, command.note
    _keep(books, increase)
    asked = {"state": "asked", "amounts": limits_state(increase.amounts), "asked_by": increase.asked_by}
    action = "increase.approve" if command.approve else "increase.refuse"
    books.audit(command, action, str(increase.increase_id), asked, {**asked, "state": increase.state.value})
    books.note_key(command, "increase", increase.increase_id)
    return IncreaseAnswer(replace(increase))


def tend_accounts(books: Books, command: TendAccounts) -> Outcome:
    """Close accounts whose window has ended and on which nothing is held; what was due of grants has lapsed already."""
    done = 0
    for account_id in command.account_ids:
        account = books.find_account_by_id(account_id)
        if account is None or account.closed_at is not None or account.is_open(books.now):
            continue
        if account.leases or account.held_tokens or account.held_nanos or account.held_calls:
            continue  # a lease may have made all of its calls and still hold tokens for longer ones
        account.closed_at = books.now
        books.writes.changed_terms[account_id] = account
        done += 1
    return Swept(done)


def _approve(books: Books, command: DecideIncrease, increase: Increase) -> Refused | None:
    account = _open_account(books, increase.account_id, increase.amounts)
    if isinstance(account, Refused):
        return account
    if command.expires_at is None:
        reason, actor = increase.reason, command.actor
        books.change_limits(account, EntryKind.INCREASE, increase.amounts, reason=reason, actor=actor)
        return None
    if command.expires_at <= books.now:
        return _in_the_past(command.expires_at)
    grant = _grant(books, account, increase.amounts, command.expires_at, increase.reason, command.actor)
    increase.grant_id = grant.grant_id
    return None


def _open_account(books: Books, account_id: int, amounts: Limits) -> Account | Refused:
    account = books.find_account_by_id(account_id)
    if account is None:
        return Refused(Code.ACCOUNT_NOT_FOUND, f"there is no account {account_id}", "account_id")
    if not account.is_open(books.now):
        assert account.window_end is not None, "an account without an end is open"
        detail = f"the account's window ended at {account.window_end.isoformat()}"
        return Refused(Code.ACCOUNT_CLOSED, detail, "account_id")
    for unit, limit, amount in zip(Unit, account.limits.amounts, amounts.amounts, strict=True):
        if amount is not None and limit is None:
            return Refused(Code.NO_LIMIT, f"the account has no limit in {unit}, so there is nothing to raise", unit)
    return account


def _grant(
    books: Books, account: Account, amounts: Limits, expires_at: datetime | None, reason: str, actor: str
) -> Grant:
    others = _grants_of(books, account)
    spend_grants(others, account.used)
    ends = [end for end in (expires_at, account.window_end) if end is not None]
    entry = books.change_limits(account, EntryKind.GRANT, amounts, reason=reason, actor=actor)
    grant = Grant(
        grant_id=entry.entry_id,
        account_id=account.account_id,
        amounts=amounts,
        left=amounts,
        mark=others[0].mark if others else account.used,
        expires_at=min(ends, default=None),
        reason=reason,
        actor=actor,
        given_at=books.now,
    )
    books.writes.new_grants.append(grant)
    books.loaded.grants[grant.grant_id] = grant
    _changed(books, account, others)
    return grant


def _lapse(books: Books, account: Account) -> None:
    grants = _grants_of(books, account)
    spend_grants(grants, account.used)
    for grant in grants:
        if grant.expires_at is None or grant.expires_at > books.now:
            continue
        grant.lapsed_at = books.now
        if not grant.left.is_nothing:
            unused = Limits(*(None if left is None else -left for left in grant.left.amounts))
            books.change_limits(account, EntryKind.LAPSE, unused, reason=f"grant {grant.grant_id}")
    _changed(books, account, grants)


def _changed(books: Books, account: Account, grants: list[Grant]) -> None:
    books.writes.changed_grants.update((grant.grant_id, grant) for grant in grants)
    ends = [grant.expires_at for grant in _grants_of(books, account) if grant.expires_at is not None]
    account.grants_until = min(ends, default=None)
    books.writes.changed_terms[account.account_id] = account


def _grants_of(books: Books, account: Account) -> list[Grant]:
    """Return an account's grants that have not lapsed."""
    return [
        grant
        for grant in books.loaded.grants.values()
        if grant.account_id == account.account_id and grant.lapsed_at is None
    ]


def _keep(books: Books, increase: Increase) -> None:
    books.writes.increases[increase.increase_id] = increase
    books.loaded.increases[increase.increase_id] = increase


def _in_the_past(expires_at: datetime) -> Refused:
    return Refused(Code.TIME_OUT_OF_RANGE, f"expires_at {expires_at.isoformat()} is in the past", "expires_at")


def _grant_state(grant: Grant) -> dict[str, object]:
    ends = grant.expires_at.isoformat() if grant.expires_at else None
    return {"amounts": limits_state(grant.amounts), "expires_at": ends, "reason": grant.reason}
