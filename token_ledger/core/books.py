"""Owns the working copy of one tenant that a batch decides on, and the writes that its decisions make.

The rows that the batch may need are loaded before; what is not among them does not exist. Ids are the batch's
sequence number and an ordinal in it, so the order of ids is the order of decisions. Nothing here does I/O: with
nothing loaded, books are a whole ledger in memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from token_ledger.core.budget import Account, AccountKey, Budget, Counts, Enforcement
from token_ledger.core.commands import Command
from token_ledger.core.event import UsageEvent
from token_ledger.core.outcomes import Denial
from token_ledger.core.price import PriceBook
from token_ledger.core.reservation import CallFacts, HoldState, Reservation
from token_ledger.core.run import Run, allocation_account_key, run_account_key
from token_ledger.core.tenant import TenantConfig
from token_ledger.core.trigger import Advice
from token_ledger.core.values import value
from token_ledger.core.window import Window, local_day, local_hour, window_bounds

Key = TypeVar("Key")

ORDINAL_BITS = 16
"""Ids of one batch: 65,536. A batch is far smaller, so they never run out."""


def last_id(sequence: int) -> int:
    """Return the largest id that the batch with a sequence number can have issued."""
    return ((sequence + 1) << ORDINAL_BITS) - 1


RollupKey = tuple[datetime, datetime, str, str, str, str, str]
"""Local hour, local day (both as UTC instants), cost center, user, agent type, model, request type."""


@value
class StoredKey:
    """What an idempotency key was used for: the request's fingerprint and the row it led to."""

    fingerprint: bytes
    answer: str
    target_id: int


@value
class KeptEvent:
    """A quarantined event: why it could not be booked, and its body."""

    quarantine_id: int
    source: str
    key: str
    code: str
    detail: str
    body: str


@dataclass(slots=True)
class Loaded:
    """Rows of one tenant as they stood under its lock."""

    keys: dict[tuple[str, str], StoredKey] = field(default_factory=dict)
    reservations: dict[int, Reservation] = field(default_factory=dict)
    due: list[int] = field(default_factory=list)
    runs: dict[int, Run] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    events: dict[int, UsageEvent] = field(default_factory=dict)
    denials: dict[int, Denial] = field(default_factory=dict)
    kept: dict[int, KeptEvent] = field(default_factory=dict)
    archived_budgets: dict[int, Budget] = field(default_factory=dict)


@dataclass(slots=True)
class Writes:
    """Everything that one batch of one tenant changes."""

    keys: list[tuple[Command, str, int]] = field(default_factory=list)
    new_accounts: list[Account] = field(default_factory=list)
    changed_accounts: dict[int, Account] = field(default_factory=dict)
    new_reservations: list[Reservation] = field(default_factory=list)
    ended_reservations: list[tuple[Reservation, HoldState]] = field(default_factory=list)
    """Holds that were released or have expired; settled ones are ended by their event."""
    events: list[UsageEvent] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    firings: list[tuple[int, CallFacts, Advice]] = field(default_factory=list)
    kept: list[KeptEvent] = field(default_factory=list)
    new_runs: list[Run] = field(default_factory=list)
    ended_runs: list[Run] = field(default_factory=list)
    new_budgets: list[Budget] = field(default_factory=list)
    archived_budgets: list[Budget] = field(default_factory=list)
    triggers: list[Any] = field(default_factory=list)
    rollups: dict[RollupKey, list[int]] = field(default_factory=dict)
    tag_rollups: dict[tuple[datetime, str, str], list[int]] = field(default_factory=dict)
    optimizations: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def config_changed(self) -> bool:
        """Whether the tenant's set-up has a new version after this batch."""
        return bool(self.new_budgets or self.archived_budgets or self.triggers)


