"""Locks the tenants of a batch: the lock returns the sequence number, the version of the set-up and the instant.

The rows are only locked here. They are updated once, with the balances (see `write.bookings`): a row that the same
transaction has updated before makes PostgreSQL check its foreign key again.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.clocks import STEADY_SECONDS, Asked, ClockDoubted, ClockWatch, span

log = logging.getLogger(__name__)

Connection = Any  # asyncpg.Connection or the pool's proxy of one; asyncpg ships no common type

_NEXT = """
select tenant_id, sequence + 1, config_version, greatest(booked_at, clock_timestamp()), booked_at, booked_tokens,
       booked_nanos, batch_stamp
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
select tenant_id, sequence + 1, config_version, greatest(booked_at, $2), booked_at, booked_tokens, booked_nanos,
       batch_stamp
from locked
"""

# Tenants whose lock another batch holds are left out, not waited for: a batch of many tenants never waits with
# locks in its hand, so batches can't deadlock, and a busy tenant delays nobody else.
LOCK_MANY = f"""
with locked as materialized (
    select * from tenant_ledgers where tenant_id = any($1) order by tenant_id for update skip locked
)
{_NEXT}
"""

# A tenant's last instant is wrongly ahead: the database's clock was, and what was booked meanwhile keeps its instants.
# The order of decisions is that of the ids, so time may go back. A hold that was given or extended then would expire
# when that time comes: it gets its time to live again, from now.
PUT_BACK = "update tenant_ledgers set booked_at = $2 where tenant_id = $1"
PUT_HOLDS_BACK = """
update reservations set expires_at = $2::timestamptz + make_interval(secs => ttl_seconds), changes = changes + 1
where tenant_id = $1 and state = 'held' and expires_at > $2
  and (created_at > $2 or expires_at > $2 + make_interval(secs => $3))
"""
LONGEST_TTL_SECONDS = 86_400.0
"""No hold expires later than that after its last extension."""


Stamp = tuple[int, int, datetime, int, int, int]
"""What a batch left in a tenant's ledger: sequence number, version of the set-up, instant, sums of all events, and a
random number.

The first number alone would do, but for a database that fell back to a state from before: then it is given once more.
The random one is not, and the others tell a batch of the version before, which wrote none.
"""


@dataclass(frozen=True, slots=True)
class Locked:
    """A tenant whose lock the batch holds: its next sequence number, the version of its set-up, the instant.

    Besides the instant of the batch before, the sums of all events that the tenant has booked, and a random number.
    """

    tenant_id: TenantId
    sequence: int
    config_version: int
    now: datetime
    before: datetime
    booked_tokens: int
    booked_nanos: int
    batch_stamp: int

    @property
    def stamp(self) -> Stamp:
        """What the batch before left."""
        return (
            self.sequence - 1, self.config_version, self.before, self.booked_tokens, self.booked_nanos, self.batch_stamp
        )  # fmt: skip

    @staticmethod
    def after(tenant: TenantId, left: Stamp, now: datetime) -> "Locked":
        """Return what the lock of the next batch tells if the ledger is as a batch left it."""
        sequence, version, before, tokens, nanos, number = left
        return Locked(tenant, sequence + 1, version, max(before, now), before, tokens, nanos, number)


async def lock_tenants(connection: Connection, tenants: Sequence[TenantId], clocks: ClockWatch) -> list[Locked]:
    """Lock the ledgers of tenants: one is waited for, of several those that are free are taken.

    Of several, those whose instant must be put back are left out too. Raises ClockDoubted.
    """
    asked = clocks.ask()
    rows = await connection.fetch(LOCK_ONE if len(tenants) == 1 else LOCK_MANY, tenants)
    if not rows:
        return []
    locked = [Locked(*row) for row in rows]
    clock = await _clock_at(connection, max(lock.now for lock in locked), clocks, asked)
    for lock in locked:
        if lock.now > lock.before:  # then it is what the clock was
            clocks.hear(lock.now)
    if len(tenants) == 1:
        return [await _in_time(connection, lock, clock, clocks) for lock in locked]
    return [lock for lock in locked if not _is_ahead(lock, clock, clocks)]


async def lock_at(connection: Connection, tenant: TenantId, now: datetime, clocks: ClockWatch) -> Locked:
    """Lock a tenant's ledger, waiting for it, for a batch that was decided at an instant. Raises ClockDoubted."""
    asked = clocks.ask()
    lock = Locked(*await connection.fetchrow(LOCK_AT, tenant, now))
    clock = await _clock_at(connection, lock.now, clocks, asked)
    return await _in_time(connection, lock, clock, clocks)


async def read_clock(connection: Connection, clocks: ClockWatch) -> datetime:
    """Return the database's time. Raises ClockDoubted."""
    asked = clocks.ask()
    now: datetime = await connection.fetchval("select clock_timestamp()")
    clocks.check(now, asked)
    return now


async def _clock_at(connection: Connection, instant: datetime, clocks: ClockWatch, asked: Asked) -> datetime:
    """Return the database's time when its locks had been taken, of which `instant` is the latest. Raises ClockDoubted.

    An instant that is right by the process's clock needs no question. (None is returned with the lock: a database that
    is distributed by tenant returns no clock from an update.)
    """
    if not clocks.is_near(instant, asked):
        return await read_clock(connection, clocks)
    clocks.check(instant, asked)
    return instant


async def _in_time(connection: Connection, lock: Locked, clock: datetime, clocks: ClockWatch) -> Locked:
    """Return a lock at an instant that the database's clock has reached; put the tenant's back if it is ahead."""
    if not _is_ahead(lock, clock, clocks):
        return lock
    ahead = span((lock.now - clock).total_seconds())
    if not clocks.is_steady:
        raise ClockDoubted(
            f"the tenant's last instant is {ahead} ahead of the database's clock: it is put back once the clocks of the"
            f" database and of this process have agreed for {STEADY_SECONDS:.0f} s"
        )
    log.warning("a tenant's time is put back", extra={"tenant": lock.tenant_id, "ahead": ahead})
    await connection.execute(PUT_BACK, lock.tenant_id, clock)
    await connection.execute(PUT_HOLDS_BACK, lock.tenant_id, clock, LONGEST_TTL_SECONDS)
    return replace(lock, now=clock, before=clock)


def _is_ahead(lock: Locked, clock: datetime, clocks: ClockWatch) -> bool:
    return (lock.now - clock).total_seconds() > clocks.bound_seconds
