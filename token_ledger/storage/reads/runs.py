"""Reads runs and their accounts."""

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.account import RUN_BUDGET, Account
from token_ledger.core.model.run import Run, allocation_account_key, run_account_key
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import ALL_TIME
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows


async def find_run(connection: AsyncConnection, tenant: TenantId, run_id: int) -> Run | None:
    """Return a run, or None."""
    found = await fetch_rows(
        connection, f"select {rows.RUN.select()} from runs where tenant_id = :tenant and run_id = :run",
        tenant=tenant, run=run_id,
    )  # fmt: skip
    return rows.RUN.read(found[0]) if found else None


async def find_runs(
    connection: AsyncConnection, tenant: TenantId, *, user: str | None, state: str | None,
    external_id: str | None, limit: int, after: int | None = None, run_id: int | None = None,
) -> list[Run]:  # fmt: skip
    """Return the runs that fit what is asked for, newest first, after one of them; of one run, it and its sub-runs."""
    found = await fetch_rows(
        connection,
        f"select {rows.RUN.select()} from runs where tenant_id = :tenant"
        " and (cast(:user as text) is null or user_id = :user)"
        " and (cast(:state as text) is null or state = :state)"
        " and (cast(:external_id as text) is null or external_id = :external_id)"
        " and (cast(:after as bigint) is null or run_id < :after)"
        " and (cast(:run as bigint) is null or run_id = :run or :run = any(ancestors))"
        " order by run_id desc limit :limit",
        tenant=tenant, user=user, state=state, external_id=external_id, limit=limit, after=after, run=run_id,
    )  # fmt: skip
    return [rows.RUN.read(row) for row in found]


async def find_run_accounts(connection: AsyncConnection, tenant: TenantId, run: Run) -> list[Account]:
    """Return the accounts of a run: its own first, then those of its allocations."""
    keys = [run_account_key(run.run_id), *(allocation_account_key(run.run_id, name) for name in run.allocated)]
    found = await fetch_rows(
        connection,
        f"select {rows.ACCOUNT.select()} from accounts where tenant_id = :tenant and budget_id = :budget"
        " and window_start = :start and subject = any(:subjects) order by account_id",
        tenant=tenant, budget=RUN_BUDGET, start=ALL_TIME, subjects=[subject for _, subject, _ in keys],
    )  # fmt: skip
    return [rows.ACCOUNT.read(row) for row in found]
