"""Owns refusals: why one account has no room for a call, with its figures at that moment."""

from datetime import datetime

from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Enforcement, Unit
from token_ledger.core.model.frozen import value
from token_ledger.core.model.subject import Subject


@value
class Refusal:
    """What one account had of the unit that is short, and what was requested of it; money is in nano-dollars.

    `calls` says how many of the calls that were asked for it refuses: of a lease, those that do not fit any more.
    """

    account_id: int
    budget: str
    enforcement: Enforcement
    subject: Subject
    unit: Unit
    limit: int
    settled: int
    held: int
    requested: int
    window_start: datetime
    window_end: datetime | None
    calls: int = 1

    @property
    def available(self) -> int:
        """What is left of the limit; below zero after an overrun."""
        return self.limit - self.settled - self.held


def refuse(account: Account, unit: Unit, requested: int, calls: int) -> Refusal:
    """Return the refusal by an account that has too little left in a unit in which it has a limit."""
    limit, settled, held = account.figures(unit)
    assert limit is not None, "an account without a limit refuses nothing"
    return Refusal(
        account_id=account.account_id,
        budget=account.budget,
        enforcement=account.enforcement,
        subject=account.subject,
        unit=unit,
        limit=limit,
        settled=settled,
        held=held,
        requested=requested,
        window_start=account.window_start,
        window_end=account.window_end,
        calls=calls,
    )
