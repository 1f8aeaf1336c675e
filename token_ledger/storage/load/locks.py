"""Locks the tenants of a batch: the lock returns the sequence number, the version of the set-up and the instant.

The rows are only locked here. They are updated once, with the balances (see `write.bookings`): a row that the same
transaction has updated before makes PostgreSQL check its foreign key again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from token_ledger.core.model.tenant import TenantId

Connection = Any  # asyncpg.Connection or the pool's proxy of one; asyncpg ships no common type

_NEXT = """
select tenant_id, sequence + 1, config_version, greatest(booked_at, clock_timestamp()), booked_tokens, booked_nanos
from locked
"""

# The clock is read when all locks are granted: what stands beside `for update` is computed before.
LOCK_ONE = f"""
with locked as materialized (select * from tenant_ledgers where tenant_id = any($1) for update)
{_NEXT}
"""

# For a batch that was decided before its lock was granted: the instant is the one that it was decided at.
LOCK_AT = """
with locked as materialized (select * from tenant_ledgers where tenant_id = $1 for update)
select tenant_id, sequence + 1, config_version, greatest(booked_at, $2), booked_tokens, booked_nanos from locked
"""

# Tenants whose lock another batch holds are left out, not waited for: a batch of many tenants never waits with
# locks in its hand, so batches can't deadlock, and a busy tenant delays nobody else.
LOCK_MANY = f"""
with locked as materialized (
    select * from tenant_ledgers where tenant_id = any($1) order by tenant_id for update skip locked
)
{_NEXT}
"""


@dataclass(frozen=True, slots=True)
class Locked:
    """A tenant whose lock the batch holds: its next sequence number, the version of its set-up, the instant.

    Besides the sums of all events that it has booked.
    """

    tenant_id: TenantId
    sequence: int
    config_version: int
    now: datetime
    booked_tokens: int
    booked_nanos: int


async def lock_tenants(connection: Connection, tenants: Sequence[TenantId]) -> list[Locked]:
    """Lock the ledgers of tenants: one is waited for, of several those that are free are taken."""
    rows = await connection.fetch(LOCK_ONE if len(tenants) == 1 else LOCK_MANY, tenants)
    return [Locked(*row) for row in rows]


async def lock_at(connection: Connection, tenant: TenantId, now: datetime) -> Locked:
    """Lock a tenant's ledger, waiting for it, for a batch that was decided at an instant."""
    return Locked(*await connection.fetchrow(LOCK_AT, tenant, now))
