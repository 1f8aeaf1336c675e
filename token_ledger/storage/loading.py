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

from token_ledger.core.account import AccountKey
from token_ledger.core.administration import (
    AskIncrease,
    ChangeBudget,
    ChangeRun,
    DecideIncrease,
    ForceRelease,
    GiveGrant,
)
from token_ledger.core.books import Books, lay_over, lay_over_runs
from token_ledger.core.commands import (
    Command,
    Extend,
    OpenRun,
    Preflight,
    Rebalance,
    Record,
    Release,
    Reserve,
    Settle,
    TendAccounts,
)  # fmt: skip
from token_ledger.core.facts import candidate_facts
from token_ledger.core.loaded import Loaded, StoredKey
from token_ledger.core.reservation import CallFacts, HoldState, Reservation
from token_ledger.core.run import Run, allocation_account_key, run_account_key
from token_ledger.core.tenant import TenantConfig, TenantId
from token_ledger.core.window import Window
from token_ledger.storage.named import AccountName, load_earlier_accounts, load_grants, load_named
from token_ledger.storage.recent import RecentHolds
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

# What may have changed of a reservation that this process gave; of all else `changes` tells.
LOAD_STATES = """
select r.tenant_id, r.reservation_id, r.state, r.ended_at, r.ended_id, r.event_id, r.changes
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, reservation_id)
cross join lateral (
    select * from reservations as stored
    where stored.tenant_id = wanted.tenant_id and stored.reservation_id = wanted.reservation_id limit 1
) as r
"""

