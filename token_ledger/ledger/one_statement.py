"""Books a usual batch of one tenant by one statement, without a lock before and without loading anything.

What the batch needs is known from the one before, by the same code as under the lock: only what answers its queries is
another thing, which ends the attempt where something is not kept. The instant is the database's clock as it was last
heard, and what has passed since. The statement writes nothing if the ledger, the instant, a hold or a key is not as
assumed; then the batch is run under the lock, which stays the one place where everything is decided that is not usual.

Accounts, holds and runs are changed in place, so what was decided on and not booked is thrown away whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from token_ledger.core.batch import commands as verbs
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.window import Window
from token_ledger.ledger.errors import AnswerLost
from token_ledger.ledger.pauses import Pauses
from token_ledger.ledger.plan import Commands, Committed, Plan, Predecessor
from token_ledger.ledger.remembered import Remembered
from token_ledger.storage.clocks import ClockDoubted, ClockWatch
from token_ledger.storage.failures import ABOUT_DATA, Failure, failure_of
from token_ledger.storage.load.batch import load
from token_ledger.storage.load.kept_state import Known
from token_ledger.storage.load.locks import Connection, Locked
from token_ledger.storage.load.not_asked import NotAsked, NotKept
from token_ledger.storage.write.one_statement import Became, Statement, plan_statement

BEHIND = timedelta(milliseconds=100)
"""How far the instant of a batch may lie before the clock by which it is booked (`token_ledger_book` says the same).

Nothing that a decision goes by may change within it: no window or price begins, no grant ends."""

USUAL = frozenset({verbs.Reserve, verbs.Settle, verbs.Release, verbs.Extend, verbs.Record, verbs.Step})
"""The commands that are tried; what few batches have goes under the lock."""

PAUSES = {Became.STALE: 32, Became.INSTANT: 0, Became.DUE: 0, Became.KNOWN: 8}
"""How many batches of a tenant go under the lock after one that was not booked; where it is stale, another process
works for the tenant."""
PAUSE_AFTER_REFUSAL = 16
"""The same after a repeated key, or data that can't be stored: whoever sends it would waste every batch."""
PAUSE_AFTER_UNUSUAL = 8
"""The same after decisions that the statement can't write, such as a threshold that was reached."""


@dataclass(frozen=True, slots=True)
class AtOnce:
    """A batch that is decided on what is known, and what was assumed for that.

    Without a `statement` it can't be booked so, and must take the lock, though what was known is changed already.
    """

    statement: Statement | None
    plan: Plan[Statement | None]
    lock: Locked
    assumed: NotAsked

    @property
    def books(self) -> Books:
        """The books of its one tenant."""
        return self.plan.books[0]

    @property
    def done(self) -> Committed:
        """What it did, once it is booked."""
        config = self.books.config
        return Committed(self.plan.outcomes, self.plan.changes, {config.tenant_id: config.name}, [])


