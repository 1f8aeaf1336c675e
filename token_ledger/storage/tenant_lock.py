"""Owns the lock of a tenant: the row of its ledger, which also gives out its sequence numbers."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId

_LOCK = text("select from tenant_ledgers where tenant_id = :tenant for update")
_TAKE_SEQUENCE = text(
    "update tenant_ledgers set sequence = sequence + 1, booked_at = greatest(booked_at, clock_timestamp())"
    " where tenant_id = :tenant returning sequence, booked_at"
)


async def lock_tenant(connection: AsyncConnection, tenant: TenantId) -> None:
    """Wait for the tenant's batch under way, and let no other begin until the transaction ends."""
    await connection.execute(_LOCK, {"tenant": tenant})


async def take_sequence(connection: AsyncConnection, tenant: TenantId) -> Any:
    """Lock a tenant and return its next `sequence`, with the instant `booked_at`, which never goes back."""
    return (await connection.execute(_TAKE_SEQUENCE, {"tenant": tenant})).one()
