"""Reads users."""

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId, User
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows


async def find_users(connection: AsyncConnection, tenant: TenantId, *, after: str, limit: int) -> list[User]:
    """Return users by name, from after one of them."""
    found = await fetch_rows(
        connection,
        f"select {rows.USER.select()} from users where tenant_id = :tenant and user_id > :after and not erased"
        " order by user_id limit :limit",
        tenant=tenant, after=after, limit=limit,
    )  # fmt: skip
    return [rows.USER.read(row) for row in found]
