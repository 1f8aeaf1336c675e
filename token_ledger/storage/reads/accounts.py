"""Reads accounts, the journal of their limits, and the thresholds that they reached."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.account import Account, EntryKind
from token_ledger.core.model.budget import Limits, Unit, subject_in_books
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.selector import NAMED_IN_BOOKS
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.reads.budgets import find_budgets
from token_ledger.storage.reads.model_names import find_spellings
from token_ledger.storage.reads.query import fetch_rows


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which accounts to find; None stands for all.

    Of a user: accounts on which their calls fall and nobody else's, whose subject or the selector of whose budget has
    the user.
    """

    budget_id: int | None = None
    budget: str | None = None
    user: str | None = None
    subjects: tuple[Subject, ...] | None = None


# Two look-ups, each by an index of its own; joined by `or`, they would be one that reads all accounts. What ends in `*`
# is a prefix in a selector, and no user.
_OF_USER = (
    "account_id = any (array("
    "select account_id from accounts where tenant_id = :tenant and subject_user = :user"
    " union all select a.account_id from budgets as b join accounts as a using (tenant_id, budget_id)"
    " where b.tenant_id = :tenant and b.selector ->> 'user' = :user and right(:user, 1) <> '*'"
    " and a.subject_user is null))"
)
_OF_RUNS = ("run", "allocation")
"""How accounts of runs name their budget, which has the id 0."""

# A subject is looked up in every budget: no index begins with it.
_NAMED = "budget_id = any (array(select budget_id from budgets where tenant_id = :tenant and name = :budget))"
_EVERY_BUDGET = "budget_id = any (array(select budget_id from budgets where tenant_id = :tenant union all select 0))"


def accounts_query(wanted: Wanted) -> str:
    """Return the query for the accounts wanted: only conditions that are asked for, so that each finds its index."""
    conditions = ["tenant_id = :tenant", "account_id > :after"]
    if wanted.budget_id is not None:
        conditions.append("budget_id = :budget_id")
    if wanted.budget is not None:
        conditions.append(
            f"({_NAMED} or (budget_id = 0 and budget = :budget))" if wanted.budget in _OF_RUNS else _NAMED
        )
    if wanted.subjects is not None:
        conditions.append("subject = any (:subjects)")
        if wanted.budget_id is None and wanted.budget is None:
            conditions.append(_EVERY_BUDGET)
    if wanted.user is not None:
        conditions.append(_OF_USER)
    where = " and ".join(conditions)
    # The few accounts of a user or subject are found first and sorted then, not looked for in the order of all.
    order = "account_id" if wanted.user is None and wanted.subjects is None else "account_id + 0"
    return f"select {rows.ACCOUNT.select()} from accounts where {where} order by {order} limit :limit"


async def find_names_of_subject(
    connection: AsyncConnection, tenant: TenantId, subject: Subject, prices: PriceBook
) -> tuple[Subject, ...]:
    """Return a subject as it was given, and with the names that its model has in the books of each budget."""
    if NAMED_IN_BOOKS.isdisjoint(dict(subject.pairs)):
        return (subject,)
    name_of = (await find_spellings(connection, tenant)).names_by(prices)
    selectors = {budget.given_selector for budget, _ in await find_budgets(connection, tenant)}
    return tuple({subject, *(subject_in_books(selector, subject, name_of) for selector in selectors)})


async def find_accounts(
    connection: AsyncConnection, tenant: TenantId, wanted: Wanted, *, after: int, limit: int
) -> list[Account]:
    """Return accounts in the order they were made, from after one of them."""
    given = {"budget_id": wanted.budget_id, "budget": wanted.budget, "user": wanted.user}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if wanted.subjects is not None:
        values["subjects"] = [subject.text for subject in wanted.subjects]
    found = await fetch_rows(
        connection, accounts_query(wanted), tenant=tenant, after=after, limit=limit, **values
    )  # fmt: skip
    return [rows.ACCOUNT.read(row) for row in found]


async def find_account(connection: AsyncConnection, tenant: TenantId, account_id: int) -> Account | None:
    """Return an account, or None."""
    found = await fetch_rows(
        connection, f"select {rows.ACCOUNT.select()} from accounts where tenant_id = :tenant and account_id = :id",
        tenant=tenant, id=account_id,
    )  # fmt: skip
    return rows.ACCOUNT.read(found[0]) if found else None


async def find_user_accounts(
    connection: AsyncConnection, tenant: TenantId, user: str, *, account_id: int | None = None
) -> list[Account]:
    """Return the accounts on which one user's calls fall and nobody else's, or that one of them.

    Only those whose windows have not ended. The user stands in the subject, or in the selector of the budget alone.
    """
    found = await fetch_rows(
        connection,
        f"select {rows.ACCOUNT.select()} from accounts where tenant_id = :tenant"
        " and (window_end is null or window_end > now()) and (cast(:id as bigint) = 0 or account_id = :id)"
        f" and {_OF_USER} order by account_id",
        tenant=tenant, user=user, id=account_id or 0,
    )  # fmt: skip
    return [rows.ACCOUNT.read(row) for row in found]


@dataclass(frozen=True, slots=True)
class BookedLimitEntry:
    """A change of an account's limit, as it is stored."""

    entry_id: int
    kind: EntryKind
    by: Limits
    reason: str | None
    actor: str | None
    booked_at: datetime


async def find_limit_entries(connection: AsyncConnection, tenant: TenantId, account_id: int) -> list[BookedLimitEntry]:
    """Return the journal of an account's limit, in order."""
    found = await fetch_rows(
        connection,
        "select entry_id, kind, tokens, nanos, calls, reason, actor, booked_at from limit_entries"
        " where tenant_id = :tenant and account_id = :id order by entry_id",
        tenant=tenant, id=account_id,
    )  # fmt: skip
    return [
        BookedLimitEntry(
            row.entry_id, EntryKind(row.kind), Limits(row.tokens, row.nanos, row.calls), row.reason, row.actor,
            row.booked_at,
        )
        for row in found
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class BookedThreshold:
    """A threshold that an account has reached (`fired`), or lies below again; money is in nano-dollars."""

    threshold_id: int
    account_id: int
    budget: str
    subject: str
    unit: Unit
    percent: int
    fired: bool
    settled: int
    limit: int
    withdrawn: bool
    booked_at: datetime


async def find_thresholds(
    connection: AsyncConnection, tenant: TenantId, *, account_id: int | None, after: int, limit: int
) -> list[BookedThreshold]:
    """Return threshold events in order, from after one of them, of one account or of all."""
    found = await fetch_rows(
        connection,
        "select t.threshold_id, t.account_id, a.budget, a.subject, t.unit, t.percent, t.fired, t.settled,"
        " t.limit_amount, t.withdrawn, t.booked_at"
        " from threshold_events as t join accounts as a using (tenant_id, account_id)"
        " where t.tenant_id = :tenant and t.threshold_id > :after"
        " and (cast(:account as bigint) is null or t.account_id = :account) order by t.threshold_id limit :limit",
        tenant=tenant, account=account_id, after=after, limit=limit,
    )  # fmt: skip
    return [
        BookedThreshold(
            row.threshold_id, row.account_id, row.budget, row.subject, Unit(row.unit), row.percent, row.fired,
            row.settled, row.limit_amount, row.withdrawn, row.booked_at,
        )
        for row in found
    ]  # fmt: skip
