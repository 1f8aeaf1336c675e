"""Budgets and accounts of the fake service: what is limited, what is used, and why a call has no room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .prices import money_text

Amounts = tuple[int, int, int]
"""Tokens, nano-dollars, calls."""
Limit = tuple[int | None, int | None, int | None]
NOTHING: Amounts = (0, 0, 0)
UNITS = ("tokens", "cost", "calls")
WINDOWS = ("total", "hour", "day", "week", "month", "run")
ALL_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def plus(left: Amounts, right: Amounts) -> Amounts:
    """Add amounts."""
    return left[0] + right[0], left[1] + right[1], left[2] + right[2]


def minus(left: Amounts, right: Amounts) -> Amounts:
    """Subtract amounts."""
    return left[0] - right[0], left[1] - right[1], left[2] - right[2]


def shown(amounts: Sequence[int | None]) -> dict[str, Any]:
    """Return amounts as the service writes them."""
    tokens, nanos, calls = amounts
    return {"tokens": tokens, "cost": None if nanos is None else money_text(nanos), "calls": calls}


@dataclass(slots=True, eq=False)
class Account:
    """The balance of a budget for one subject and window, or of a run, or of an allocation of one."""

    account_id: int
    budget: str
    subject: Mapping[str, str]
    limit: Limit
    window_start: datetime = ALL_TIME
    window_end: datetime | None = None
    enforcement: str = "hard"
    settled: Amounts = NOTHING
    held: Amounts = NOTHING
    leases: int = 0

    @property
    def used(self) -> Amounts:
        """What is settled and held."""
        return plus(self.settled, self.held)

    @property
    def is_hard(self) -> bool:
        """Whether its refusal denies a call."""
        return self.enforcement == "hard"

    @property
    def available(self) -> Limit:
        """What is left of each limit."""
        tokens, nanos, calls = (
            None if limit is None else limit - used for limit, used in zip(self.limit, self.used, strict=True)
        )
        return tokens, nanos, calls

    def lacking(self, wanted: Amounts) -> int | None:
        """Return the first unit that is short, by its place."""
        rooms = zip(self.available, wanted, strict=True)
        return next((n for n, (room, more) in enumerate(rooms) if room is not None and more > room), None)

    def lendable(self, wanted: Amounts, unit: int) -> int | None:
        """Return for how many calls of a size a lease may be given; None where this unit sets no bound."""
        room = self.available[unit]
        return None if room is None or not wanted[unit] else room // wanted[unit] // (2 * (self.leases + 1))

    def refusal(self, unit: int, requested: int) -> dict[str, Any]:
        """Return why there is no room, as the service says it."""

        def amount(figure: int | None) -> int | str | None:
            return money_text(figure or 0) if UNITS[unit] == "cost" else figure

        return {
            "account_id": str(self.account_id),
            "budget": self.budget,
            "enforcement": self.enforcement,
            "subject": dict(self.subject),
            "unit": UNITS[unit],
            "limit": amount(self.limit[unit]),
            "settled": amount(self.settled[unit]),
            "held": amount(self.held[unit]),
            "available": amount(self.available[unit]),
            "requested": amount(requested),
            "window_start": self.window_start.isoformat(),
            "window_end": None if self.window_end is None else self.window_end.isoformat(),
        }

    def balance(self) -> dict[str, Any]:
        """Return the balance, as the service says it."""
        return {
            "limit": shown(self.limit),
            "settled": shown(self.settled),
            "held": shown(self.held),
            "available": shown(self.available),
        }


@dataclass(slots=True, eq=False)
class FakeBudget:
    """A budget of the fake service; `deny()` lets it refuse every call it selects until `allow()`."""

    name: str
    select: Mapping[str, str | Sequence[str]]
    limit: Limit
    window: str
    enforcement: str
    accounts: dict[tuple[str, ...], Account] = field(default_factory=dict)
    is_denying: bool = False

    def deny(self) -> None:
        """Refuse every call from now on, as if all of the budget were used."""
        self.is_denying = True
        for account in self.accounts.values():
            account.limit = self._limit_of(account)

    def allow(self) -> None:
        """Refuse only what has no room, again."""
        self.is_denying = False
        for account in self.accounts.values():
            account.limit = self.limit

    def _limit_of(self, account: Account) -> Limit:
        # What was used is the whole limit, so the next call of whatever size finds none.
        return (account.used[0], self.limit[1], account.used[2]) if self.is_denying else self.limit

    def account_of(self, facts: Mapping[str, str], now: datetime, number: Any) -> Account | None:
        """Return the account that a call of these facts falls on; None if the budget does not select it."""
        for dimension, wanted in self.select.items():
            value = facts.get(dimension)
            if value is None or not (wanted == "*" or value in ([wanted] if isinstance(wanted, str) else wanted)):
                return None
        open_ones = {dimension for dimension, wanted in self.select.items() if wanted == "*"}
        if self.window == "run":
            if "run" not in facts:
                return None
            open_ones.add("run")
        subject = {dimension: facts[dimension] for dimension in sorted(open_ones)}
        start, end = window_of(self.window, now)
        key = (start.isoformat(), *(f"{name}={value}" for name, value in subject.items()))
        if key not in self.accounts:
            self.accounts[key] = Account(number(), self.name, subject, self.limit, start, end, self.enforcement)
        account = self.accounts[key]
        account.limit = self._limit_of(account)
        return account


def window_of(window: str, now: datetime) -> tuple[datetime, datetime | None]:
    """Return when the window began that an instant is in, and when it ends; windows are those of UTC."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    if window == "hour":
        return hour, hour + timedelta(hours=1)
    if window == "day":
        return day, day + timedelta(days=1)
    if window == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    if window == "month":
        first = day.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)
    return ALL_TIME, None


def split(total: int, shares: Iterable[Mapping[str, Any]]) -> dict[str, int] | None:
    """Split tokens over agent types by weight, each at least its minimum; None if the minimums do not fit."""
    left, free = total, [dict(share) for share in shares]
    least = {share["agent_type"]: share.get("minimum_tokens", 0) for share in free}
    if sum(least.values()) > total:
        return None
    names, parts = [share["agent_type"] for share in free], dict[str, int]()
    while True:
        weights = sum(share["weight"] for share in free)
        short = [each for each in free if left * each["weight"] < least[each["agent_type"]] * weights]
        if not short:
            break
        for share in short:
            parts[share["agent_type"]] = least[share["agent_type"]]
            left -= least[share["agent_type"]]
        free = [share for share in free if share not in short]
    for share in free:
        parts[share["agent_type"]] = left * share["weight"] // weights
    rest = left - sum(parts[share["agent_type"]] for share in free)
    for share in sorted(free, key=lambda share: -(left * share["weight"] % weights))[:rest]:
        parts[share["agent_type"]] += 1
    return {name: parts[name] for name in names}
