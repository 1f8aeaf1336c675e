"""Reads increases."""

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.increase import Increase
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows


async def find_increases(
    connection: AsyncConnection, tenant: TenantId, *, state: str | None, after: int, limit: int,
    asked_by: str | None = None, run_id: int | None = None,
) -> list[Increase]:  # fmt: skip
    """Return increases in the order they were asked for, from after one of them: of all, someone's, or a run's."""
    found = await fetch_rows(
        connection,
        f"select {rows.INCREASE.select()} from increases as i where tenant_id = :tenant and increase_id > :after"
        " and (cast(:state as text) is null or state = :state)"
        " and (cast(:asked_by as text) is null or asked_by = :asked_by)"
        " and (cast(:run as text) is null or exists (select from accounts as a where a.tenant_id = i.tenant_id"
        " and a.account_id = i.account_id and a.subject_run = :run))"
        " order by increase_id limit :limit",
        tenant=tenant, state=state, after=after, limit=limit, asked_by=asked_by,
        run=None if run_id is None else str(run_id),
    )  # fmt: skip
    return [rows.INCREASE.read(row) for row in found]
