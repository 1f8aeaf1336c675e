"""Owns accounts: the balance of one budget, subject and window, its limits and its thresholds.

A limit is the sum of the limit entries in its journal, in every unit that the journal gives a limit and has not taken
it away from. Nothing is ever reset: a new window is a new account.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.model.budget import Budget, Counts, Enforcement, Limits, Unit
from token_ledger.core.model.frozen import value
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.transfer import Transfer
from token_ledger.core.model.window import INSTANT, LAST_INSTANT

RUN_BUDGET = 0
"""The budget id of the accounts that hold a run's own limits and its allocations."""

AccountKey = tuple[int, str, datetime]
"""Budget id, text of the subject, start of the window: what makes an account unique in its tenant."""

Bounds = tuple[int, int, int]
"""Per unit, 1 where an account gets a limit, -1 where it loses it, 0 where neither happens."""

NO_BOUNDS: Bounds = (0, 0, 0)

NEVER = 2**63
"""More than any amount: the alarm of a unit that has no threshold left to reach."""


class Account:
    """The balance of one budget, subject and window. Mutable: a batch works on its own copy.

    `counts` says which tokens are counted. A limit of None means no limit. `base` are the limits that the account last
    took over from its budget. `fired` is the highest threshold reached per unit, in percent; `alarms` are the settled
    amounts at which the next thresholds are reached. `grants_until` is when the first of its grants lapses, `leases`
    the number of its open leases. `earns` is false for an account that was opened after its window had ended, as long
    as its subject had none before: what it leaves is not rolled over. `moved_to` is the account that the last transfer
    from this one went to; what is on this one came later.
    """

    __slots__ = (
        "account_id",
        "alarms",
        "base",
        "budget",
        "budget_id",
        "closed_at",
        "counts",
        "earns",
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
        "moved_to",
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
        subject: Subject,
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
        self.earns = True
        self.moved_to: int | None = None
        self.arm()

    @property
    def key(self) -> AccountKey:
        """What makes this account unique in its tenant."""
        return self.budget_id, self.subject.text, self.window_start

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

    @property
    def last_instant(self) -> datetime:
        """The last instant of the account's window, if it ends."""
        return LAST_INSTANT if self.window_end is None else self.window_end - INSTANT

    @property
    def is_hard(self) -> bool:
        """Whether its refusal denies the call."""
        return self.enforcement is Enforcement.HARD

    def is_open(self, now: datetime) -> bool:
        """Return whether the account's window goes on."""
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
        """Book actual amounts, whatever the limit; return whether a threshold may have been reached."""
        self.settled_tokens += tokens
        self.settled_nanos += nanos
        self.settled_calls += calls
        alarms = self.alarms
        return self.settled_tokens >= alarms[0] or self.settled_nanos >= alarms[1] or self.settled_calls >= alarms[2]

    def carry_to(self, other: "Account", transfer_id: int) -> Transfer:
        """Move all that is settled and held to another account, with the count of open leases."""
        settled = self.settled_tokens, self.settled_nanos, self.settled_calls
        held = self.held_tokens, self.held_nanos, self.held_calls
        other.settle(*settled)
        other.hold(*held)
        other.leases += self.leases
        self.settled_tokens = self.settled_nanos = self.settled_calls = 0
        self.held_tokens = self.held_nanos = self.held_calls = self.leases = 0
        self.moved_to = other.account_id
        return Transfer(transfer_id, self.account_id, other.account_id, settled, held)

    def start_with(self, limits: Limits) -> None:
        """Give a new account other limits than its budget has now."""
        self.base = limits
        self.limit_tokens, self.limit_nanos, self.limit_calls = limits.amounts
        self.arm()

    def change_limits(self, by: Limits, bounds: Bounds = NO_BOUNDS) -> None:
        """Raise the limits, or lower them by negative amounts; a unit without a limit gets one only by `bounds`."""
        changes = zip(self.limits.amounts, by.amounts, bounds, strict=True)
        self.limit_tokens, self.limit_nanos, self.limit_calls = (_changed(*change) for change in changes)

    def change_between(self, before: Limits, after: Limits) -> tuple[Limits, Bounds]:
        """Return what changes an account's limits when its budget or run has those `after` in place of those `before`.

        A limit that goes takes with it what grants and increases added to it. A unit that stays as it is has None.
        """
        units = zip(self.limits.amounts, before.amounts, after.amounts, strict=True)
        changes = [_change_between(*unit) for unit in units]
        (tokens, tokens_bound), (nanos, nanos_bound), (calls, calls_bound) = changes
        return Limits(tokens, nanos, calls), (tokens_bound, nanos_bound, calls_bound)

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
        # The smallest settled amount with settled * 100 >= percent * limit; an amount of zero reaches no threshold.
        return NEVER if percent is None else max(1, -(-percent * limit // 100))


def bounds_of(limits: Limits) -> Bounds:
    """Return in which units an account with these limits begins with one."""
    tokens, nanos, calls = (int(amount is not None) for amount in limits.amounts)
    return tokens, nanos, calls


def _changed(limit: int | None, by: int | None, bound: int) -> int | None:
    if bound:
        return by if bound > 0 else None
    return limit if limit is None or by is None else limit + by


def _change_between(limit: int | None, before: int | None, after: int | None) -> tuple[int | None, int]:
    if after is None:
        return (None, 0) if before is None or limit is None else (-limit, -1)
    if limit is None:
        return after, 1
    return None if after == before else after - (before or 0), 0


def budget_account(account_id: int, budget: Budget, subject: Subject, start: datetime, end: datetime | None) -> Account:
    """Return a new account of a budget for a subject and a window."""
    return Account(
        account_id, budget.budget_id, budget.name, subject, start, end,
        budget.enforcement, budget.counts, budget.limits_of(subject), budget.thresholds,
    )  # fmt: skip


class EntryKind(StrEnum):
    """Why a limit changed: the kinds of entries in the journal of limits.

    `CUT` takes off what a change, or what was carried into a window, would put above the largest amount.
    """

    OPENING = "opening"
    ROLLOVER = "rollover"
    GRANT = "grant"
    LAPSE = "lapse"
    INCREASE = "increase"
    CHANGE = "change"
    REBALANCE = "rebalance"
    CUT = "cut"


@value
class LimitEntry:
    """One change of one account's limit. `hard` is 1 if it begins to deny calls, -1 if it stops doing so.

    An entry that takes a limit away has the negative of that limit.
    """

    account_id: int
    entry_id: int
    kind: EntryKind
    by: Limits
    hard: int = 0
    reason: str | None = None
    actor: str | None = None
    bounds: Bounds = NO_BOUNDS


@value
class ThresholdEvent:
    """An account's settled amount has reached a threshold (`fired`), or is below it again (not `fired`).

    `withdrawn` says that a threshold that had fired is no longer one of the account's; it fires again if it comes back.
    """

    threshold_id: int
    account_id: int
    budget: str
    unit: Unit
    percent: int
    fired: bool
    settled: int
    limit: int
    withdrawn: bool = False


def crossed_thresholds(
    account: Account, reached: tuple[int, int, int], had: tuple[int, ...], limits: Limits, new_id: Callable[[], int]
) -> Iterator[ThresholdEvent]:
    """Yield what becomes of thresholds now that `reached` is the highest per unit, instead of `account.fired`.

    `had` and `limits` are the thresholds and limits that the account had until now.
    """
    for unit, before, after, limit_before in zip(Unit, account.fired, reached, limits.amounts, strict=True):
        limit, settled, _ = account.figures(unit)
        fired_before = {percent for percent in had if percent <= before}
        fired = {percent for percent in account.thresholds if percent <= after}
        for percent in sorted(fired_before ^ fired):
            yield ThresholdEvent(
                threshold_id=new_id(),
                account_id=account.account_id,
                budget=account.budget,
                unit=unit,
                percent=percent,
                fired=percent in fired,
                settled=settled,
                limit=(limit_before if limit is None else limit) or 0,
                withdrawn=limit is None or percent not in account.thresholds,
            )


@dataclass(slots=True)
class Grant:
    """Extra limit on one account until an instant, or to the end of its window.

    `left` is the part that is unused so far; `mark` is the account's use up to which that has been counted, per unit.
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
    """Consume grants by what the account's use has risen above their mark, in order of expiry.

    All grants of an account share one mark. Use below the mark was counted before and is not counted again.
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


def end_grants(grants: list[Grant], bounds: Bounds) -> None:
    """Leave nothing of grants in the units that lose their limit, so that their lapse takes nothing back."""
    for grant in grants:
        pairs = zip(grant.left.amounts, bounds, strict=True)
        grant.left = Limits(*(0 if left is not None and bound < 0 else left for left, bound in pairs))


def _expiry(grant: Grant) -> tuple[bool, datetime | None, int]:
    return grant.expires_at is None, grant.expires_at or grant.given_at, grant.grant_id
