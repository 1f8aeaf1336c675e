"""Owns runs: one execution context with limits of its own, split over agent types (design D7)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.budget import RUN_BUDGET, AccountKey, Limits, subject_text
from token_ledger.core.window import ALL_TIME


class RunState(StrEnum):
    """Cancelled and closed runs refuse reserves; settles of their holds are still booked."""

    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Run:
    """One user's request worked on by agents. `allocated` maps the agent types with a share to their tokens."""

    run_id: int
    user: str
    cost_center: str
    external_id: str | None
    strict: bool
    limits: Limits
    allocated: dict[str, int]
    created_at: datetime
    state: RunState = RunState.OPEN
    ended_at: datetime | None = None


def run_account_key(run_id: int) -> AccountKey:
    """Return the key of the account that holds a run's own limits and totals."""
    return RUN_BUDGET, subject_text({"run": str(run_id)}), ALL_TIME


def allocation_account_key(run_id: int, agent_type: str) -> AccountKey:
    """Return the key of the account that holds an agent type's share of a run."""
    return RUN_BUDGET, subject_text({"agent_type": agent_type, "run": str(run_id)}), ALL_TIME
