"""Loads the accounts that the calls of a batch fall on."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial

from token_ledger.core.batch import administration
from token_ledger.core.batch.call_facts import NameOf, candidate_facts, other_name, posting_instant, served_facts
from token_ledger.core.batch.commands import Rebalance, Record, Reserve, Settle, TendAccounts
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.account import AccountKey
from token_ledger.core.model.budget import subject_in_books
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.event import counts_on, in_time
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.run import Run, allocation_account_key, run_account_key
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.kept_state import Known
from token_ledger.storage.load.keys import readings_of
from token_ledger.storage.load.locks import Connection, Locked
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.schema.batch_rows import array_text

LOAD_ACCOUNTS = f"""
select {rows.ACCOUNT.select("a")}
from unnest($1::text::bigint[], $2::text::bigint[], $3::text[], $4::timestamptz[])
     as wanted (tenant_id, budget_id, subject, window_start)
cross join lateral (
    select * from accounts as stored
    where stored.tenant_id = wanted.tenant_id and stored.budget_id = wanted.budget_id
      and stored.subject = wanted.subject and stored.window_start = wanted.window_start
    order by stored.budget_id, stored.subject, stored.window_start limit 1
) as a
union all
select {rows.ACCOUNT.select("a")}
from unnest($5::text::bigint[], $6::text::bigint[]) as wanted (tenant_id, account_id)
cross join lateral (
    select * from accounts as stored
    where stored.tenant_id = wanted.tenant_id and stored.account_id = wanted.account_id
    order by stored.account_id limit 1
) as a
"""


async def load_accounts(
    connection: Connection,
    locked: Sequence[Locked],
    configs: Mapping[TenantId, TenantConfig],
    ordered: Ordered,
    loaded: Mapping[TenantId, Loaded],
    prices: Mapping[TenantId, PriceBook],
    known: Mapping[TenantId, Known],
    touched: Mapping[int, Reservation],
    changed: Sequence[Reservation],
) -> None:
    """Load every account that a command can touch: of its calls, its run, the holds on it, and by id.

    Those that are `known` are taken from there. `touched` are the holds of the uncommitted batch before, of which it
    only `changed` some and not their accounts.
    """
    needed = {
        tenant: _Needed(configs[tenant], lock.now, loaded[tenant], prices[tenant], touched)
        for lock in locked
        for tenant in (lock.tenant_id,)
    }
    for tenant, call in ordered.calls:
        needed[tenant].add_call(call)
    for tenant, settle in ordered.of(Settle):
        needed[tenant].add_served(settle)
    for tenant, change in _changes_of_runs(ordered):
        needed[tenant].keys.update(_accounts_of_run(change, loaded[tenant]))
    for tenant, grant in _grants(ordered):
        needed[tenant].add_granted(grant)
    for tenant, account_id in _account_ids(ordered, loaded):
        needed[tenant].ids.add(account_id)
    keys: list[AccountName] = []
    ids: list[tuple[TenantId, int]] = []
    for tenant, each in needed.items():
        each.add_held(changed)
        other_keys, other_ids = each.take_known(known[tenant])
        keys += [(tenant, *key) for key in other_keys]
        ids += [(tenant, account_id) for account_id in other_ids]
    if not keys and not ids:
        return
    tenants, budgets, subjects, starts = zip(*keys, strict=True) if keys else ((), (), (), ())
    key_columns = array_text(tenants), array_text(budgets), subjects, starts
    id_columns = map(array_text, zip(*ids, strict=True) if ids else ((), ()))
    seen: set[tuple[int, int]] = set()
    found: set[AccountName] = set()
    for row in await connection.fetch(LOAD_ACCOUNTS, *key_columns, *id_columns):
        name = row[0], row[1]
        if name not in seen:
            seen.add(name)
            account = rows.ACCOUNT.read(row)
            loaded[row[0]].accounts.append(account)
            found.add((row[0], *account.key))
    rolling = {(tenant, budget_id) for tenant in loaded for budget_id in configs[tenant].rolling_budgets}
    changes = ordered.of(administration.ChangeBudget)
    rolling.update((tenant, change.budget_id) for tenant, change in changes if change.rollover is not None)
    past = {(tenant, *key) for tenant, each in needed.items() for key in each.past}
    missing = [name for name in keys if name not in found and (name in past or name[:2] in rolling)]
    await load_earlier_accounts(connection, missing, loaded)


def _account_ids(ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> Iterable[tuple[TenantId, int]]:
    """Yield the accounts that commands name by their ids, with their tenants."""
    for tenant, tending in ordered.of(TendAccounts):
        yield from ((tenant, account_id) for account_id in tending.account_ids)
    for tenant, grant in _grants(ordered):
        if grant.account_id is not None:
            yield tenant, grant.account_id
    for tenant, reversal in ordered.of(administration.Reverse):
        events = (loaded[tenant].events.get(event_id) for event_id, _ in reversal.events)
        yield from ((tenant, account_id) for event in events if event is not None for account_id in event.path)
    for tenant, event_id in readings_of(ordered, loaded):
        event = loaded[tenant].events.get(event_id)
        yield from ((tenant, account_id) for account_id in (() if event is None else event.path))
    for tenant, recosting in ordered.of(administration.Recost):
        if recosting.decided is not None and loaded[tenant].are_as_found:
            yield from ((tenant, account_id) for path in recosting.decided.sums.by_path for account_id in path)
            continue
        lasts = (loaded[tenant].events.get(call.events[-1][0]) for call in recosting.calls)
        paths = {tuple(event.path) for event in lasts if event is not None}  # many calls are on the same accounts
        yield from ((tenant, account_id) for path in paths for account_id in path)
    for tenant, into in loaded.items():
        # A call that was reported without a hold may give way to the settle of one.
        for calls in into.responses.values():
            yield from ((tenant, account_id) for call in calls.values() if call.reservation_id is None
                        for account_id in call.path)  # fmt: skip
    for tenant, decision in ordered.of(administration.DecideIncrease):
        if decision.increase_id in loaded[tenant].increases:
            yield tenant, loaded[tenant].increases[decision.increase_id].account_id


def _changes_of_runs(ordered: Ordered) -> list[tuple[TenantId, Rebalance | administration.ChangeRun]]:
    return [*ordered.of(Rebalance), *ordered.of(administration.ChangeRun)]


def _grants(ordered: Ordered) -> list[tuple[TenantId, administration.GiveGrant | administration.AskIncrease]]:
    return [*ordered.of(administration.GiveGrant), *ordered.of(administration.AskIncrease)]


class _Needed:
    """Finds the keys of the accounts that a tenant's commands can touch."""

    def __init__(
        self,
        config: TenantConfig,
        now: datetime,
        loaded: Loaded,
        prices: PriceBook,
        touched: Mapping[int, Reservation],
    ) -> None:
        self._config = config
        self._now = now
        self._loaded = loaded
        self._touched = touched
        self._name_of: NameOf = partial(loaded.model_name, prices, config.renamed)
        self._seen: set[tuple[CallFacts, datetime | None]] = set()
        """Facts of calls of the instant of the batch: many have the same. Imported calls do not count everywhere."""
        self.keys: set[AccountKey] = set()
        self.ids: set[int] = set()
        self.past: set[AccountKey] = set()
        """Those of `keys` of instants before that of the batch, whose windows may have ended."""

    def add_call(self, call: Reserve | Record) -> None:
        """Add the accounts that a call falls on, with each model that it may be downgraded to."""
        run = self._loaded.runs.get(call.run_id) if call.run_id is not None else None
        if run is not None:
            self.keys.update(_accounts_in_run(run, call.agent_type, self._loaded))
        at, counts_since = self._now, call.imported_since(self._now) if isinstance(call, Record) else None
        if isinstance(call, Record) and call.occurred_at is not None and in_time(call.occurred_at, at, counts_since):
            at = min(call.occurred_at, at)
        triggers = self._config.triggers
        for facts in candidate_facts(triggers, call, run, self._loaded.users, self._now, self._name_of):
            self._add_facts(facts, run, at, counts_since)

    def add_served(self, settle: Settle) -> None:
        """Add the accounts of a call that may have been served by another model than its hold is for."""
        hold = self._loaded.reservations.get(settle.reservation_id) or self._touched.get(settle.reservation_id)
        says_nothing = settle.model is None and settle.provider is None and settle.tool is None
        if hold is None or (says_nothing and not settle.other_models):
            return
        facts, _ = served_facts(settle, hold, self._name_of, self._config.renamed)
        run = self._loaded.runs.get(hold.facts.run_id) if hold.facts.run_id is not None else None
        if facts != hold.facts:  # others are booked on the hold's own accounts, which are loaded with it
            self._add_facts(facts, run, hold.created_at)
        for other in settle.other_models:
            if run is not None:
                self.keys.update(_accounts_in_run(run, facts.agent_type, self._loaded))
            name = self._name_of(*other_name(settle, other, hold))
            at = posting_instant(settle, hold, self._now)
            self._add_facts(facts._replace(provider=name.provider, model=name.model), run, at)

    def add_granted(self, command: administration.GiveGrant | administration.AskIncrease) -> None:
        """Add the account of the budget and subject that a command names."""
        budget = self._config.budgets_by_id.get(command.budget_id or 0)
        if budget is not None and command.subject is not None:
            subject = subject_in_books(budget.given_selector, command.subject, self._name_of)
            start = self._config.calendar.bounds(budget.window, self._now)[0]
            self.keys.add((budget.budget_id, subject.text, start))

    def add_held(self, changed: Sequence[Reservation]) -> None:
        """Add the accounts that holds and grants are on."""
        for hold in (*self._loaded.reservations.values(), *changed):
            self.ids.update(hold.path)
        self.ids.update(grant.account_id for grant in self._loaded.grants.values())

    def take_known(self, known: Known) -> tuple[Iterable[AccountKey], Iterable[int]]:
        """Take the accounts that are known, and return the keys and the ids of all others."""
        if not known.by_id:
            return self.keys, self.ids
        by_key = {key: known.by_key.get(key) for key in self.keys}
        by_id = {account_id: known.by_id.get(account_id) for account_id in self.ids}
        self._loaded.accounts.extend(
            {account.account_id: account for account in (*by_key.values(), *by_id.values()) if account}.values()
        )
        return (
            [key for key, account in by_key.items() if account is None],
            [account_id for account_id, account in by_id.items() if account is None],
        )

    def _add_facts(self, facts: CallFacts, run: Run | None, at: datetime, counts_since: datetime | None = None) -> None:
        if at is self._now:
            if (facts, counts_since) in self._seen:
                return
            self._seen.add((facts, counts_since))
        for budget, subject in self._config.matches(facts, () if run is None else run.lineage):
            start, end = self._config.calendar.bounds(budget.window, at)
            if counts_since is not None and not counts_on(end, counts_since, self._now):
                continue
            self.keys.add((budget.budget_id, subject.text, start))
            if at < self._now:
                self.past.add((budget.budget_id, subject.text, start))


