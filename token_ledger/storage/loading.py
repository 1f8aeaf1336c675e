"""Loads the rows that a batch decides on, after its tenants' locks were taken (design D9).

Every statement names its rows by key, for all tenants of the batch at once. Limits and balances read here are
current, because a statement that begins after the lock was granted sees everything committed before it. Each
look-up is one probe of one whole key: `limit 1` keeps the planner from joining in another way, `order by` from taking
another index, whatever it believes about a table that was empty when the plan was made.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from token_ledger.core.admission import candidate_facts
from token_ledger.core.books import Books, lay_over
from token_ledger.core.loaded import Loaded, StoredKey
from token_ledger.core.writes import Writes
from token_ledger.core.account import AccountKey
from token_ledger.core.commands import Command, EndRun, Record, Release, Reserve, Settle
from token_ledger.core.reservation import CallFacts, HoldState, Reservation
from token_ledger.core.run import allocation_account_key, run_account_key
from token_ledger.core.tenant import TenantConfig, TenantId
from token_ledger.core.window import Window, window_bounds
from token_ledger.storage.replays import Replay, load_replay_targets
from token_ledger.storage.rows import (
    ACCOUNT_COLUMNS,
    RESERVATION_COLUMNS,
    RUN_COLUMNS,
    account_from,
    of_table,
    reservation_from,
    run_from,
)  # fmt: skip

Connection = Any  # asyncpg.Connection or the pool's proxy of one; asyncpg ships no common type

LOCK_ONE = """
update tenant_ledgers
set sequence = sequence + 1, booked_at = greatest(booked_at, clock_timestamp())
where tenant_id = any($1)
returning tenant_id, sequence, config_version, booked_at
"""

# For a batch that was decided before its lock was granted: the instant is the one that it was decided at.
LOCK_AT = """
update tenant_ledgers set sequence = sequence + 1, booked_at = greatest(booked_at, $2)
where tenant_id = $1 returning tenant_id, sequence, config_version, booked_at
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
returning ledger.tenant_id, ledger.sequence, ledger.config_version, ledger.booked_at
"""

LOAD_KEYS = """
select k.tenant_id, k.source, k.key, k.fingerprint, k.answer, k.target_id, k.booked_at
from unnest($1::operation_key_name[]) as wanted
cross join lateral (
    select * from operation_keys as stored
    where stored.tenant_id = wanted.tenant_id and stored.source = wanted.source and stored.key = wanted.key limit 1
) as k
"""

DUE_PER_BATCH = 64
"""How many holds one batch expires for one tenant: bounded, so that a backlog can't make a batch slow."""

LOAD_RESERVATIONS = f"""
select {of_table("r", RESERVATION_COLUMNS)}, false as due
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, reservation_id)
cross join lateral (
    select * from reservations as stored
    where stored.tenant_id = wanted.tenant_id and stored.reservation_id = wanted.reservation_id limit 1
) as r
union all
select {of_table("r", RESERVATION_COLUMNS)}, true as due
from unnest($3::bigint[], $4::timestamptz[]) as locked (tenant_id, now)
cross join lateral (
    select * from reservations as held
    where held.tenant_id = locked.tenant_id and held.state = 'held' and held.expires_at <= locked.now
    order by held.expires_at, held.reservation_id limit {DUE_PER_BATCH}
) as r
"""

# What may have changed of a reservation that this process has made or loaded before; all else of it never changes.
LOAD_STATES = """
select r.tenant_id, r.reservation_id, r.state, r.ended_at, r.ended_id, r.event_id
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, reservation_id)
cross join lateral (
    select * from reservations as stored
    where stored.tenant_id = wanted.tenant_id and stored.reservation_id = wanted.reservation_id limit 1
) as r
"""

LOAD_RUNS = f"""
select {of_table("r", RUN_COLUMNS)}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, run_id)
cross join lateral (
    select * from runs as stored
    where stored.tenant_id = wanted.tenant_id and stored.run_id = wanted.run_id limit 1
) as r
"""

