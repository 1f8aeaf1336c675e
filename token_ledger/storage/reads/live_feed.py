"""Reads where the live feed of usage events stands."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.reads.query import fetch_rows


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What is another whenever a tenant's calls, runs, set-up or stop are others."""

    sequence: int
    setup_version: int
    stopped_reason: str | None


async def find_ledger_state(connection: AsyncConnection, tenant: TenantId) -> LedgerState:
    """Return where a tenant's ledger stands."""
    statement = "select sequence, config_version, stopped_reason from tenant_ledgers where tenant_id = :tenant"
    [row] = await fetch_rows(connection, statement, tenant=tenant)
    return LedgerState(*row)


async def current_sequence(connection: AsyncConnection, tenant: TenantId) -> int:
    """Return the sequence number of a tenant's newest batch."""
    found = await fetch_rows(connection, "select sequence from tenant_ledgers where tenant_id = :tenant", tenant=tenant)
    return int(found[0].sequence)
