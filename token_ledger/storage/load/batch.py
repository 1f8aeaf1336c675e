"""Loads the rows that a batch decides on, after its tenants' locks were taken.

Every statement names its rows by key, for all tenants of the batch at once. Limits and balances are current, because a
statement that begins after the lock was granted sees everything that was committed before. Each look-up is one probe of
a whole key: `limit 1` keeps the planner from other kinds of joins and `order by` from other indexes, even with a plan
that was made while the table was empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.lay_over import lay_over, lay_over_runs, touched_reservations
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.storage.load.accounts import load_accounts
from token_ledger.storage.load.corrections import load_corrected
from token_ledger.storage.load.grants import load_grants
from token_ledger.storage.load.increases import load_increases
from token_ledger.storage.load.kept_state import Known
from token_ledger.storage.load.keys import load_keys
from token_ledger.storage.load.locks import Connection, Locked
from token_ledger.storage.load.model_names import RecentNames, load_model_names
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.load.repeated_keys import load_replay_targets
from token_ledger.storage.load.reservations import load_reservations
from token_ledger.storage.load.responses import load_responses
from token_ledger.storage.load.runs import load_attachable_runs, load_runs
from token_ledger.storage.load.summed_days import load_summed_days
from token_ledger.storage.load.transfers import load_renamed_accounts, load_transfers
from token_ledger.storage.load.users import load_users


async def load(
    connection: Connection,
    locked: Sequence[Locked],
    configs: Mapping[TenantId, TenantConfig],
    commands: Mapping[TenantId, Sequence[Command]],
    prices: Mapping[TenantId, PriceBook],
    known: Mapping[TenantId, Known],
    names: RecentNames,
    before: Books | None = None,
) -> dict[TenantId, Loaded]:
    """Load what the commands of each locked tenant can touch: keys, reservations and due holds, runs, accounts.

    Accounts, open holds and runs that are `known` are not loaded. With `before`, a batch of the one tenant that is
    decided but not yet committed, what it decided is laid over.
    """
    loaded = {
        lock.tenant_id: Loaded(booked_tokens=lock.booked_tokens, booked_nanos=lock.booked_nanos) for lock in locked
    }
    ordered = Ordered((lock.tenant_id, command) for lock in locked for command in commands[lock.tenant_id])
    replays = await load_keys(connection, ordered, loaded)
    # What the batch before has touched is newer in memory than in the database, and must not be read over.
    touched = touched_reservations(before) if before is not None else {}
    await load_reservations(connection, locked, ordered, loaded, replays, known, touched)
    await load_runs(connection, ordered, loaded, replays, known, touched)
    if before is not None:
        for into in loaded.values():
            lay_over_runs(into, before)
    if replays:
        await load_replay_targets(connection, loaded, replays)
    await load_summed_days(connection, locked, ordered, configs, loaded)
    await load_users(connection, ordered, configs, loaded)
    decided = before.writes.model_names if before is not None else {}
    await load_model_names(connection, ordered, configs, loaded, names, touched, decided)
    await load_corrected(connection, configs, ordered, loaded)
    await load_responses(connection, locked, ordered, configs, loaded)
    await load_increases(connection, ordered, loaded)
    await load_attachable_runs(connection, ordered, loaded, before.writes.changed_runs if before is not None else ())
    for tenant, into in loaded.items():
        if configs[tenant].erasures:
            _put_pseudonyms(configs[tenant], into)
    # An extension touches a hold and none of its accounts, so these are not among what is laid over.
    changed = list(before.writes.changed_reservations.values()) if before is not None else []
    await load_accounts(connection, locked, configs, ordered, loaded, prices, known, touched, changed)
    await load_renamed_accounts(connection, locked, configs, ordered, loaded, prices)
    await load_transfers(connection, loaded)
    if before is not None:
        for into in loaded.values():
            lay_over(into, before)
    # Last, because what is laid over may be due as well.
    await load_grants(connection, locked, configs, ordered, loaded)
    return loaded


def _put_pseudonyms(config: TenantConfig, loaded: Loaded) -> None:
    """Put pseudonyms into holds, runs and events of users who are being erased, whose rows may not be renamed yet."""
    for hold in loaded.reservations.values():
        user = config.user_of(hold.facts.user, hold.reservation_id)
        if user != hold.facts.user:
            hold.facts = hold.facts._replace(user=user)
    for run in loaded.runs.values():
        run.user = config.user_of(run.user, run.run_id)
    for events in (loaded.events, *loaded.responses.values()):
        for event_id, event in events.items():
            events[event_id] = _of_pseudonym(config, event)
    for event_id, recostings in loaded.recostings.items():
        loaded.recostings[event_id] = tuple(_of_pseudonym(config, each) for each in recostings)


def _of_pseudonym(config: TenantConfig, event: UsageEvent) -> UsageEvent:
    user = config.user_of(event.facts.user, event.event_id)
    if user == event.facts.user:
        return event
    return replace(event, facts=event.facts._replace(user=user))
