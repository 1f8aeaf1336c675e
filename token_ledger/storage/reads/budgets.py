"""Reads budgets."""

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.budget import Budget
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows


async def selects_only(connection: AsyncConnection, tenant: TenantId, budget_id: int, user: str) -> bool:
    """Return whether a budget in use selects the calls of this user and of nobody else."""
    found = await fetch_rows(
        connection,
        "select 1 from budgets where tenant_id = :tenant and budget_id = :id and archived_at is null"
        " and selector ->> 'user' = :user and right(:user, 1) <> '*'",
        tenant=tenant, id=budget_id, user=user,
    )  # fmt: skip
    return bool(found)


async def find_budgets(connection: AsyncConnection, tenant: TenantId) -> list[tuple[Budget, bool]]:
    """Return every budget and whether it is archived, in the order they were made."""
    found = await fetch_rows(
        connection,
        f"select {rows.BUDGET.select()}, archived_at from budgets where tenant_id = :tenant order by budget_id",
        tenant=tenant,
    )  # fmt: skip
    return [(rows.BUDGET.read(row), row.archived_at is not None) for row in found]
