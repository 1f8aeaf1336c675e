"""Reads triggers."""

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.trigger import Trigger
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows


async def find_triggers(connection: AsyncConnection, tenant: TenantId) -> list[Trigger]:
    """Return the triggers that are set."""
    found = await fetch_rows(
        connection,
        f"select {rows.TRIGGER.select()} from triggers where tenant_id = :tenant order by kind",
        tenant=tenant,
    )
    return [rows.TRIGGER.read(row) for row in found]
