"""Answers plain reads of a tenant: runs, reservations, budgets, accounts, triggers."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.account import RUN_BUDGET, Account
from token_ledger.core.budget import Budget
from token_ledger.core.reservation import Reservation
from token_ledger.core.run import Run, allocation_account_key, run_account_key
from token_ledger.core.tenant import TenantId
from token_ledger.core.trigger import Trigger
from token_ledger.core.window import ALL_TIME
from token_ledger.storage.rows import (
    ACCOUNT_COLUMNS,
    BUDGET_COLUMNS,
    RESERVATION_COLUMNS,
    RUN_COLUMNS,
    TRIGGER_COLUMNS,
    account_from,
    budget_from,
    reservation_from,
    run_from,
    trigger_from,
)  # fmt: skip


async def _rows(connection: AsyncConnection, statement: str, **values: Any) -> Sequence[Any]:
    return (await connection.execute(text(statement), values)).all()


async def find_run(connection: AsyncConnection, tenant: TenantId, run_id: int) -> Run | None:
    """Return a run, or None."""
    found = await _rows(
        connection, f"select {RUN_COLUMNS} from runs where tenant_id = :tenant and run_id = :run",
        tenant=tenant, run=run_id,
    )  # fmt: skip
    return run_from(found[0]._mapping) if found else None


async def find_runs(
    connection: AsyncConnection, tenant: TenantId, *, user: str | None, state: str | None,
    external_id: str | None, limit: int, after: int | None = None, run_id: int | None = None,
) -> list[Run]:  # fmt: skip
    """Return the runs that fit what is asked for, newest first, after one of them; of one run, it and its sub-runs."""
    found = await _rows(
        connection,
        f"select {RUN_COLUMNS} from runs where tenant_id = :tenant"
        " and (cast(:user as text) is null or user_id = :user)"
        " and (cast(:state as text) is null or state = :state)"
        " and (cast(:external_id as text) is null or external_id = :external_id)"
        " and (cast(:after as bigint) is null or run_id < :after)"
        " and (cast(:run as bigint) is null or run_id = :run or :run = any(ancestors))"
        " order by run_id desc limit :limit",
        tenant=tenant, user=user, state=state, external_id=external_id, limit=limit, after=after, run=run_id,
    )  # fmt: skip
    return [run_from(row._mapping) for row in found]


async def find_run_accounts(connection: AsyncConnection, tenant: TenantId, run: Run) -> list[Account]:
    """Return the accounts of a run: its own first, then those of its allocations."""
    keys = [run_account_key(run.run_id), *(allocation_account_key(run.run_id, name) for name in run.allocated)]
    found = await _rows(
        connection,
        f"select {ACCOUNT_COLUMNS} from accounts where tenant_id = :tenant and budget_id = :budget"
        " and window_start = :start and subject = any(:subjects) order by account_id",
        tenant=tenant, budget=RUN_BUDGET, start=ALL_TIME, subjects=[subject for _, subject, _ in keys],
    )  # fmt: skip
    return [account_from(row) for row in found]


async def find_reservation(connection: AsyncConnection, tenant: TenantId, reservation_id: int) -> Reservation | None:
    """Return a reservation as it stands, or None."""
    found = await _rows(
        connection,
        f"select {RESERVATION_COLUMNS.replace('directive, warnings', 'directive::text, warnings::text')}"
        " from reservations where tenant_id = :tenant and reservation_id = :id",
        tenant=tenant, id=reservation_id,
    )  # fmt: skip
    return reservation_from(found[0]) if found else None


async def find_reservations(
    connection: AsyncConnection, tenant: TenantId, *, state: str, lease: bool | None, run_id: int | None,
    user: str | None, agent_type: str | None, older_than_seconds: int, after: int, limit: int,
) -> list[Reservation]:  # fmt: skip
    """Return the holds of a state that fit what is asked for, oldest first, from after one of them."""
    found = await _rows(
        connection,
        f"select {RESERVATION_COLUMNS.replace('directive, warnings', 'directive::text, warnings::text')}"
        " from reservations where tenant_id = :tenant and state = :state and reservation_id > :after"
        " and (cast(:lease as boolean) is null or lease = :lease)"
        " and (cast(:run as bigint) is null or run_id = :run)"
        " and (cast(:user as text) is null or user_id = :user)"
        " and (cast(:agent_type as text) is null or agent_type = :agent_type)"
        " and created_at <= now() - make_interval(secs => :seconds) order by reservation_id limit :limit",
        tenant=tenant, state=state, lease=lease, run=run_id, user=user, agent_type=agent_type,
        seconds=older_than_seconds, after=after, limit=limit,
    )  # fmt: skip
    return [reservation_from(row) for row in found]


async def find_budgets(connection: AsyncConnection, tenant: TenantId) -> list[tuple[Budget, bool]]:
    """Return every budget and whether it is archived, in the order they were made."""
    found = await _rows(
        connection, f"select {BUDGET_COLUMNS} from budgets where tenant_id = :tenant order by budget_id",
        tenant=tenant,
    )  # fmt: skip
    return [(budget_from(row._mapping), row.archived_at is not None) for row in found]


async def find_triggers(connection: AsyncConnection, tenant: TenantId) -> list[Trigger]:
    """Return the triggers that are set."""
    found = await _rows(
        connection, f"select {TRIGGER_COLUMNS} from triggers where tenant_id = :tenant order by kind", tenant=tenant
    )
    return [trigger_from(row._mapping) for row in found]


async def find_accounts(
    connection: AsyncConnection, tenant: TenantId, *, budget_id: int | None, after: int, limit: int
) -> list[Account]:
    """Return accounts in the order they were made, from after one of them."""
    found = await _rows(
        connection,
        f"select {ACCOUNT_COLUMNS} from accounts where tenant_id = :tenant and account_id > :after"
        " and (cast(:budget as bigint) is null or budget_id = :budget) order by account_id limit :limit",
        tenant=tenant, budget=budget_id, after=after, limit=limit,
    )  # fmt: skip
    return [account_from(row) for row in found]


async def current_sequence(connection: AsyncConnection, tenant: TenantId) -> int:
    """Return the sequence number of a tenant's newest batch."""
    found = await _rows(connection, "select sequence from tenant_ledgers where tenant_id = :tenant", tenant=tenant)
    return int(found[0].sequence)