class OneStatement:
    """Decides batches on what a process remembers, and books them by one statement each.

    `count` is told what became of each that was decided here: a value of `Became`, or unusual, refused or lost.
    """

    def __init__(self, remembered: Remembered, clocks: ClockWatch, count: Callable[[str], None]) -> None:
        self._remembered = remembered
        self._clocks = clocks
        self._pauses = Pauses()
        self._count = count

    async def decide(self, commands: Commands, predecessor: Predecessor | None) -> AtOnce | None:
        """Decide a batch; None if it must take the lock, and then nothing was changed.

        With a predecessor it is decided on top of that, which may still fail: then it must not be booked.
        """
        if len(commands) != 1:
            return None
        [(tenant, batch)] = commands.items()
        if not all(map(_is_usual, batch)) or not self._pauses.is_over(tenant):
            return None
        known = self._remembered.kept.get(tenant) if predecessor is None else predecessor.known.get(tenant)
        lock = None if known is None else self._assumed_lock(tenant, known)
        if known is None or lock is None:
            return None
        if predecessor is None:
            config, prices = self._remembered.configs[tenant], self._remembered.books[tenant]
        else:
            config, prices = predecessor.books.config, predecessor.books.prices
        if config.version != lock.config_version or _changes_within(known, config, prices, lock.now):
            return None
        assumed, before = NotAsked(), None if predecessor is None else predecessor.books
        try:
            all_loaded = await load(
                assumed, [lock], {tenant: config}, commands, {tenant: prices}, {tenant: known}, self._remembered.names,
                before,
            )  # fmt: skip
        except NotKept:
            return None
        loaded = all_loaded[tenant]
        if _ends_lease(batch, loaded) or _loses_grants(loaded, lock.now):
            return None
        if predecessor is None:
            self._remembered.kept.drop(tenant)
        else:
            del predecessor.known[tenant]
        books = Books(config, prices, lock.sequence, lock.now, loaded)
        plan = Plan([books], {tenant: known}, commands, plan_statement)
        statement = plan.writes if _has_noted_all(books, batch) else None
        if statement is None:
            self._not_booked(tenant, "unusual", PAUSE_AFTER_UNUSUAL)
        return AtOnce(statement, plan, lock, assumed)

    async def book(self, connection: Connection, decided: AtOnce, *, lasts: bool) -> bool:
        """Book a batch that has a statement and tell whether that was done; otherwise nothing is written or remembered.

        Raises AnswerLost if the connection is lost meanwhile, or driver errors; then nothing is remembered either.
        """
        tenant, statement, assumed = decided.lock.tenant_id, decided.statement, decided.assumed
        assert statement is not None, "a batch without one goes under the lock"
        asked = self._clocks.ask()
        try:
            became, clock = await statement.book(
                connection, tenant, decided.lock.stamp, assumed.new_responses, assumed.responses_since, lasts=lasts
            )  # fmt: skip
        except Exception as error:
            failure = failure_of(error)
            if failure in ABOUT_DATA:
                return self._not_booked(tenant, "refused", PAUSE_AFTER_REFUSAL)
            if failure is Failure.AWAY:
                self._count("lost")
                raise AnswerLost(f"the connection was lost while a batch was booked: {error}") from error
            raise
        self._hear(clock, asked)
        if became is not Became.BOOKED:
            return self._not_booked(tenant, became, PAUSES[became])
        self._count(became)
        self._remembered.keep(decided.books, decided.plan.known)
        return True

    def _not_booked(self, tenant: TenantId, why: str, pause: int) -> bool:
        self._count(why)
        self._pauses.begin(tenant, pause)
        return False

    def _hear(self, clock: datetime, asked: Any) -> None:
        try:
            self._clocks.check(clock, asked)
        except ClockDoubted:
            self._clocks.forget()  # the next batch asks under its lock, and is refused
        else:
            self._clocks.hear(clock)

    def _assumed_lock(self, tenant: TenantId, known: Known) -> Locked | None:
        """Return what the lock would tell now if nobody else writes; None if the instant is not believed."""
        now = self._clocks.propose()
        if known.left is None or now is None or not self._clocks.is_near(now, self._clocks.ask()):
            return None
        if known.left[2] - now > BEHIND:  # the clock may have reached it if it is less: what was heard lags behind
            return None
        lock = Locked.after(tenant, known.left, now)
        return None if known.has_due(lock.now) else lock


def _is_usual(command: Command) -> bool:
    return type(command) in USUAL and bool(command.key) and not command.key_space


def _changes_within(known: Known, config: TenantConfig, prices: PriceBook, now: datetime) -> bool:
    """Tell whether a window, a price or the calendar may change within `BEHIND` from an instant."""
    if known.until is None or known.until <= now:
        windows = {Window.HOUR, Window.DAY, *(budget.window for budget in config.budgets)}
        changes = [config.calendar.bounds(window, now)[1] for window in windows]
        changes += [prices.next_change(now), *(instant for instant, _ in config.calendar.changes if instant > now)]
        known.until = min(instant for instant in changes if instant is not None)
    return known.until <= now + BEHIND


def _ends_lease(batch: Sequence[Command], loaded: Loaded) -> bool:
    """Tell whether a command may end a lease, which its accounts count."""
    holds = loaded.reservations
    return any(
        isinstance(command, verbs.Settle | verbs.Release)
        and (hold := holds.get(command.reservation_id)) is not None
        and hold.lease
        and not (isinstance(command, verbs.Settle) and command.part)
        for command in batch
    )


def _loses_grants(loaded: Loaded, now: datetime) -> bool:
    """Tell whether a grant of an account ends within `BEHIND` from an instant."""
    until = now + BEHIND
    return any(account.grants_until is not None and account.grants_until <= until for account in loaded.accounts)


def _has_noted_all(books: Books, batch: Sequence[Command]) -> bool:
    """Tell whether every command has booked something under its key, which raises where the key is not new.

    A refusal notes no key: whether there is an answer to it already is known under the lock only.
    """
    return all((command.source, command.key) in books.noted for command in batch)
