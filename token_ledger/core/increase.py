"""Owns increases: what a user asks for on an account, and what an administrator decides about it (design D6)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.budget import Limits


class IncreaseState(StrEnum):
    """Where a request for more stands."""

    ASKED = "asked"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(slots=True)
class Increase:
    """A request for more on one account. `grant_id` is that of the grant where the increase is for a time only."""

    increase_id: int
    account_id: int
    amounts: Limits
    reason: str
    asked_by: str
    asked_at: datetime
    state: IncreaseState = IncreaseState.ASKED
    decided_by: str | None = None
    decided_at: datetime | None = None
    note: str | None = None
    grant_id: int | None = None
