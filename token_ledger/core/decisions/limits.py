"""Decides on limits: grants and their lapse, increases, and what open accounts take over from a changed budget."""

from copy import copy
from dataclasses import replace
from datetime import datetime

from token_ledger.core.batch import administration, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import TendAccounts
from token_ledger.core.model.account import Account, EntryKind, Grant, end_grants, spend_grants
from token_ledger.core.model.budget import Budget, Enforcement, Limits, Unit, subject_in_books
from token_ledger.core.model.increase import Increase, IncreaseState
from token_ledger.core.model.money import LARGEST_AMOUNT, format_money
from token_ledger.core.model.plain_data import limits_data
from token_ledger.core.model.tenant import Match


def bring_up_to_date(books: Books) -> None:
    """Let grants lapse that are due, and let open accounts take over the current terms of their budgets."""
    budgets = books.config.budgets_by_id
    for account in books.loaded.accounts:
        if account.grants_until is not None and account.grants_until <= books.now:
            _lapse(books, account)
        budget = budgets.get(account.budget_id)
        if budget is not None:
            take_terms(books, account, budget)


def take_terms(books: Books, account: Account, budget: Budget) -> None:
    """Let an open account take over the limits, the enforcement and the thresholds of its budget."""
    limits = budget.limits_of(account.subject)
    same_limits = account.base == limits and account.enforcement is budget.enforcement
    if (same_limits and account.thresholds == budget.thresholds) or not account.is_open(books.now):
        return
    if same_limits:
        books.change_thresholds(account, budget.thresholds, account.limits)
        return
    hard = (budget.enforcement is Enforcement.HARD) - (account.enforcement is Enforcement.HARD)
    before, account.base = account.base, limits
    account.enforcement = budget.enforcement
    change_base(books, account, before, limits, hard=hard, thresholds=budget.thresholds)


def change_base(
    books: Books, account: Account, before: Limits, after: Limits, *, hard: int = 0,
    reason: str | None = None, actor: str | None = None, thresholds: tuple[int, ...] | None = None,
) -> None:  # fmt: skip
    """Change an account's limits because its budget or run has others.

    Grants in a unit that loses its limit end with it: when they lapse, nothing is left of them to take back.
    """
    change, bounds = account.change_between(before, after)
    grants = _grants_of(books, account) if -1 in bounds else []
    if grants:
        spend_grants(grants, account.used)
        end_grants(grants, bounds)
        _changed(books, account, grants)
    books.change_limits(
        account, EntryKind.CHANGE, change, bounds=bounds, hard=hard, reason=reason, actor=actor, thresholds=thresholds
    )


def give_grant(books: Books, command: administration.GiveGrant) -> outcomes.GrantAnswer | outcomes.Refused:
    """Raise an account's limit until an instant; what is unused by then lapses."""
    found = _find_account(books, command)
    if isinstance(found, outcomes.Refused):
        return found
    if command.expires_at is not None and command.expires_at <= books.now:
        return _in_the_past(command.expires_at)
    account = _account_of(books, found)
    grant = _grant(books, account, command.amounts, command.expires_at, command.reason, command.actor)
    books.audit(command, "grant.give", str(account.account_id), None, _grant_state(grant))
    books.note_key(command, "grant", grant.grant_id)
    return outcomes.GrantAnswer(replace(grant), copy(account))


def ask_increase(books: Books, command: administration.AskIncrease) -> outcomes.IncreaseAnswer | outcomes.Refused:
    """Keep a request for more until an administrator decides."""
    found = _find_account(books, command)
    if isinstance(found, outcomes.Refused):
        return found
    account = _account_of(books, found)
    increase = Increase(
        books.new_id(), account.account_id, command.amounts, command.reason, command.asked_by, books.now
    )
    _keep(books, increase)
    books.note_key(command, "increase", increase.increase_id)
    return outcomes.IncreaseAnswer(replace(increase))