# With every run that they are a part of.
LOAD_RUNS = f"""
with asked as materialized (
    select {of_table("r", RUN_COLUMNS)}
    from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, run_id)
    cross join lateral (
        select * from runs as stored
        where stored.tenant_id = wanted.tenant_id and stored.run_id = wanted.run_id limit 1
    ) as r
)
select * from asked
union all
select {of_table("r", RUN_COLUMNS)}
from asked cross join lateral unnest(asked.ancestors) as wanted (run_id)
cross join lateral (
    select * from runs as stored
    where stored.tenant_id = asked.tenant_id and stored.run_id = wanted.run_id limit 1
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


_ABOUT_A_HOLD = Settle | Extend | Release | ForceRelease


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
    await _load_runs(connection, ordered, loaded, replays, touched)
    if before is not None:
        for into in loaded.values():
            lay_over_runs(into, before)
    if replays:
        await load_replay_targets(connection, loaded, replays)
    await load_named(connection, ordered, configs, loaded)
    # An extension touches a hold and none of its accounts, so these are not among what is laid over.
    changed = list(before.writes.changed_reservations.values()) if before is not None else []
    await _load_accounts(connection, locked, configs, commands, loaded, changed)
    if before is not None:
        for into in loaded.values():
            lay_over(into, before)
    # Last, because what is laid over may be due as well.
    await load_grants(connection, ordered, {lock.tenant_id: lock.now for lock in locked}, loaded)
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
    wanted = {(tenant, command.reservation_id) for tenant, command in ordered if isinstance(command, _ABOUT_A_HOLD)}
    wanted.update((tenant, target) for tenant, answer, target, _ in replays if answer == "reservation")
    wanted = {name for name in wanted if name[1] not in touched}
    known = {name: hold for name in wanted if (hold := recent.get(name)) is not None}
    if known:
        for row in await connection.fetch(LOAD_STATES, *zip(*known, strict=True)):
            tenant, reservation_id, state, ended_at, ended_id, event_id, changes = row
            if changes:
                continue  # drawn on or extended since: it is loaded in full
            hold = known[tenant, reservation_id]
            hold.state, hold.ended_at, hold.ended_id, hold.event_id = HoldState(state), ended_at, ended_id, event_id
            loaded[tenant].reservations[reservation_id] = hold
            wanted.remove((tenant, reservation_id))
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
    touched: Mapping[int, Reservation],
) -> None:
    wanted = {(tenant, run_id) for tenant, command in ordered for run_id in _runs_of(command)}
    wanted.update((tenant, target) for tenant, answer, target, _ in replays if answer == "run")
    holds = ((tenant, hold) for tenant, into in loaded.items() for hold in into.reservations.values())
    wanted.update((tenant, hold.facts.run_id) for tenant, hold in holds if hold.facts.run_id is not None)
    if touched:
        (tenant,) = loaded
        wanted.update((tenant, hold.facts.run_id) for hold in touched.values() if hold.facts.run_id is not None)
    if not wanted:
        return
    for row in await connection.fetch(LOAD_RUNS, *zip(*wanted, strict=True)):
        loaded[row["tenant_id"]].runs[row["run_id"]] = run_from(row)


def _runs_of(command: Command) -> Iterable[int]:
    if isinstance(command, Preflight):
        return [call.run_id for call, _ in command.calls if call.run_id is not None]
    run_id = command.parent_run_id if isinstance(command, OpenRun) else getattr(command, "run_id", None)
    return [] if run_id is None else [run_id]


async def _load_accounts(
    connection: Connection,
    locked: Sequence[Locked],
    configs: Mapping[TenantId, TenantConfig],
    commands: Mapping[TenantId, Sequence[Command]],
    loaded: Mapping[TenantId, Loaded],
    changed: Sequence[Reservation],
) -> None:
    keys: list[AccountName] = []
    ids: set[tuple[int, int]] = set()
    for lock in locked:
        tenant, into = lock.tenant_id, loaded[lock.tenant_id]
        keys.extend((tenant, *key) for key in _needed_accounts(configs[tenant], lock.now, commands[tenant], into))
        holds = (*into.reservations.values(), *changed)
        ids.update((tenant, account_id) for hold in holds for account_id in hold.path)
        ids.update((tenant, account_id) for command in commands[tenant] for account_id in _account_ids(command, into))
        ids.update((tenant, grant.account_id) for grant in into.grants.values())
    if not keys and not ids:
        return
    key_columns = zip(*keys, strict=True) if keys else ((), (), (), ())
    id_columns = zip(*ids, strict=True) if ids else ((), ())
    known: set[tuple[int, int]] = set()
    found: set[AccountName] = set()
    for row in await connection.fetch(LOAD_ACCOUNTS, *key_columns, *id_columns):
        name = row[0], row[1]
        if name not in known:
            known.add(name)
            account = account_from(row)
            loaded[row[0]].accounts.append(account)
            found.add((row[0], *account.key))
    rolling = {(tenant, budget_id) for tenant in loaded for budget_id in configs[tenant].rolling_budgets}
    rolling.update(
        (tenant, command.budget_id)
        for tenant in loaded
        for command in commands[tenant]
        if isinstance(command, ChangeBudget) and command.rollover is not None
    )
    if rolling:
        missing = [name for name in keys if name[:2] in rolling and name not in found]
        await load_earlier_accounts(connection, missing, loaded)


def _account_ids(command: Command, loaded: Loaded) -> Iterable[int]:
    if isinstance(command, TendAccounts):
        return command.account_ids
    if isinstance(command, GiveGrant | AskIncrease):
        return [command.account_id]
    if isinstance(command, DecideIncrease) and command.increase_id in loaded.increases:
        return [loaded.increases[command.increase_id].account_id]
    return []


def _needed_accounts(
    config: TenantConfig, now: datetime, commands: Iterable[Command], loaded: Loaded
) -> set[AccountKey]:
    needed: set[AccountKey] = set()
    starts: dict[Window, datetime] = {}
    seen: set[CallFacts] = set()
    for command in commands:
        if isinstance(command, Rebalance | ChangeRun):
            needed.update(_accounts_of_run(command, loaded))
        for call in _calls_of(command):
            run = loaded.runs.get(call.run_id) if call.run_id is not None else None
            if run is not None:
                needed.update(_accounts_in_run(run, call.agent_type, loaded))
            for facts in candidate_facts(config.triggers, call, run, loaded.users, now):
                if facts in seen:
                    continue
                seen.add(facts)
                for budget, subject in config.matches(facts):
                    start = starts.get(budget.window)
                    if start is None:
                        start = starts[budget.window] = config.calendar.bounds(budget.window, now)[0]
                    needed.add((budget.budget_id, subject, start))
    return needed


def _calls_of(command: Command) -> Iterable[Reserve | Record]:
    if isinstance(command, Reserve | Record):
        return (command,)
    return [call for call, _ in command.calls] if isinstance(command, Preflight) else ()


def _accounts_in_run(run: Run, agent_type: str, loaded: Loaded) -> Iterable[AccountKey]:
    for run_id in run.lineage:
        yield run_account_key(run_id)
        each = loaded.runs.get(run_id)
        if each is not None and agent_type in each.allocated:
            yield allocation_account_key(run_id, agent_type)


def _accounts_of_run(command: Rebalance | ChangeRun, loaded: Loaded) -> Iterable[AccountKey]:
    run = loaded.runs.get(command.run_id)
    if run is None:
        return
    yield run_account_key(run.run_id)
    named = [share.agent_type for share in command.shares] if isinstance(command, Rebalance) else []
    for agent_type in {*run.allocated, *named}:
        yield allocation_account_key(run.run_id, agent_type)