LOAD_ACCOUNTS = f"""
select {of_table("a", ACCOUNT_COLUMNS)}
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[])
     as wanted (tenant_id, budget_id, subject, window_start)
cross join lateral (
    select * from accounts as stored
    where stored.tenant_id = wanted.tenant_id and stored.budget_id = wanted.budget_id
      and stored.subject = wanted.subject and stored.window_start = wanted.window_start
    order by stored.budget_id, stored.subject, stored.window_start limit 1
) as a
union all
select {of_table("a", ACCOUNT_COLUMNS)}
from unnest($5::bigint[], $6::bigint[]) as wanted (tenant_id, account_id)
cross join lateral (
    select * from accounts as stored
    where stored.tenant_id = wanted.tenant_id and stored.account_id = wanted.account_id
    order by stored.account_id limit 1
) as a
"""


class RecentHolds:
    """The holds that this process gave not long ago, so that settling one loads only what may have changed.

    Only committed holds are kept, the newest `most`.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._holds: dict[tuple[TenantId, int], Reservation] = {}

    def get(self, name: tuple[TenantId, int]) -> Reservation | None:
        """Return a hold by tenant and id, if it is still kept."""
        return self._holds.get(name)

    def keep(self, tenant: TenantId, writes: Writes) -> None:
        """Keep the holds of a committed batch and drop those that it settled."""
        for reservation in writes.new_reservations:
            self._holds[tenant, reservation.reservation_id] = reservation
        for event in writes.events:
            if event.reservation_id is not None:
                self._holds.pop((tenant, event.reservation_id), None)
        while len(self._holds) > self._most:
            del self._holds[next(iter(self._holds))]


@dataclass(frozen=True, slots=True)
class Locked:
    """A tenant whose lock the batch holds: its next sequence number, the version of its set-up, the instant."""

    tenant_id: TenantId
    sequence: int
    config_version: int
    now: datetime


async def lock_tenants(connection: Connection, tenants: Sequence[TenantId]) -> list[Locked]:
    """Lock the ledgers of tenants: one is waited for, of several those that are free are taken."""
    rows = await connection.fetch(LOCK_ONE if len(tenants) == 1 else LOCK_MANY, tenants)
    return [Locked(*row) for row in rows]


async def lock_at(connection: Connection, tenant: TenantId, now: datetime) -> Locked:
    """Lock a tenant's ledger, waiting for it, for a batch that was decided at an instant."""
    return Locked(*await connection.fetchrow(LOCK_AT, tenant, now))


async def load(
    connection: Connection,
    locked: Sequence[Locked],
    configs: Mapping[TenantId, TenantConfig],
    commands: Mapping[TenantId, Sequence[Command]],
    recent: RecentHolds,
    before: Books | None = None,
) -> dict[TenantId, Loaded]:
    """Load what the commands of each locked tenant can touch: keys, reservations and due holds, runs, accounts.

    With `before`, a batch of the one tenant that is decided but not yet committed, what it decided is laid over.
    """
    loaded = {lock.tenant_id: Loaded() for lock in locked}
    ordered = [(lock.tenant_id, command) for lock in locked for command in commands[lock.tenant_id]]
    replays = await _load_keys(connection, ordered, loaded)
    # What the batch before has touched is newer in memory than in the database, and must not be read over.
    touched = before.touched_reservations() if before is not None else {}
    await _load_reservations(connection, locked, ordered, loaded, replays, recent, touched)
    await _load_runs(connection, ordered, loaded, replays)
    if replays:
        await load_replay_targets(connection, loaded, replays)
    await _load_accounts(connection, locked, configs, commands, loaded)
    if before is not None:
        for into in loaded.values():
            lay_over(into, before)
    return loaded


async def _load_keys(
    connection: Connection, ordered: Iterable[tuple[TenantId, Command]], loaded: Mapping[TenantId, Loaded]
) -> list[Replay]:
    wanted = [(tenant, command.source, command.key) for tenant, command in ordered if command.key]
    if not wanted:
        return []
    replays: list[Replay] = []
    for row in await connection.fetch(LOAD_KEYS, wanted):
        tenant, source, key, fingerprint, answer, target_id, booked_at = row
        loaded[tenant].keys[source, key] = StoredKey(fingerprint, answer, target_id)
        replays.append((tenant, answer, target_id, booked_at))
    return replays


