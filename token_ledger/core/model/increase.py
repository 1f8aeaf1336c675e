"""Owns increases: requests for a higher limit on an account, which an administrator decides on."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.model.budget import Limits


class IncreaseState(StrEnum):
    """Whether a request was decided on, and how."""

    ASKED = "asked"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(slots=True)
class Increase:
    """A request for a higher limit. `grant_id` is the grant that was given if the increase is for a limited time."""

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
