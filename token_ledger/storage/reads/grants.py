"""Reads grants."""

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.account import Grant
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows


async def find_grants(connection: AsyncConnection, tenant: TenantId, account_id: int) -> list[Grant]:
    """Return the grants of an account, in the order they were given."""
    found = await fetch_rows(
        connection,
        f"select {rows.GRANT.select()} from grants where tenant_id = :tenant and account_id = :id order by grant_id",
        tenant=tenant, id=account_id,
    )  # fmt: skip
    return [rows.GRANT.read(row) for row in found]
