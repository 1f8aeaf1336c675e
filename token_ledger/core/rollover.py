"""Owns rollover: what a window gets of what the ones before it left (design D6).

It is fixed once, when the window's account is made, and never clawed back. What is held counts as used.
"""

from datetime import datetime

from token_ledger.core.account import Account
from token_ledger.core.budget import Budget, Limits
from token_ledger.core.window import Calendar

FARTHEST = 366
"""How many windows back an unused one still counts."""


def rolled_over(
    budget: Budget, cap: Limits, earlier: Account | None, start: datetime, calendar: Calendar
) -> Limits:  # fmt: skip
    """Return what the window that begins at `start` gets on top of its limit, per unit; None where it gets nothing.

    `earlier` is the newest account of the same subject before it. Whole windows in between, in which nobody made a
    call, were not used at all; those before the budget was made do not count.
    """
    unused_windows, left = _look_back(budget, cap, earlier, start, calendar)
    return Limits(
        *(
            _carried(limit, most, rest, unused_windows)
            for limit, most, rest in zip(budget.limits.amounts, cap.amounts, left.amounts, strict=True)
        )
    )


def _carried(limit: int | None, most: int | None, rest: int | None, unused_windows: int) -> int | None:
    if limit is None or most is None:
        return None
    return min(most, (rest or 0) + unused_windows * limit) or None


def _look_back(
    budget: Budget, cap: Limits, earlier: Account | None, start: datetime, calendar: Calendar
) -> tuple[int, Limits]:
    """Return how many whole windows went by unused, and what the last used one left."""
    unused_windows = 0
    while unused_windows < FARTHEST and not _is_reached(budget.limits, cap, unused_windows):
        start = calendar.previous(budget.window, start)[0]
        if earlier is not None and earlier.window_start >= start:
            return unused_windows, _left_by(earlier)
        if start < budget.created_at:
            break
        unused_windows += 1
    return unused_windows, Limits()


def _is_reached(limits: Limits, cap: Limits, windows: int) -> bool:
    pairs = zip(limits.amounts, cap.amounts, strict=True)
    return all(limit is None or most is None or windows * limit >= most for limit, most in pairs)


def _left_by(account: Account) -> Limits:
    pairs = zip(account.limits.amounts, account.used, strict=True)
    return Limits(*(None if limit is None else max(0, limit - used) for limit, used in pairs))