def decide_increase(
    books: Books, command: administration.DecideIncrease
) -> outcomes.IncreaseAnswer | outcomes.Refused:  # fmt: skip
    """Approve or refuse a request for more, once."""
    increase = books.loaded.increases.get(command.increase_id)
    if increase is None:
        return outcomes.missing(outcomes.Code.INCREASE_NOT_FOUND, "increase", command.increase_id)
    if increase.state is not IncreaseState.ASKED:
        detail = f"the increase was {increase.state} by {increase.decided_by} already; ask for another one"
        return outcomes.Refused(outcomes.Code.INCREASE_DECIDED, detail, extra={"state": increase.state.value})
    if command.approve:
        refused = _approve(books, command, increase)
        if refused is not None:
            return refused
    increase.state = IncreaseState.APPROVED if command.approve else IncreaseState.REFUSED
    increase.decided_by, increase.decided_at, increase.note = command.actor, books.now, command.note
    _keep(books, increase)
    asked = {"state": "asked", "amounts": limits_data(increase.amounts), "asked_by": increase.asked_by}
    action = "increase.approve" if command.approve else "increase.refuse"
    books.audit(command, action, str(increase.increase_id), asked, {**asked, "state": increase.state.value})
    books.note_key(command, "increase", increase.increase_id)
    return outcomes.IncreaseAnswer(replace(increase))


def tend_accounts(books: Books, command: TendAccounts) -> outcomes.Swept:
    """Close accounts whose window has ended and on which nothing is held; grants that were due have lapsed already."""
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
    return outcomes.Swept(done)


def _approve(books: Books, command: administration.DecideIncrease, increase: Increase) -> outcomes.Refused | None:
    account = _open_account(books, increase.account_id, increase.amounts)
    if isinstance(account, outcomes.Refused):
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


_Raising = administration.GiveGrant | administration.AskIncrease


def _find_account(books: Books, command: _Raising) -> Account | Match | outcomes.Refused:
    """Return the account that a command names, or budget and subject of one that is still to be made."""
    if command.subject is None:
        return _open_account(books, command.account_id or 0, command.amounts)
    budget_id = command.budget_id or 0
    budget = books.config.budgets_by_id.get(budget_id)
    if budget is None:
        return outcomes.missing(outcomes.Code.BUDGET_NOT_FOUND, "budget", budget_id)
    subject = subject_in_books(budget.given_selector, command.subject, books.model_name)
    try:
        budget.check_subject(subject)
    except ValueError as error:
        return outcomes.Refused(outcomes.Code.INVALID_REQUEST, str(error), "subject")
    account = books.find_current_account(budget, subject)
    if account is not None:
        return _open_account(books, account.account_id, command.amounts)
    if subject.get("run") is not None:
        detail = "a run's first call makes its account, and there is none of this run; check the run"
        return outcomes.Refused(outcomes.Code.ACCOUNT_NOT_FOUND, detail, "subject")
    return _nothing_to_raise(budget.limits_of(subject), command.amounts) or (budget, subject)


def _account_of(books: Books, found: Account | Match) -> Account:
    return found if isinstance(found, Account) else books.account_of(found)


def _open_account(books: Books, account_id: int, amounts: Limits) -> Account | outcomes.Refused:
    account = books.find_account_by_id(account_id)
    if account is None:
        return outcomes.missing(outcomes.Code.ACCOUNT_NOT_FOUND, "account", account_id)
    if not account.is_open(books.now):
        assert account.window_end is not None, "an account without an end is open"
        detail = f"the account's window ended at {account.window_end.isoformat()}; use the account of a later window"
        return outcomes.Refused(outcomes.Code.ACCOUNT_CLOSED, detail, "account_id")
    return _nothing_to_raise(account.limits, amounts) or account


def _nothing_to_raise(limits: Limits, amounts: Limits) -> outcomes.Refused | None:
    for unit, limit, amount in zip(Unit, limits.amounts, amounts.amounts, strict=True):
        if amount is not None and limit is None:
            detail = f"the account has no limit in {unit}, so there is nothing to raise; leave {unit} out"
            return outcomes.Refused(outcomes.Code.NO_LIMIT, detail, unit)
        if amount is not None and limit is not None and limit + amount > LARGEST_AMOUNT:
            detail = (
                f"the account's limit would be above the largest amount ({format_money(LARGEST_AMOUNT)} dollars,"
                f" {LARGEST_AMOUNT} tokens or calls); raise it by less"
            )
            return outcomes.Refused(outcomes.Code.INVALID_REQUEST, detail, unit)
    return None


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


def _in_the_past(expires_at: datetime) -> outcomes.Refused:
    detail = f"expires_at {expires_at.isoformat()} is in the past; use a later instant"
    return outcomes.Refused(outcomes.Code.TIME_OUT_OF_RANGE, detail, "expires_at")


def _grant_state(grant: Grant) -> dict[str, object]:
    ends = grant.expires_at.isoformat() if grant.expires_at else None
    return {"amounts": limits_data(grant.amounts), "expires_at": ends, "reason": grant.reason}
