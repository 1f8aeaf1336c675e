"""Answers reads about limits (journal, grants, increases, thresholds) and the tenant (users, calendar, audit)."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.account import Account, Grant
from token_ledger.core.budget import subject_text
from token_ledger.core.increase import Increase
from token_ledger.core.money import format_money
from token_ledger.core.tenant import TenantId, User
from token_ledger.storage.rows import (
    ACCOUNT_COLUMNS,
    GRANT_COLUMNS,
    INCREASE_COLUMNS,
    USER_COLUMNS,
    account_from,
    grant_from,
    increase_from,
    user_from,
)  # fmt: skip
from token_ledger.storage.setup_tables import STANDING_CHANGES


async def _rows(connection: AsyncConnection, statement: str, **values: Any) -> Any:
    return (await connection.execute(text(statement), values)).all()


async def find_account(connection: AsyncConnection, tenant: TenantId, account_id: int) -> Account | None:
    """Return an account, or None."""
    found = await _rows(
        connection, f"select {ACCOUNT_COLUMNS} from accounts where tenant_id = :tenant and account_id = :id",
        tenant=tenant, id=account_id,
    )  # fmt: skip
    return account_from(found[0]) if found else None


async def find_user_accounts(
    connection: AsyncConnection, tenant: TenantId, user: str, *, account_id: int | None = None
) -> list[Account]:
    """Return the accounts on which one user's calls fall and nobody else's, or that one of them.

    Only those whose windows have not ended. The user stands in the subject, or in the selector of the budget alone.
    """
    found = await _rows(
        connection,
        f"select {ACCOUNT_COLUMNS} from accounts where tenant_id = :tenant"
        " and (window_end is null or window_end > now()) and (cast(:id as bigint) = 0 or account_id = :id)"
        " and (cast(subject as jsonb) @> cast(:subject as jsonb)"
        " or (cast(subject as jsonb) -> 'user' is null and budget_id = any (array(select budget_id from budgets"
        " where tenant_id = :tenant and selector @> cast(:subject as jsonb)))))"
        " order by account_id",
        tenant=tenant, subject=subject_text({"user": user}), id=account_id or 0,
    )  # fmt: skip
    return [account_from(row) for row in found]


async def find_limit_entries(connection: AsyncConnection, tenant: TenantId, account_id: int) -> list[dict[str, Any]]:
    """Return the journal of an account's limit, in order."""
    found = await _rows(
        connection,
        "select entry_id, kind, tokens, nanos, calls, reason, actor, booked_at from limit_entries"
        " where tenant_id = :tenant and account_id = :id order by entry_id",
        tenant=tenant, id=account_id,
    )  # fmt: skip
    return [
        {
            "entry_id": str(row.entry_id),
            "kind": row.kind,
            "amounts": _amounts(row),
            "reason": row.reason,
            "actor": row.actor,
            "booked_at": row.booked_at.isoformat(),
        }
        for row in found
    ]


async def find_grants(connection: AsyncConnection, tenant: TenantId, account_id: int) -> list[Grant]:
    """Return the grants of an account, in the order they were given."""
    found = await _rows(
        connection,
        f"select {GRANT_COLUMNS} from grants where tenant_id = :tenant and account_id = :id order by grant_id",
        tenant=tenant, id=account_id,
    )  # fmt: skip
    return [grant_from(row) for row in found]


async def find_increases(
    connection: AsyncConnection, tenant: TenantId, *, state: str | None, after: int, limit: int,
    asked_by: str | None = None, run_id: int | None = None,
) -> list[Increase]:  # fmt: skip
    """Return increases in the order they were asked for, from after one of them: of all, someone's, or a run's."""
    found = await _rows(
        connection,
        f"select {INCREASE_COLUMNS} from increases as i where tenant_id = :tenant and increase_id > :after"
        " and (cast(:state as text) is null or state = :state)"
        " and (cast(:asked_by as text) is null or asked_by = :asked_by)"
        " and (cast(:run as text) is null or exists (select from accounts as a where a.tenant_id = i.tenant_id"
        " and a.account_id = i.account_id and cast(a.subject as jsonb) ->> 'run' = :run))"
        " order by increase_id limit :limit",
        tenant=tenant, state=state, after=after, limit=limit, asked_by=asked_by,
        run=None if run_id is None else str(run_id),
    )  # fmt: skip
    return [increase_from(row) for row in found]


async def find_thresholds(
    connection: AsyncConnection, tenant: TenantId, *, account_id: int | None, after: int, limit: int
) -> list[dict[str, Any]]:
    """Return threshold events in order, from after one of them, of one account or of all."""
    found = await _rows(
        connection,
        "select t.threshold_id, t.account_id, a.budget, a.subject, t.unit, t.percent, t.fired, t.settled,"
        " t.limit_amount, t.booked_at from threshold_events as t join accounts as a using (tenant_id, account_id)"
        " where t.tenant_id = :tenant and t.threshold_id > :after"
        " and (cast(:account as bigint) is null or t.account_id = :account) order by t.threshold_id limit :limit",
        tenant=tenant, account=account_id, after=after, limit=limit,
    )  # fmt: skip
    return [
        {
            **row._mapping,
            "threshold_id": str(row.threshold_id),
            "account_id": str(row.account_id),
            "settled": format_money(row.settled) if row.unit == "cost" else row.settled,
            "limit_amount": format_money(row.limit_amount) if row.unit == "cost" else row.limit_amount,
            "booked_at": row.booked_at.isoformat(),
        }
        for row in found
    ]


async def find_users(connection: AsyncConnection, tenant: TenantId, *, after: str, limit: int) -> list[User]:
    """Return users by name, from after one of them."""
    found = await _rows(
        connection,
        f"select {USER_COLUMNS} from users where tenant_id = :tenant and user_id > :after"
        " order by user_id limit :limit",
        tenant=tenant, after=after, limit=limit,
    )  # fmt: skip
    return [user_from(row) for row in found]


async def find_audit(connection: AsyncConnection, tenant: TenantId, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return entries of the audit log in order, from after one of them."""
    found = await _rows(
        connection,
        "select audit_id, actor, action, target, before, after, booked_at from audit_log"
        " where tenant_id = :tenant and audit_id > :after order by audit_id limit :limit",
        tenant=tenant, after=after, limit=limit,
    )  # fmt: skip
    return [{**row._mapping, "audit_id": str(row.audit_id), "booked_at": row.booked_at.isoformat()} for row in found]


async def find_calendar(connection: AsyncConnection, tenant: TenantId) -> list[dict[str, Any]]:
    """Return the tenant's calendar: the rule that it began with, then every change, also planned ones."""
    found = await _rows(
        connection,
        "select cast(null as timestamptz) as effective_from, time_zone, week_start, fiscal_month from tenants"
        " where tenant_id = :tenant"
        f" union all select effective_from, time_zone, week_start, fiscal_month from {STANDING_CHANGES}"
        " where tenant_id = :tenant order by effective_from nulls first",
        tenant=tenant,
    )  # fmt: skip
    return [
        {**row._mapping, "effective_from": row.effective_from.isoformat() if row.effective_from else None}
        for row in found
    ]


def _amounts(row: Any) -> dict[str, Any]:
    cost = None if row.nanos is None else format_money(row.nanos)
    return {"tokens": row.tokens, "cost": cost, "calls": row.calls}