def lay_over(loaded: Loaded, before: "Books") -> None:
    """Lay what an earlier batch decided over rows that were loaded without it, because it is not committed yet."""
    writes = before.writes
    loaded.keys.update(before.noted)
    loaded.reservations.update(before.touched_reservations())
    loaded.events.update((event.event_id, event) for event in writes.events)
    loaded.denials.update((denial.denial_id, denial) for denial in writes.denials)
    loaded.kept.update((kept.quarantine_id, kept) for kept in writes.kept)
    loaded.runs.update((run.run_id, run) for run in (*writes.new_runs, *writes.ended_runs))
    changed = {**writes.changed_accounts, **{account.account_id: account for account in writes.new_accounts}}
    loaded.accounts = [account for account in loaded.accounts if account.account_id not in changed]
    loaded.accounts.extend(changed.values())


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

    def touched_reservations(self) -> dict[int, Reservation]:
        """Return the holds that this batch gave or ended, by id."""
        touched = {hold.reservation_id: hold for hold in self.writes.new_reservations}
        touched.update((hold.reservation_id, hold) for hold, _ in self.writes.ended_reservations)
        for event in self.writes.events:
            if event.reservation_id is not None:
                touched[event.reservation_id] = self.loaded.reservations[event.reservation_id]
        return touched

    def new_id(self) -> int:
        """Return the next id of this batch."""
        issued = self._next_id
        self._next_id += 1
        return issued

    def account(self, account_id: int) -> Account:
        """Return an account of a path."""
        return self._accounts_by_id[account_id]

    def find_account(self, key: AccountKey) -> Account | None:
        """Return the account with a key, or None where it was never used."""
        return self._accounts_by_key.get(key)

    def add_account(self, account: Account) -> Account:
        """Keep a new account; it is written even if it never holds anything."""
        self._accounts_by_id[account.account_id] = account
        self._accounts_by_key[account.key] = account
        self.writes.new_accounts.append(account)
        return account

    def accounts_for(self, facts: CallFacts, run: Run | None) -> list[Account]:
        """Return every account that a call falls on: its run's, its allocation's, those of matching budgets."""
        accounts: list[Account] = []
        by_key = self._accounts_by_key
        if run is not None:
            accounts.append(by_key[run_account_key(run.run_id)])
            if facts.agent_type in run.allocated:
                accounts.append(by_key[allocation_account_key(run.run_id, facts.agent_type)])
        for budget, subject in self.config.matches(facts):
            start, end = self.window(budget.window)
            account = by_key.get((budget.budget_id, subject, start))
            if account is None:
                account = self.add_account(
                    Account(
                        self.new_id(), budget.budget_id, budget.name, subject, start, end,
                        budget.enforcement, budget.counts, budget.limits,
                    )
                )  # fmt: skip
            accounts.append(account)
        return accounts

    def expiry(self, ttl_seconds: int) -> datetime:
        """Return the instant at which a hold given now expires."""
        found = self._expiries.get(ttl_seconds)
        if found is None:
            found = self._expiries[ttl_seconds] = self.now + timedelta(seconds=ttl_seconds)
        return found

    def window(self, window: Window) -> tuple[datetime, datetime | None]:
        """Return the bounds of the window that the batch's instant lies in."""
        bounds = self._windows.get(window)
        if bounds is None:
            bounds = self._windows[window] = window_bounds(window, self.now, self.config.zone)
        return bounds

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

    def book(self, event: UsageEvent) -> None:
        """Book an event: on its accounts whatever their limits, in the roll-ups, under its key."""
        usage = event.usage
        tokens, uncached = usage.total_tokens, usage.uncached_tokens
        changed = self.writes.changed_accounts
        for account_id in event.path:
            account = self._accounts_by_id[account_id]
            account.settle(tokens if account.counts is Counts.ALL else uncached, event.cost_nanos, 1)
            changed[account_id] = account
        self.writes.events.append(event)
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
            1, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
            usage.cache_write_5m_tokens + usage.cache_write_1h_tokens, usage.reasoning_tokens, event.cost_nanos,
        )  # fmt: skip
        key = (hour, day, facts.cost_center, facts.user, facts.agent_type, facts.model, facts.request_type)
        _add(self.writes.rollups, key, amounts)
        for tag, content in facts.tags:
            _add(self.writes.tag_rollups, (day, tag, content), amounts)

    def _period(self, at: datetime) -> tuple[datetime, datetime]:
        minute = at.replace(second=0, microsecond=0)
        found = self._periods.get(minute)
        if found is None:
            zone = self.config.zone
            found = self._periods[minute] = local_hour(at, zone), local_day(at, zone)
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
