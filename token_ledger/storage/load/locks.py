"""Locks the tenants of a batch: the lock returns the sequence number, the version of the set-up and the instant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from token_ledger.core.model.tenant import TenantId

Connection = Any  # asyncpg.Connection or the pool's proxy of one; asyncpg ships no common type

LOCK_ONE = """
update tenant_ledgers
set sequence = sequence + 1, booked_at = greatest(booked_at, clock_timestamp())
where tenant_id = any($1)
returning tenant_id, sequence, config_version, booked_at, booked_tokens, booked_nanos
"""

# For a batch that was decided before its lock was granted: the instant is the one that it was decided at.
LOCK_AT = """
update tenant_ledgers set sequence = sequence + 1, booked_at = greatest(booked_at, $2)
where tenant_id = $1 returning tenant_id, sequence, config_version, booked_at, booked_tokens, booked_nanos
"""

# Tenants whose lock another batch holds are left out, not waited for: a batch of many tenants never waits with
# locks in its hand, so batches can't deadlock, and a busy tenant delays nobody else.
LOCK_MANY = """
with free as materialized (
    select tenant_id from tenant_ledgers where tenant_id = any($1) order by tenant_id for update skip locked
)
update tenant_ledgers as ledger
set sequence = ledger.sequence + 1, booked_at = greatest(ledger.booked_at, clock_timestamp())
from free where ledger.tenant_id = free.tenant_id
returning ledger.tenant_id, ledger.sequence, ledger.config_version, ledger.booked_at, ledger.booked_tokens,
          ledger.booked_nanos
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
