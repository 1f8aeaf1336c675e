"""Owns rollover: what a window gets of what the windows before it really left.

Each window counts by the limit and the cap that were in force at its end. It is fixed when the window's account is
made, and never taken back. Held amounts count as used.
"""

from collections.abc import Sequence
from datetime import datetime

from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Limits, Terms
from token_ledger.core.model.money import LARGEST_AMOUNT
from token_ledger.core.model.window import INSTANT, Calendar, Window

FARTHEST = 366
"""How many unused windows count at most."""


def terms_at(terms: Sequence[Terms], at: datetime) -> Terms:
    """Return the terms in force at an instant; before all of them, the first."""
    return next((each for each in reversed(terms) if each.since <= at), terms[0])


def rolled_over(
    window: Window, terms: Sequence[Terms], earlier: Account, account: Account, calendar: Calendar
) -> Limits:
    """Return what a new account gets on top of its limit, per unit; None where it gets nothing.

    `earlier` is the newest account before it of the same subject; `terms` are those of its budget, ascending. A window
    in between, without calls, leaves its limit and what it got itself, up to its cap. So nothing comes from before the
    subject's first account, nor from before rollover was switched on.
    """
    unused, is_reached = _unused_windows(window, terms, earlier.window_start, account.window_start, calendar)
    carried = _left_by(earlier, terms) if is_reached else (0, 0, 0)
    for each in reversed(unused):
        carried = _handed_on(each, each.limits_of(account.subject), carried)
    return Limits(*(_storable(*pair) for pair in zip(account.limits.amounts, carried, strict=True)))


Carried = tuple[int, int, int]
"""What one window hands on to the next, per unit."""


def _unused_windows(
    window: Window, terms: Sequence[Terms], earlier: datetime, start: datetime, calendar: Calendar
) -> tuple[list[Terms], bool]:
    """Return the terms at the end of each window between two accounts, the last first, and whether these are all."""
    unused: list[Terms] = []
    while len(unused) < FARTHEST:
        begin, end = calendar.previous(window, start)
        if begin <= earlier:
            return unused, True
        unused.append(terms_at(terms, end - INSTANT))
        start = begin
    return unused, False


def _left_by(account: Account, terms: Sequence[Terms]) -> Carried:
    """Return what an account hands on: its limit, with what it was given besides that of its budget, less its use."""
    last = terms_at(terms, account.last_instant)
    limits = last.limits_of(account.subject)
    given = zip(account.limits.amounts, account.base.amounts, strict=True)
    besides = [0 if limit is None or base is None else limit - base for limit, base in given]
    tokens, nanos, calls = (more - used for more, used in zip(besides, account.used, strict=True))
    return _handed_on(last, limits, (tokens, nanos, calls))


def _handed_on(terms: Terms, limits: Limits, carried: Carried) -> Carried:
    """Return what a window with these limits hands on of them and of what it got; nothing without limit or cap."""
    caps = (terms.rollover or Limits()).amounts
    tokens, nanos, calls = (
        0 if limit is None or cap is None else max(0, min(cap, limit + more))
        for limit, cap, more in zip(limits.amounts, caps, carried, strict=True)
    )
    return tokens, nanos, calls


def _storable(limit: int | None, carried: int) -> int | None:
    """Return what a unit gets: nothing if it has no limit, and no more than the largest limit that can be stored."""
    return None if limit is None else min(carried, LARGEST_AMOUNT - limit) or None
