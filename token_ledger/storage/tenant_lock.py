"""Owns the lock of a tenant: the row of its ledger, which also gives out its sequence numbers.

Whoever holds it keeps the tenant's batches waiting, and a process can stop at any moment (a frozen container, a machine
that is suspended). So the server itself ends a transaction with this lock that has been silent for a while.
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.clocks import ClockDoubted, ClockWatch, span

SILENT_SECONDS = 2
"""How long a transaction may hold what batches wait for without a statement: less than batches wait for a lock."""

_END_IF_SILENT = text(f"set local idle_in_transaction_session_timeout = '{SILENT_SECONDS}s'")
_LOCK = text("select from tenant_ledgers where tenant_id = :tenant for update")
_CLOCK = text("select clock_timestamp()")
_TAKE_SEQUENCE = text(
    "update tenant_ledgers set sequence = sequence + 1, booked_at = greatest(booked_at, clock_timestamp())"
    " where tenant_id = :tenant returning sequence, booked_at"
)


async def end_if_silent(connection: AsyncConnection) -> None:
    """Let the server end this transaction when nothing is heard of it for SILENT_SECONDS."""
    await connection.execute(_END_IF_SILENT)


async def lock_tenant(connection: AsyncConnection, tenant: TenantId) -> None:
    """Wait for the tenant's batch under way, and let no other begin until the transaction ends."""
    await end_if_silent(connection)
    await connection.execute(_LOCK, {"tenant": tenant})


async def take_sequence(connection: AsyncConnection, tenant: TenantId) -> Any:
    """Lock a tenant and return its next `sequence`, with the instant `booked_at`. Raises ClockDoubted.

    An instant that is wrongly ahead is put back by the tenant's next batch.
    """
    await end_if_silent(connection)
    clocks: ClockWatch = connection.engine.sync_engine.get_execution_options()["clocks"]
    asked = clocks.ask()
    lock = (await connection.execute(_TAKE_SEQUENCE, {"tenant": tenant})).one()
    clock = lock.booked_at
    if not clocks.is_near(clock, asked):
        asked = clocks.ask()
        clock = (await connection.execute(_CLOCK)).scalar_one()
    clocks.check(clock, asked)
    ahead = (lock.booked_at - clock).total_seconds()
    if ahead > clocks.bound_seconds:
        raise ClockDoubted(f"the tenant's last instant is {span(ahead)} ahead of the database's clock; try again soon")
    return lock
