"""Owns the working copy of one tenant that a batch decides on, and the writes that its decisions make.

The rows that the batch may need are loaded before; what is not among them does not exist. Ids are the batch's
sequence number and an ordinal in it, so the order of ids is the order of decisions. Nothing here does I/O: with
nothing loaded, books are a whole ledger in memory.
"""

from collections.abc import Iterable
from copy import copy
from datetime import datetime, timedelta
from typing import Any, TypeVar

from token_ledger.core.account import (
    Account,
    AccountKey,
    EntryKind,
    LimitEntry,
    ThresholdEvent,
    budget_account,
)  # fmt: skip
from token_ledger.core.audit import AuditEntry
from token_ledger.core.budget import Budget, Counts, Enforcement, Limits, Unit
from token_ledger.core.commands import Command
from token_ledger.core.event import UsageEvent
from token_ledger.core.loaded import Loaded, StoredKey
from token_ledger.core.price import PriceBook
from token_ledger.core.reservation import CallFacts, Reservation
from token_ledger.core.rollover import rolled_over
from token_ledger.core.run import Run, allocation_account_key, run_account_key
from token_ledger.core.tenant import TenantConfig
from token_ledger.core.window import Window
from token_ledger.core.writes import Writes

Key = TypeVar("Key")

ORDINAL_BITS = 16
"""Ids of one batch: 65,536."""


def last_id(sequence: int) -> int:
    """Return the largest id that the batch with a sequence number can have issued."""
    return ((sequence + 1) << ORDINAL_BITS) - 1


def lay_over_runs(loaded: Loaded, before: "Books") -> None:
    """Lay an earlier batch's runs over: which accounts are needed follows from them."""
    writes = before.writes
    loaded.runs.update((run.run_id, run) for run in (*writes.new_runs, *writes.changed_runs.values()))
    for run_id, run in before.loaded.runs.items():
        loaded.runs.setdefault(run_id, run)


def lay_over(loaded: Loaded, before: "Books") -> None:
    """Lay what an earlier batch decided over rows that were loaded without it, because it is not committed yet."""
    writes = before.writes
    loaded.keys.update(before.noted)
    loaded.reservations.update(before.touched_reservations())
    loaded.events.update((event.event_id, event) for event in (*writes.events, *writes.parts))
    loaded.denials.update((denial.denial_id, denial) for denial in writes.denials)
    loaded.kept.update((kept.quarantine_id, kept) for kept in writes.kept)
    loaded.steps.update((step.step_id, step) for step in writes.steps)
    loaded.attachable_runs.update(before.loaded.attachable_runs)
    changed = {**writes.changed_accounts, **writes.changed_terms}
    changed.update((account.account_id, account) for account in writes.new_accounts)
    loaded.accounts = [account for account in loaded.accounts if account.account_id not in changed]
    loaded.accounts.extend(changed.values())
    for name, account in loaded.earlier_accounts.items():
        loaded.earlier_accounts[name] = changed.get(account.account_id, account)
    for account in writes.new_accounts:  # of a window that may have ended between the two batches
        known = loaded.earlier_accounts.get((account.budget_id, account.subject))
        if known is None or known.window_start < account.window_start:
            loaded.earlier_accounts[account.budget_id, account.subject] = account


