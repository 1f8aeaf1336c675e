"""Owns the working copy of one tenant that a batch decides on, and collects what its decisions write.

The rows that the batch may need are loaded before. Ids are the batch's sequence number and an ordinal in the batch, so
the order of ids is the order of decisions. Nothing here does I/O: with nothing loaded, books are a ledger in memory.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import Any

from token_ledger.core.batch.commands import Command, Reserve
from token_ledger.core.batch.loaded import AskedName, Loaded, StoredKey
from token_ledger.core.batch.recosting_sums import RecostingSums
from token_ledger.core.batch.rollups import add_event, roll_up_recostings
from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.account import (
    NO_BOUNDS,
    Account,
    AccountKey,
    Bounds,
    EntryKind,
    LimitEntry,
    bounds_of,
    budget_account,
    crossed_thresholds,
)  # fmt: skip
from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.budget import Budget, Counts, Limits, Terms
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.event import UsageEvent, counts_on
from token_ledger.core.model.money import LARGEST_AMOUNT
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.rollover import rolled_over, terms_at
from token_ledger.core.model.run import Run, allocation_account_key, run_account_key
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import Match, TenantConfig
from token_ledger.core.model.transfer import place_of
from token_ledger.core.model.window import NO_PERIOD, Period, Window

ORDINAL_BITS = 16
"""A batch can issue 65,536 ids."""


def last_id(sequence: int) -> int:
    """Return the largest id that the batch with a sequence number can have issued."""
    return ((sequence + 1) << ORDINAL_BITS) - 1


class Books:
    """One tenant under its lock: what is there, and what the batch changes."""

    def __init__(self, config: TenantConfig, prices: PriceBook, sequence: int, now: datetime, loaded: Loaded) -> None:
        self.config = config
        self.prices = prices
        self.sequence = sequence
        self.now = now
        self.loaded = loaded
        self.writes = Writes()
        self.noted: dict[tuple[str, str], StoredKey] = {}
        self._next_id = sequence << ORDINAL_BITS
        self._last_id = last_id(sequence)
        self.accounts_by_id = {account.account_id: account for account in loaded.accounts}
        self.accounts_by_key = {account.key: account for account in loaded.accounts}
        self._expiries: dict[int, datetime] = {}
        self._windows: dict[Window, tuple[datetime, datetime | None]] = {}
        self._period = NO_PERIOD
        self._copied_from: Books | None = None

    @property
    def next_id(self) -> int:
        """The id that is issued next."""
        return self._next_id

    def new_id(self) -> int:
        """Return the next id of this batch; raise OverflowError after the last, so that the batch is divided."""
        issued = self._next_id
        if issued > self._last_id:
            raise OverflowError(f"these commands need more than the {1 << ORDINAL_BITS:,} ids of a batch; divide them")
        self._next_id += 1
        return issued

    def account(self, account_id: int) -> Account:
        """Return an account of a path."""
        return self.accounts_by_id[account_id]

    def accounts_on(self, path: Iterable[int]) -> list[Account]:
        """Return the accounts of a path."""
        return list(map(self.accounts_by_id.__getitem__, path))

    def find_account_by_id(self, account_id: int) -> Account | None:
        """Return an account, or None where there is none."""
        return self.accounts_by_id.get(account_id)

    def accounts_of(self, budget_id: int) -> list[Account]:
        """Return the accounts of a budget that this batch knows."""
        return [account for account in self.accounts_by_id.values() if account.budget_id == budget_id]

    def located(self, path: list[int], since: int) -> list[int]:
        """Return the accounts that have now what a decision, named by its id, put on those of a path."""
        transfers = self.loaded.transfers
        return [place_of(account_id, since, transfers) for account_id in path] if transfers else path

    def find_account(self, key: AccountKey) -> Account | None:
        """Return the account with a key, or None where it was never used."""
        account = self.accounts_by_key.get(key)
        if account is None and self._copied_from is not None:
            original = self._copied_from.find_account(key)
            if original is not None:
                account = copy(original)
                self.accounts_by_id[account.account_id] = self.accounts_by_key[key] = account
        return account

    def add_account(self, account: Account) -> Account:
        """Keep a new account; it is written even if it never holds anything."""
        self.accounts_by_id[account.account_id] = account
        self.accounts_by_key[account.key] = account
        self.writes.new_accounts.append(account)
        number, limits = account.account_id, account.limits
        opening = LimitEntry(
            number, number, EntryKind.OPENING, limits, hard=int(account.is_hard), bounds=bounds_of(limits)
        )
        self.writes.limit_entries.append(opening)
        return account

    def model_name(self, provider: str, model: str) -> ModelName:
        """Return what a model is called in the books."""
        decided = self.writes.model_names.get((provider, model))
        return decided or self.loaded.model_name(self.prices, self.config.renamed, provider, model)

    def use_model_name(self, provider: str, model: str) -> ModelName:
        """Return what a model is called in the books; a name that is used for the first time keeps its meaning."""
        asked = provider, model
        decided = self.writes.model_names.get(asked) or self.loaded.model_names.get(asked)
        if decided is None:
            self.name_model(asked, decided := self.model_name(*asked))
        return decided

    def name_model(self, asked: AskedName, name: ModelName, change_id: int | None = None) -> None:
        """Decide what a name of a model is in the books; `change_id` is the entry in the audit log of who does."""
        self.writes.model_names[asked] = name
        self.writes.name_decisions.append((self.new_id(), asked, name, change_id))

    def accounts_for(
        self, facts: CallFacts, run: Run | None, at: datetime | None = None, counts_since: datetime | None = None, *,
        is_spooled: bool = False,
    ) -> list[Account]:  # fmt: skip
        """Return every account that a call falls on: of runs, allocations, and budgets that select it.

        `at` is the instant that the call belongs to, if it is not that of the batch. With `counts_since` only accounts
        of ended windows count (see `model.event.counts_on`), and those of its run only if the call `is_spooled`.
        """
        accounts: list[Account] = []
        if run is not None and (counts_since is None or is_spooled):
            for each in self.lineage(run):
                accounts.append(self._account_of_run(run_account_key(each.run_id)))
                if facts.agent_type in each.allocated:
                    accounts.append(self._account_of_run(allocation_account_key(each.run_id, facts.agent_type)))
        known, windows = self.accounts_by_key, self._windows
        for match in self.config.matches(facts, () if run is None else run.lineage):
            if counts_since is not None and not counts_on(self.window(match[0].window, at)[1], counts_since, self.now):
                continue
            account = None  # every call looks all its accounts up here, and nearly always finds them
            if (at is None or at is self.now) and (window := windows.get(match[0].window)) is not None:
                account = known.get((match[0].budget_id, match[1].text, window[0]))
            accounts.append(account or self.account_of(match, at))
        return accounts

    def account_of(self, match: Match, at: datetime | None = None) -> Account:
        """Return the account of a budget and subject for the window of an instant; it is opened if there is none."""
        budget, subject = match
        start, end = self.window(budget.window, at)
        account = self.find_account((budget.budget_id, subject.text, start))
        return self._open_account(budget, subject, start, end) if account is None else account

    def find_current_account(self, budget: Budget, subject: Subject) -> Account | None:
        """Return the account of a budget and subject in the window under way, or None where it was never used."""
        return self.find_account((budget.budget_id, subject.text, self.window(budget.window)[0]))

    def lineage(self, run: Run) -> list[Run]:
        """Return the runs that a run is a part of, the first one first, and itself."""
        return [*(self.loaded.runs[run_id] for run_id in run.ancestors), run]

    def _account_of_run(self, key: AccountKey) -> Account:
        account = self.find_account(key)
        assert account is not None, "a run's accounts are made with it and loaded with every call in it"
        return account

    def _open_account(self, budget: Budget, subject: Subject, start: datetime, end: datetime | None) -> Account:
        account = budget_account(self.new_id(), budget, subject, start, end)
        is_late = end is not None and end <= self.now
        terms = self.config.terms_of(budget)
        if is_late:
            account.start_with(terms_at(terms, account.last_instant).limits_of(subject))
        earlier = self._account_before(account.key) if budget.rollover is not None or is_late else None
        account.earns = not is_late or (earlier is not None and earlier.earns)
        self.add_account(account)
        if budget.rollover is not None and earlier is not None and earlier.earns:
            carried = rolled_over(budget.window, terms, earlier, account, self.config.calendar)
            if not carried.is_nothing:
                self.change_limits(account, EntryKind.ROLLOVER, carried)
        return account

    def _account_before(self, key: AccountKey) -> Account | None:
        """Return the newest account before one, of the same budget and subject."""
        budget_id, subject, start = key
        opened = (
            account
            for account in (*self.loaded.opened_before, *self.writes.new_accounts)
            if account.budget_id == budget_id and account.subject.text == subject and account.window_start < start
        )
        stored = self.loaded.earlier_accounts.get(key)
        known = [*opened] if stored is None else [stored, *opened]
        return max(known, key=lambda account: account.window_start, default=None)

    def change_limits(
        self, account: Account, kind: EntryKind, by: Limits, *, bounds: Bounds = NO_BOUNDS, hard: int = 0,
        reason: str | None = None, actor: str | None = None, thresholds: tuple[int, ...] | None = None,
    ) -> LimitEntry:  # fmt: skip
        """Change an account's limits, and its thresholds if these are given, and note why in the journal of limits."""
        entry = LimitEntry(account.account_id, self.new_id(), kind, by, hard, reason, actor, bounds)
        self.writes.limit_entries.append(entry)
        before = account.limits
        account.change_limits(by, bounds)
        if not (above := account.limits.beyond(LARGEST_AMOUNT)).is_nothing:
            cut = Limits(*(None if amount is None else -amount for amount in above.amounts))
            self.writes.limit_entries.append(LimitEntry(account.account_id, self.new_id(), EntryKind.CUT, cut))
            account.change_limits(cut)
        self.change_thresholds(account, account.thresholds if thresholds is None else thresholds, before)
        return entry

    def change_thresholds(self, account: Account, thresholds: tuple[int, ...], limits_before: Limits) -> None:
        """Let an account have these thresholds; what is settled reaches them at once, or withdraws those that go."""
        before, account.thresholds = account.thresholds, thresholds
        self._note_reached(account, before, limits_before)
        self.writes.changed_terms[account.account_id] = account

    def watch(self, account: Account) -> None:
        """Note the thresholds that an account has reached, and those that it is below again."""
        self._note_reached(account, account.thresholds, account.limits)

    def _note_reached(self, account: Account, thresholds_before: tuple[int, ...], limits_before: Limits) -> None:
        reached = account.reached()
        self.writes.thresholds += crossed_thresholds(account, reached, thresholds_before, limits_before, self.new_id)
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
        """Return when a lease ends: at `expires_at`, or when the first window of its hard accounts ends."""
        ends = (account.window_end for account in accounts if account.is_hard)
        return min((expires_at, *(end for end in ends if end is not None)))

    def window(self, window: Window, at: datetime | None = None) -> tuple[datetime, datetime | None]:
        """Return the bounds of the window that an instant lies in, that of the batch unless told otherwise."""
        if at is not None and at is not self.now:
            return self.config.calendar.bounds(window, at)
        bounds = self._windows.get(window)
        if bounds is None:
            bounds = self._windows[window] = self.config.calendar.bounds(window, self.now)
        return bounds

    def put_in_force(self, budget: Budget, before: tuple[Terms, ...] = ()) -> None:
        """Let a budget's limits and rollover be in force from now on; `before` is what they were until now."""
        terms = budget.terms(self.now)
        self.config = self.config.with_terms(budget.budget_id, (*before, terms))
        self.writes.terms.append((budget.budget_id, self.new_id(), terms))

    def forget_windows(self) -> None:
        """Forget the windows found so far, because the calendar has changed."""
        self._windows.clear()
        self._period = NO_PERIOD

    def scratch(self) -> "Books":
        """Return books to try something out in: what is decided there changes nothing here.

        An account is copied when a call falls on it, because a batch of many trials has loaded the accounts of all.
        """
        loaded = copy(self.loaded)
        loaded.accounts, loaded.reservations, loaded.keys, loaded.denials = [], {}, {}, {}
        books = Books(self.config, self.prices, self.sequence, self.now, loaded)
        books._next_id = self._next_id
        books._copied_from = self
        return books

    def carry(self, account: Account, other: Account) -> None:
        """Move all that is on an account to another one; what was decided on it before follows."""
        transfer = account.carry_to(other, self.new_id())
        self.writes.transfers.append(transfer)
        self.loaded.transfers.setdefault(account.account_id, []).append(transfer)
        for each in (account, other):
            self.watch(each)
            self.writes.changed_accounts[each.account_id] = self.writes.changed_terms[each.account_id] = each

    def hold(self, accounts: Iterable[Account], tokens: int, uncached: int, nanos: int, calls: int) -> None:
        """Set amounts aside on a path; negative amounts give them back."""
        changed = self.writes.changed_accounts
        for account in accounts:
            account.hold(tokens if account.counts is Counts.ALL else uncached, nanos, calls)
            changed[account.account_id] = account

    def give(self, reservation: Reservation, command: Reserve) -> None:
        """Keep a new hold, under its key."""
        self.loaded.reservations[reservation.reservation_id] = reservation
        if command.key_space:
            self.writes.other_holds.append(reservation)
            self.note_key(command, "reservation", reservation.reservation_id)
            return
        self.writes.new_reservations.append(reservation)
        self._note(Reserve.verb, reservation.key, reservation.fingerprint, "reservation", reservation.reservation_id)

    def lend(self, lease: Reservation, command: Command) -> None:
        """Keep a new lease; it counts as one on every account of its path until it ends."""
        self.loaded.reservations[lease.reservation_id] = lease
        self.writes.other_holds.append(lease)
        self.count_lease(lease, 1)
        self.note_key(command, "reservation", lease.reservation_id)

    def count_lease(self, lease: Reservation, by: int) -> None:
        """Count one lease more or less on every account that it is on."""
        for account_id in self.located(lease.path, lease.reservation_id):
            account = self.accounts_by_id[account_id]
            account.leases += by
            self.writes.changed_terms[account_id] = account

    def book(self, event: UsageEvent, accounts: Iterable[Account]) -> None:
        """Book an event: on the accounts of its path whatever their limits, in the roll-ups, under its key."""
        self._settle(event, accounts)
        (self.writes.parts if event.part else self.writes.events).append(event)
        self.loaded.events[event.event_id] = event
        if event.repetition is not None:
            self.loaded.note_response(event)
        self._note(event.source, event.key, event.fingerprint, "event", event.event_id)

    def correct(self, correction: UsageEvent, corrected: int) -> None:
        """Book an event that takes another one back; it has no key of its own."""
        self._settle(correction, self.accounts_on(correction.path))
        self.writes.corrections.append(correction)
        self.loaded.corrected[corrected] = correction.event_id

    def recost(self, recostings: Sequence[RecostedEvent], sums: RecostingSums) -> None:
        """Book what others cost more or less; these have no keys of their own. Thresholds see all of them at once."""
        changed: dict[int, Account] = {}
        for path, nanos in sums.by_path.items():
            for account in self.accounts_on(path):
                account.settle(0, nanos, 0)
                changed[account.account_id] = account
        self.loaded.booked_nanos += sums.nanos
        for account in changed.values():
            self.watch(account)
        self.writes.changed_accounts.update(changed)
        self.writes.recostings += recostings
        self.loaded.note_recostings(recostings)
        roll_up_recostings(self.writes, sums)

    def _settle(self, event: UsageEvent, accounts: Iterable[Account]) -> None:
        tokens, uncached = event.usage.total_tokens, event.usage.uncached_tokens
        changed = self.writes.changed_accounts
        # A correction may fall below thresholds, and so may a part of a call that corrects the parts before it.
        may_fall = event.corrects is not None or event.cost_nanos < 0
        for account in accounts:
            counted = tokens if account.counts is Counts.ALL else uncached
            if account.settle(counted, event.cost_nanos, event.calls) or may_fall:
                self.watch(account)
            changed[account.account_id] = account
        self.loaded.booked_tokens += event.usage.total_tokens
        self.loaded.booked_nanos += event.cost_nanos
        add_event(self.writes, event, self.period(event.posted_at))

    def note_key(self, command: Command, answer: str, target_id: int) -> None:
        """Remember what a command's key led to; holds and events carry their keys themselves."""
        self._note(command.source, command.key, command.fingerprint, answer, target_id)
        self.writes.keys.append((command, answer, target_id))

    def _note(self, source: str, key: str, fingerprint: bytes, answer: str, target_id: int) -> None:
        self.loaded.keys[source, key] = self.noted[source, key] = StoredKey(fingerprint, answer, target_id)

    def period(self, at: datetime) -> Period:
        """Return the begins of the hour and of the tenant's day that an instant lies in."""
        if not self._period[0] <= at < self._period[1]:
            self._period = self.config.calendar.period_span(at)
        return self._period[2]
