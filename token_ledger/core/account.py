"""Owns accounts: the balance of one budget, subject and window, its limit, and the thresholds that it reports (D4, D6).

A limit is the sum of its journal of limit entries. Nothing is ever reset: another window is another account.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.budget import Budget, Counts, Enforcement, Limits, Unit
from token_ledger.core.values import value

RUN_BUDGET = 0
"""The budget id of the accounts that hold a run's own limits and its allocations."""

AccountKey = tuple[int, str, datetime]
"""Budget id, subject, start of the window: what makes an account unique in its tenant."""

NEVER = 2**63
"""More than any amount: where no threshold is left to reach."""


class Account:
    """The balance of one budget, subject and window. Mutable: a batch works on its own copy.

    Tokens are those that `counts` says. A limit of None is no limit. `base` is what the account has last taken from
    its budget's limits. `fired` holds the highest threshold reached per unit, in percent, and `alarms` the settled
    amounts at which the next ones are. `grants_until` is when the first of its grants lapses, `leases` how many are
    open.
    """

    __slots__ = (
        "account_id",
        "alarms",
        "base",
        "budget",
        "budget_id",
        "closed_at",
        "counts",
        "enforcement",
        "fired",
        "grants_until",
        "held_calls",
        "held_nanos",
        "held_tokens",
        "leases",
        "limit_calls",
        "limit_nanos",
        "limit_tokens",
        "settled_calls",
        "settled_nanos",
        "settled_tokens",
        "subject",
        "thresholds",
        "window_end",
        "window_start",
    )  # fmt: skip

    def __init__(
        self,
        account_id: int,
        budget_id: int,
        budget: str,
        subject: str,
        window_start: datetime,
        window_end: datetime | None,
        enforcement: Enforcement,
        counts: Counts,
        limits: Limits,
        thresholds: tuple[int, ...] = (),
    ) -> None:
        self.account_id = account_id
        self.budget_id = budget_id
        self.budget = budget
        self.subject = subject
        self.window_start = window_start
        self.window_end = window_end
        self.enforcement = enforcement
        self.counts = counts
        self.base = limits
        self.limit_tokens = limits.tokens
        self.limit_nanos = limits.nanos
        self.limit_calls = limits.calls
        self.thresholds = thresholds
        self.settled_tokens = self.settled_nanos = self.settled_calls = 0
        self.held_tokens = self.held_nanos = self.held_calls = 0
        self.fired = (0, 0, 0)
        self.leases = 0
        self.grants_until: datetime | None = None
        self.closed_at: datetime | None = None
        self.arm()

    @property
    def key(self) -> AccountKey:
        """What makes this account unique in its tenant."""
        return self.budget_id, self.subject, self.window_start

    @property
    def limits(self) -> Limits:
        """The limit in every unit."""
        return Limits(self.limit_tokens, self.limit_nanos, self.limit_calls)

    @property
    def used(self) -> tuple[int, int, int]:
        """Settled and held, in the order of the units."""
        return (
            self.settled_tokens + self.held_tokens,
            self.settled_nanos + self.held_nanos,
            self.settled_calls + self.held_calls,
        )

    def is_open(self, now: datetime) -> bool:
        """Tell whether the account's window has not ended."""
        return self.window_end is None or self.window_end > now

    def lacking(self, tokens: int, nanos: int, calls: int) -> Unit | None:
        """Return the first unit in which a hold does not fit, or None where it fits."""
        limit = self.limit_tokens
        if limit is not None and self.settled_tokens + self.held_tokens + tokens > limit:
            return Unit.TOKENS
        limit = self.limit_nanos
        if limit is not None and self.settled_nanos + self.held_nanos + nanos > limit:
            return Unit.COST
        limit = self.limit_calls
        if limit is not None and self.settled_calls + self.held_calls + calls > limit:
            return Unit.CALLS
        return None

    def hold(self, tokens: int, nanos: int, calls: int) -> None:
        """Set amounts aside; negative amounts give them back."""
        self.held_tokens += tokens
        self.held_nanos += nanos
        self.held_calls += calls

    def settle(self, tokens: int, nanos: int, calls: int) -> bool:
        """Book actual amounts, whatever the limit (design D2); tell whether a threshold is reached."""
        self.settled_tokens += tokens
        self.settled_nanos += nanos
        self.settled_calls += calls
        alarms = self.alarms
        return self.settled_tokens >= alarms[0] or self.settled_nanos >= alarms[1] or self.settled_calls >= alarms[2]

    def change_limits(self, by: Limits) -> None:
        """Raise the limits, or lower them by negative amounts; a unit without a limit gets the amount as one."""
        self.limit_tokens, self.limit_nanos, self.limit_calls = self.limits.raised_by(by).amounts

    def figures(self, unit: Unit) -> tuple[int | None, int, int]:
        """Return limit, settled and held in a unit (money in nano-dollars)."""
        if unit is Unit.TOKENS:
            return self.limit_tokens, self.settled_tokens, self.held_tokens
        if unit is Unit.COST:
            return self.limit_nanos, self.settled_nanos, self.held_nanos
        return self.limit_calls, self.settled_calls, self.held_calls

    def reached(self) -> tuple[int, int, int]:
        """Return the highest threshold that the settled amounts have reached per unit, 0 for none."""
        tokens, nanos, calls = (self._reached(unit) for unit in Unit)
        return tokens, nanos, calls

    def arm(self) -> None:
        """Set the settled amounts at which the next thresholds are reached."""
        if not self.thresholds:
            self.alarms = NEVER, NEVER, NEVER
            return
        self.alarms = (
            self._alarm(self.limit_tokens, self.fired[0]),
            self._alarm(self.limit_nanos, self.fired[1]),
            self._alarm(self.limit_calls, self.fired[2]),
        )

    def _reached(self, unit: Unit) -> int:
        limit, settled, _ = self.figures(unit)
        if limit is None or settled <= 0:
            return 0
        return max((percent for percent in self.thresholds if settled * 100 >= percent * limit), default=0)

    def _alarm(self, limit: int | None, fired: int) -> int:
        if limit is None:
            return NEVER
        percent = min((percent for percent in self.thresholds if percent > fired), default=None)
        # The least settled amount with settled * 100 >= percent * limit; nothing is reached by nothing.
        return NEVER if percent is None else max(1, -(-percent * limit // 100))


def budget_account(account_id: int, budget: Budget, subject: str, start: datetime, end: datetime | None) -> Account:
    """Return a new account of a budget for a subject and a window."""
    return Account(
        account_id, budget.budget_id, budget.name, subject, start, end,
        budget.enforcement, budget.counts, budget.limits, budget.thresholds,
    )  # fmt: skip


class EntryKind(StrEnum):
    """Why a limit changed: the kinds of entries in the journal of limits."""

    OPENING = "opening"
    ROLLOVER = "rollover"
    GRANT = "grant"
    LAPSE = "lapse"
    INCREASE = "increase"
    CHANGE = "change"
    REBALANCE = "rebalance"


@value
class LimitEntry:
    """One change of one account's limit. `hard` is 1 where it makes the account deny, -1 where it ends that, else 0."""

    account_id: int
    entry_id: int
    kind: EntryKind
    by: Limits
    hard: int = 0
    reason: str | None = None
    actor: str | None = None


@value
class ThresholdEvent:
    """An account's settled amount has reached a threshold (`fired`), or lies below it again (not `fired`)."""

    threshold_id: int
    account_id: int
    budget: str
    unit: Unit
    percent: int
    fired: bool
    settled: int
    limit: int


@dataclass(slots=True)
class Grant:
    """Extra limit on one account until an instant, or to the end of its window.

    `left` is what the account's use has not reached of it; `mark` the use up to which that is known, per unit.
    """

    grant_id: int
    account_id: int
    amounts: Limits
    left: Limits
    mark: tuple[int, int, int]
    expires_at: datetime | None
    reason: str
    actor: str
    given_at: datetime
    lapsed_at: datetime | None = None


def spend_grants(grants: list[Grant], used: tuple[int, int, int]) -> None:
    """Count what an account's use rose above the grants' mark as spent from them, soonest expiry first (design D6).

    All grants of an account share one mark; use that falls below it was counted before and is not counted again.
    """
    if not grants:
        return
    mark = grants[0].mark
    rise = [max(0, now - before) for now, before in zip(used, mark, strict=True)]
    for grant in sorted(grants, key=_expiry):
        left = list(grant.left.amounts)
        for position, amount in enumerate(left):
            if amount is not None:
                taken = min(amount, rise[position])
                left[position] = amount - taken
                rise[position] -= taken
        grant.left = Limits(*left)
    highest = max(used[0], mark[0]), max(used[1], mark[1]), max(used[2], mark[2])
    for grant in grants:
        grant.mark = highest


def _expiry(grant: Grant) -> tuple[bool, datetime | None, int]:
    return grant.expires_at is None, grant.expires_at or grant.given_at, grant.grant_id