class Books:
    """One tenant under its lock: look up, set aside, book, note down."""

    def __init__(self, config: TenantConfig, prices: PriceBook, sequence: int, now: datetime, loaded: Loaded) -> None:
        self.config = config
        self.prices = prices
        self.sequence = sequence
        self.now = now
        self.loaded = loaded
        self.writes = Writes()
        self.noted: dict[tuple[str, str], StoredKey] = {}
        self._next_id = sequence << ORDINAL_BITS
        self._accounts_by_id = {account.account_id: account for account in loaded.accounts}
        self._accounts_by_key = {account.key: account for account in loaded.accounts}
        self._expiries: dict[int, datetime] = {}
        self._windows: dict[Window, tuple[datetime, datetime | None]] = {}
        self._periods: dict[datetime, tuple[datetime, datetime]] = {}
        self._copied_from: Books | None = None

    def touched_reservations(self) -> dict[int, Reservation]:
        """Return the holds that this batch gave or ended, by id."""
        writes = self.writes
        touched = {hold.reservation_id: hold for hold in (*writes.new_reservations, *writes.new_leases)}
        touched.update(writes.changed_reservations)
        touched.update((hold.reservation_id, hold) for hold, _ in writes.ended_reservations)
        for event in self.writes.events:
            if event.reservation_id is not None:
                touched[event.reservation_id] = self.loaded.reservations[event.reservation_id]
        return touched

    @property
    def next_id(self) -> int:
        """The id that is issued next."""
        return self._next_id

    def new_id(self) -> int:
        """Return the next id of this batch; OverflowError after the last, upon which the batch is divided."""
        issued = self._next_id
        if issued > last_id(self.sequence):
            raise OverflowError(f"a batch has {1 << ORDINAL_BITS:,} ids, and these commands need more")
        self._next_id += 1
        return issued

    def account(self, account_id: int) -> Account:
        """Return an account of a path."""
        return self._accounts_by_id[account_id]

    def find_account_by_id(self, account_id: int) -> Account | None:
        """Return an account, or None where there is none."""
        return self._accounts_by_id.get(account_id)

    def accounts_of(self, budget_id: int) -> list[Account]:
        """Return the accounts of a budget that this batch knows."""
        return [account for account in self._accounts_by_id.values() if account.budget_id == budget_id]

    def find_account(self, key: AccountKey) -> Account | None:
        """Return the account with a key, or None where it was never used."""
        account = self._accounts_by_key.get(key)
        if account is None and self._copied_from is not None:
            original = self._copied_from.find_account(key)
            if original is not None:
                account = copy(original)
                self._accounts_by_id[account.account_id] = self._accounts_by_key[key] = account
        return account

    def add_account(self, account: Account) -> Account:
        """Keep a new account; it is written even if it never holds anything."""
        self._accounts_by_id[account.account_id] = account
        self._accounts_by_key[account.key] = account
        self.writes.new_accounts.append(account)
        number, hard = account.account_id, int(is_hard(account))
        self.writes.limit_entries.append(LimitEntry(number, number, EntryKind.OPENING, account.limits, hard))
        return account

    def accounts_for(self, facts: CallFacts, run: Run | None) -> list[Account]:
        """Return every account that a call falls on: its runs' and their allocations', those of matching budgets."""
        accounts: list[Account] = []
        if run is not None:
            for each in self.lineage(run):
                accounts.append(self._account_of_run(run_account_key(each.run_id)))
                if facts.agent_type in each.allocated:
                    accounts.append(self._account_of_run(allocation_account_key(each.run_id, facts.agent_type)))
        for budget, subject in self.config.matches(facts, () if run is None else run.lineage):
            start, end = self.window(budget.window)
            account = self.find_account((budget.budget_id, subject, start))
            if account is None:
                account = self._open_account(budget, subject, start, end)
            accounts.append(account)
        return accounts

    def lineage(self, run: Run) -> list[Run]:
        """Return the runs that a run is a part of, the first one first, and itself."""
        return [*(self.loaded.runs[run_id] for run_id in run.ancestors), run]

    def _account_of_run(self, key: AccountKey) -> Account:
        account = self.find_account(key)
        assert account is not None, "a run's accounts are made with it and loaded with every call in it"
        return account

    def _open_account(self, budget: Budget, subject: str, start: datetime, end: datetime | None) -> Account:
        account = self.add_account(budget_account(self.new_id(), budget, subject, start, end))
        if budget.rollover is not None:
            earlier = self.loaded.earlier_accounts.get((budget.budget_id, subject))
            carried = rolled_over(budget, budget.rollover, earlier, start, self.config.calendar)
            if not carried.is_nothing:
                self.change_limits(account, EntryKind.ROLLOVER, carried)
        return account

    def change_limits(
        self, account: Account, kind: EntryKind, by: Limits, *, hard: int = 0,
        reason: str | None = None, actor: str | None = None,
    ) -> LimitEntry:  # fmt: skip
        """Change an account's limit, with the entry in its journal that says why."""
        entry = LimitEntry(account.account_id, self.new_id(), kind, by, hard, reason, actor)
        self.writes.limit_entries.append(entry)
        account.change_limits(by)
        self.watch(account)
        self.writes.changed_terms[account.account_id] = account
        return entry

    def watch(self, account: Account) -> None:
        """Note the thresholds that an account has reached since, and those that it lies below again."""
        reached = account.reached()
        for unit, before, after in zip(Unit, account.fired, reached, strict=True):
            if before == after:
                continue
            limit, settled, _ = account.figures(unit)
            for percent in account.thresholds:
                if min(before, after) < percent <= max(before, after):
                    self.writes.thresholds.append(
                        ThresholdEvent(
                            threshold_id=self.new_id(),
                            account_id=account.account_id,
                            budget=account.budget,
                            unit=unit,
                            percent=percent,
                            fired=after > before,
                            settled=settled,
                            limit=limit or 0,
                        )
                    )
        if reached != account.fired:
            account.fired = reached
            self.writes.changed_terms[account.account_id] = account
        account.arm()

    def audit(self, command: Any, action: str, target: str, before: Any, after: Any) -> AuditEntry:
        """Note who changed what; `command` is one of those that carry an actor."""
        entry = AuditEntry(self.new_id(), command.actor, action, target, before, after)
        self.writes.audit.append(entry)
        self.loaded.audit[entry.audit_id] = entry
        return entry

    def expiry(self, ttl_seconds: int) -> datetime:
        """Return the instant at which a hold given now expires."""
        found = self._expiries.get(ttl_seconds)
        if found is None:
            found = self._expiries[ttl_seconds] = self.now + timedelta(seconds=ttl_seconds)
        return found

    def lease_end(self, accounts: Iterable[Account], expires_at: datetime) -> datetime:
        """Return when a lease on a path ends at the latest: with the first of its hard accounts' windows."""
        ends = (account.window_end for account in accounts if is_hard(account))
        return min((expires_at, *(end for end in ends if end is not None)))

    def window(self, window: Window) -> tuple[datetime, datetime | None]:
        """Return the bounds of the window that the batch's instant lies in."""
        bounds = self._windows.get(window)
        if bounds is None:
            bounds = self._windows[window] = self.config.calendar.bounds(window, self.now)
        return bounds

    def forget_windows(self) -> None:
        """Find every window anew, because the calendar has changed."""
        self._windows.clear()
        self._periods.clear()

    def scratch(self) -> "Books":
        """Return books to try something out in: what is decided there changes nothing here.

        An account is copied when a call falls on it: a batch of many trials has the accounts of all of them.
        """
        loaded = copy(self.loaded)
        loaded.accounts, loaded.reservations, loaded.keys, loaded.denials = [], {}, {}, {}
        books = Books(self.config, self.prices, self.sequence, self.now, loaded)
        books._next_id = self._next_id
        books._copied_from = self
        return books

    def hold(self, accounts: Iterable[Account], tokens: int, uncached: int, nanos: int, calls: int) -> None:
        """Set amounts aside on a path; negative amounts give them back."""
        changed = self.writes.changed_accounts
        for account in accounts:
            account.hold(tokens if account.counts is Counts.ALL else uncached, nanos, calls)
            changed[account.account_id] = account

    def give(self, reservation: Reservation) -> None:
        """Keep a new hold, under its key."""
        self.loaded.reservations[reservation.reservation_id] = reservation
        self.writes.new_reservations.append(reservation)
        self._note("reserve", reservation.key, reservation.fingerprint, "reservation", reservation.reservation_id)

    def lend(self, lease: Reservation, command: Command) -> None:
        """Keep a new lease; it counts as one on every account of its path until it ends."""
        self.loaded.reservations[lease.reservation_id] = lease
        self.writes.new_leases.append(lease)
        self.count_lease(lease, 1)
        self.note_key(command, "reservation", lease.reservation_id)

    def count_lease(self, lease: Reservation, by: int) -> None:
        """Count one lease more or less on every account of its path."""
        for account_id in lease.path:
            account = self._accounts_by_id[account_id]
            account.leases += by
            self.writes.changed_terms[account_id] = account

    def book(self, event: UsageEvent) -> None:
        """Book an event: on its accounts whatever their limits, in the roll-ups, under its key."""
        usage = event.usage
        tokens, uncached = usage.total_tokens, usage.uncached_tokens
        changed = self.writes.changed_accounts
        for account_id in event.path:
            account = self._accounts_by_id[account_id]
            if account.settle(tokens if account.counts is Counts.ALL else uncached, event.cost_nanos, event.calls):
                self.watch(account)
            changed[account_id] = account
        (self.writes.parts if event.part else self.writes.events).append(event)
        self.loaded.events[event.event_id] = event
        self._roll_up(event)
        self._note(event.source, event.key, event.fingerprint, "event", event.event_id)

    def note_key(self, command: Command, answer: str, target_id: int) -> None:
        """Remember what a command's key led to; holds and events carry their keys themselves."""
        self._note(command.source, command.key, command.fingerprint, answer, target_id)
        self.writes.keys.append((command, answer, target_id))

    def _note(self, source: str, key: str, fingerprint: bytes, answer: str, target_id: int) -> None:
        self.loaded.keys[source, key] = self.noted[source, key] = StoredKey(fingerprint, answer, target_id)

    def _roll_up(self, event: UsageEvent) -> None:
        facts, usage = event.facts, event.usage
        hour, day = self._period(event.posted_at)
        amounts = (
            event.calls, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
            usage.cache_write_5m_tokens + usage.cache_write_1h_tokens, usage.reasoning_tokens, event.cost_nanos,
        )  # fmt: skip
        key = (hour, day, facts.cost_center, facts.user, facts.agent_type, facts.model, facts.request_type)
        _add(self.writes.rollups, key, amounts)
        for tag, content in facts.tags:
            _add(self.writes.tag_rollups, (day, tag, content), amounts)
        if facts.run_id is not None:
            _add(self.writes.run_rollups, (facts.run_id, facts.agent_type, facts.tool or "", facts.model), amounts)

    def _period(self, at: datetime) -> tuple[datetime, datetime]:
        minute = at.replace(second=0, microsecond=0)
        found = self._periods.get(minute)
        if found is None:
            calendar = self.config.calendar
            found = self._periods[minute] = calendar.hour(at), calendar.day(at)
        return found


def _add(sums: dict[Key, list[int]], key: Key, amounts: tuple[int, ...]) -> None:
    found = sums.get(key)
    if found is None:
        sums[key] = list(amounts)
    else:
        for position, amount in enumerate(amounts):
            found[position] += amount


def is_hard(account: Account) -> bool:
    """Tell whether an account's refusal denies the call."""
    return account.enforcement is Enforcement.HARD