def _accounts_in_run(run: Run, agent_type: str, loaded: Loaded) -> Iterable[AccountKey]:
    for run_id in run.lineage:
        yield run_account_key(run_id)
        each = loaded.runs.get(run_id)
        if each is not None and agent_type in each.allocated:
            yield allocation_account_key(run_id, agent_type)


def _accounts_of_run(command: Rebalance | administration.ChangeRun, loaded: Loaded) -> Iterable[AccountKey]:
    run = loaded.runs.get(command.run_id)
    if run is None:
        return
    yield run_account_key(run.run_id)
    named = [share.agent_type for share in command.shares] if isinstance(command, Rebalance) else []
    for agent_type in {*run.allocated, *named}:
        yield allocation_account_key(run.run_id, agent_type)


LOAD_EARLIER = f"""
select {rows.ACCOUNT.select("a")}, wanted.window_start as wanted_start
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[])
     as wanted (tenant_id, budget_id, subject, window_start)
cross join lateral (
    select * from accounts as stored
    where stored.tenant_id = wanted.tenant_id and stored.budget_id = wanted.budget_id
      and stored.subject = wanted.subject and stored.window_start < wanted.window_start
    order by stored.window_start desc limit 1
) as a
"""


AccountName = tuple[int, int, str, datetime]
"""Tenant, budget, subject, start of the window."""


async def load_earlier_accounts(
    connection: Connection, missing: Sequence[AccountName], loaded: Mapping[TenantId, Loaded]
) -> None:
    """Load the newest account before each of these, which do not exist yet and may get a rollover from it."""
    if not missing:
        return
    for row in await connection.fetch(LOAD_EARLIER, *zip(*missing, strict=True)):
        account = rows.ACCOUNT.read(row)
        into = loaded[row[0]]
        known = next((each for each in into.accounts if each.account_id == account.account_id), None)
        if known is None:
            into.accounts.append(account)
        into.earlier_accounts[account.budget_id, account.subject.text, row["wanted_start"]] = known or account
