"""Owns runs: one execution context with limits of its own, split over agent types (design D7)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.account import RUN_BUDGET, AccountKey
from token_ledger.core.allocation import Share
from token_ledger.core.budget import Limits, subject_text
from token_ledger.core.values import value
from token_ledger.core.window import ALL_TIME


class RunState(StrEnum):
    """Cancelled and closed runs refuse reserves; settles of their holds are still booked."""

    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"


DEEPEST = 8
"""How many runs deep sub-runs may go, the first one included."""


@dataclass(slots=True)
class Run:
    """One user's request worked on by agents. `allocated` maps the agent types with a share to their tokens.

    `ancestors` are the runs that it is a part of, the first one first: what it uses, they use. `iterations` counts
    explicit steps, its own and those of its sub-runs.
    """

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
    ancestors: tuple[int, ...] = ()
    limit_iterations: int | None = None
    iterations: int = 0

    @property
    def lineage(self) -> tuple[int, ...]:
        """The ids of its ancestors and its own."""
        return (*self.ancestors, self.run_id)


@value
class Step:
    """One iteration of a run, counted on it and on its ancestors; `iteration` is its number on the run itself."""

    step_id: int
    run_id: int
    iteration: int
    label: str | None


@dataclass(frozen=True, slots=True)
class Preset:
    """Limits and a split that a run can be opened with by name."""

    limits: Limits
    iterations: int | None
    shares: tuple[Share, ...]


DEFAULT_SHARES = tuple(
    Share(agent_type, weight, 200)
    for agent_type, weight in (
        ("triage", 500), ("data", 3000), ("optimization", 2000), ("action", 1000), ("reporting", 1500),
    )
)  # fmt: skip

PRESETS = {
    "job": Preset(Limits(tokens=50_000), 20, DEFAULT_SHARES),
    "open_end": Preset(Limits(), None, ()),
}
"""What a run's limits may be called by. A run that names none has only the limits that it was opened with."""


def run_account_key(run_id: int) -> AccountKey:
    """Return the key of the account that holds a run's own limits and totals."""
    return RUN_BUDGET, subject_text({"run": str(run_id)}), ALL_TIME


def allocation_account_key(run_id: int, agent_type: str) -> AccountKey:
    """Return the key of the account that holds an agent type's share of a run."""
    return RUN_BUDGET, subject_text({"agent_type": agent_type, "run": str(run_id)}), ALL_TIME
