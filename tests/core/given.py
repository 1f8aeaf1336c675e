"""Fixtures of the core's tests: a small price book, a ledger in memory, commands with default fields."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from token_ledger.core.batch.administration import CreateBudget, SetTrigger
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import (
    Command,
    Lease,
    OpenRun,
    Record,
    Release,
    Reserve,
    Settle,
)
from token_ledger.core.batch.idempotency import KeyedCommand, fingerprint
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Granted, Outcome, Refused, RunAnswer
from token_ledger.core.decisions.decide import decide
from token_ledger.core.model.account import Account, AccountKey
from token_ledger.core.model.budget import Budget, Limits
from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.price import ModelPrices, Price, PriceBook, Rates
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.run import Run
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.trigger import Mode, Trigger, TriggerKind
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Calendar, CalendarRule, Window

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def rates(*dollars: str) -> Rates:
    """Rates of input, output, cache read, cache write 5m and 1h, reasoning, in dollars per million tokens."""
    return Rates(*(rate_attos(Decimal(rate)) for rate in dollars))


LARGE = Price(1, rates("2.5", "10", "0.25", "3", "5", "10"))
SMALL = Price(2, rates("0.1", "0.5", "0.01", "0.1", "0.2", "0.5"))
LATER = Price(3, rates("1", "1", "1", "1", "1", "1"), valid_from=NOW + timedelta(days=1))
MODELS = {("acme", "large"): LARGE, ("acme", "small"): SMALL, ("acme", "later"): LATER}
PRICES = PriceBook(
    {name: ModelPrices(*name, (price,)) for name, price in MODELS.items()},
    lambda provider, model: ("acme", "large") if model == "large-latest" else None,
)


class EarlierAccounts(dict[AccountKey, Account]):
    """Finds the newest account before one, of the same budget and subject, among all there are."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        super().__init__((account.key, account) for account in accounts)

    def get(self, key: AccountKey, default: Any = None) -> Any:
        earlier = (account for account in self.values() if account.key[:2] == key[:2] and account.window_start < key[2])
        return max(earlier, key=lambda account: account.window_start, default=default)


class Ledger:
    """A ledger in memory: every batch is decided on the rows of the batches before."""

    def __init__(self, *budgets: Budget, triggers: tuple[Trigger, ...] = ()) -> None:
        config = TenantConfig(TenantId(1), 1, Calendar(CalendarRule(UTC)), budgets, triggers)
        self.books = Books(config, PRICES, 1, NOW, Loaded())

    def at(self, now: datetime) -> "Ledger":
        """Begin the next batch at an instant; every hold may be due in it."""
        before = self.books
        loaded = before.loaded
        loaded.accounts = list({a.account_id: a for a in (*loaded.accounts, *before.writes.new_accounts)}.values())
        loaded.due = list(loaded.reservations)
        loaded.earlier_accounts = EarlierAccounts(loaded.accounts)
        self.books = Books(before.config, PRICES, (before.new_id() >> 16) + 1, now, loaded)
        return self

    def decide(self, *commands: Command) -> list[Outcome]:
        return decide(self.books, commands)

    def one(self, command: Command) -> Outcome:
        (outcome,) = self.decide(command)
        return outcome

    def granted(self, **fields: Any) -> Reservation:
        outcome = self.one(reserve(**fields))
        assert isinstance(outcome, Granted), outcome
        return outcome.reservation

    def opened(self, **fields: Any) -> Run:
        outcome = self.one(open_run(**fields))
        assert isinstance(outcome, RunAnswer), outcome
        return self.books.loaded.runs[outcome.run.run_id]


def budget(*, tokens: int | None = None, nanos: int | None = None, calls: int | None = None, **fields: Any) -> Budget:
    values: dict[str, Any] = {"budget_id": 90, "name": "cap", "selector": (), "window": Window.DAY} | fields
    return Budget(limits=Limits(tokens, nanos, calls), **values)


Keyed = TypeVar("Keyed", bound=KeyedCommand)


def sealed(command: Keyed) -> Keyed:
    """The command with the fingerprint of its body, as the API makes it."""
    return replace(command, fingerprint=fingerprint(repr(replace(command, key="", fingerprint=b"")).encode()))


USED = Usage(900, 100)


def reserve(**fields: Any) -> Any:
    values = {
        "key": "r", "agent_type": "planner", "provider": "acme", "model": "large",
        "input_tokens": 1_000, "max_output_tokens": 500, "user": None if "run_id" in fields else "ada",
    }  # fmt: skip
    return sealed(Reserve(**{"fingerprint": b"", **values, **fields}))


def lease(**fields: Any) -> Any:
    values = {
        "key": "l", "agent_type": "planner", "provider": "acme", "model": "large", "calls": 4,
        "input_tokens": 1_000, "max_output_tokens": 500, "user": None if "run_id" in fields else "ada",
    }  # fmt: skip
    return sealed(Lease(**{"fingerprint": b"", **values, **fields}))


def settle(reservation_id: int, usage: Usage = USED, **fields: Any) -> Any:
    return sealed(
        Settle(**{"key": "s", "fingerprint": b"", "reservation_id": reservation_id, "usage": usage, **fields})
    )


def release(reservation_id: int, **fields: Any) -> Any:
    return sealed(Release(**{"key": "x", "fingerprint": b"", "reservation_id": reservation_id, **fields}))


def record(**fields: Any) -> Any:
    values = {
        "event_source": "test", "key": "e", "agent_type": "planner", "provider": "acme", "model": "large",
        "usage": USED, "user": None if "run_id" in fields else "ada",
    }  # fmt: skip
    return sealed(Record(**{"fingerprint": b"", **values, **fields}))


def open_run(**fields: Any) -> Any:
    return sealed(OpenRun(**{"key": "run", "fingerprint": b"", "user": "ada", "cost_center": "research", **fields}))


BUDGET: Any = sealed(CreateBudget("b", b"", "cap", (), Limits(5), Window.DAY))
TRIGGER: Any = sealed(SetTrigger("t", b"", TriggerKind.HIGH_COST, 80, Mode.OBSERVE))


def refused(ledger: Ledger, command: Any) -> Refused:
    """Decide a command that must be refused, and check that nothing is written."""
    before = repr(ledger.books.writes), ledger.books.new_id()
    outcome = ledger.one(command)
    assert isinstance(outcome, Refused), outcome
    assert (repr(ledger.books.writes), ledger.books.new_id()) == (before[0], before[1] + 1)
    return outcome


def balance(ledger: Ledger) -> list[tuple[int, int, int]]:
    """Settled tokens, held tokens and held calls of every account; money is held while calls are."""
    accounts = {a.account_id: a for a in (*ledger.books.loaded.accounts, *ledger.books.writes.new_accounts)}
    assert all((a.held_nanos == 0) is (a.held_calls == 0) for a in accounts.values())
    return [(a.settled_tokens, a.held_tokens, a.held_calls) for a in accounts.values()]
