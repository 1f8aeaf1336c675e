"""Reads where the live feed of usage events stands."""

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.reads.query import fetch_rows


async def current_sequence(connection: AsyncConnection, tenant: TenantId) -> int:
    """Return the sequence number of a tenant's newest batch."""
    found = await fetch_rows(connection, "select sequence from tenant_ledgers where tenant_id = :tenant", tenant=tenant)
    return int(found[0].sequence)