async def _load_reservations(
    connection: Connection,
    locked: Sequence[Locked],
    ordered: Iterable[tuple[TenantId, Command]],
    loaded: Mapping[TenantId, Loaded],
    replays: Iterable[Replay],
    recent: RecentHolds,
    touched: Mapping[int, Reservation],
) -> None:
    wanted = {(tenant, command.reservation_id) for tenant, command in ordered if isinstance(command, Settle | Release)}
    wanted.update((tenant, target) for tenant, answer, target, _ in replays if answer == "reservation")
    wanted = {name for name in wanted if name[1] not in touched}
    known = {name: hold for name in wanted if (hold := recent.get(name)) is not None}
    if known:
        for row in await connection.fetch(LOAD_STATES, *zip(*known, strict=True)):
            tenant, reservation_id, state, ended_at, ended_id, event_id = row
            hold = known[tenant, reservation_id]
            hold.state, hold.ended_at, hold.ended_id, hold.event_id = HoldState(state), ended_at, ended_id, event_id
            loaded[tenant].reservations[reservation_id] = hold
        wanted -= known.keys()
    rows = await connection.fetch(
        LOAD_RESERVATIONS,
        [tenant for tenant, _ in wanted],
        [reservation_id for _, reservation_id in wanted],
        [lock.tenant_id for lock in locked],
        [lock.now for lock in locked],
    )
    for row in rows:
        *columns, due = row
        into = loaded[columns[0]]
        reservation_id = columns[1]
        if reservation_id not in into.reservations:
            into.reservations[reservation_id] = reservation_from(columns)
        if due:
            into.due.append(reservation_id)


async def _load_runs(
    connection: Connection,
    ordered: Iterable[tuple[TenantId, Command]],
    loaded: Mapping[TenantId, Loaded],
    replays: Iterable[Replay],
) -> None:
    wanted = {
        (tenant, command.run_id)
        for tenant, command in ordered
        if isinstance(command, Reserve | Record | EndRun) and command.run_id is not None
    }
    wanted.update((tenant, target) for tenant, answer, target, _ in replays if answer == "run")
    if not wanted:
        return
    for row in await connection.fetch(LOAD_RUNS, *zip(*wanted, strict=True)):
        loaded[row[0]].runs[row[1]] = run_from(row)


async def _load_accounts(
    connection: Connection,
    locked: Sequence[Locked],
    configs: Mapping[TenantId, TenantConfig],
    commands: Mapping[TenantId, Sequence[Command]],
    loaded: Mapping[TenantId, Loaded],
) -> None:
    keys: list[tuple[int, int, str, datetime]] = []
    ids: list[tuple[int, int]] = []
    for lock in locked:
        tenant, into = lock.tenant_id, loaded[lock.tenant_id]
        needed = _needed_accounts(configs[tenant], lock.now, commands[tenant], into)
        keys.extend((tenant, *key) for key in needed)
        paths = {account for reservation in into.reservations.values() for account in reservation.path}
        ids.extend((tenant, account_id) for account_id in paths)
    if not keys and not ids:
        return
    key_columns = zip(*keys, strict=True) if keys else ((), (), (), ())
    id_columns = zip(*ids, strict=True) if ids else ((), ())
    known: set[tuple[int, int]] = set()
    for row in await connection.fetch(LOAD_ACCOUNTS, *key_columns, *id_columns):
        name = row[0], row[1]
        if name not in known:
            known.add(name)
            loaded[row[0]].accounts.append(account_from(row))


def _needed_accounts(
    config: TenantConfig, now: datetime, commands: Iterable[Command], loaded: Loaded
) -> set[AccountKey]:
    needed: set[AccountKey] = set()
    starts: dict[Window, datetime] = {}
    seen: set[CallFacts] = set()
    for command in commands:
        if not isinstance(command, Reserve | Record):
            continue
        run = loaded.runs.get(command.run_id) if command.run_id is not None else None
        if run is not None:
            needed.add(run_account_key(run.run_id))
            if command.agent_type in run.allocated:
                needed.add(allocation_account_key(run.run_id, command.agent_type))
        for facts in candidate_facts(config.triggers, command, run):
            if facts in seen:
                continue
            seen.add(facts)
            for budget, subject in config.matches(facts):
                start = starts.get(budget.window)
                if start is None:
                    start = starts[budget.window] = window_bounds(budget.window, now, config.zone)[0]
                needed.add((budget.budget_id, subject, start))
    return needed
