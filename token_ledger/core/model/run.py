"""Owns runs: one execution context with limits of its own, split over agent types."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from token_ledger.core.model.account import RUN_BUDGET, AccountKey
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.frozen import value
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.window import ALL_TIME


class RunState(StrEnum):
    """Cancelled and closed runs refuse reserves; settles of their holds are still booked."""

    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"


DEEPEST = 8
"""How many runs deep sub-runs may go, the first one included."""


@dataclass(slots=True)
class Run:
    """One user's request that agents work on. `allocated` maps the agent types that have a share to their tokens.

    `ancestors` are the runs that it is a part of, outermost first; what it uses counts on them too. `iterations` counts
    its own steps and those of its sub-runs.
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
class RunStep:
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
"""Presets by name. A run without a preset has only the limits that it was opened with."""

_REMEMBERED_SUBJECTS = 10_000


@lru_cache(_REMEMBERED_SUBJECTS)
def run_subject(run_id: int) -> Subject:
    """Return the subject of the account that holds a run's own limits and totals."""
    return Subject({"run": str(run_id)})


@lru_cache(_REMEMBERED_SUBJECTS)
def allocation_subject(run_id: int, agent_type: str) -> Subject:
    """Return the subject of the account that holds an agent type's share of a run."""
    return Subject({"agent_type": agent_type, "run": str(run_id)})


def run_account_key(run_id: int) -> AccountKey:
    """Return the key of the account that holds a run's own limits and totals."""
    return RUN_BUDGET, run_subject(run_id).text, ALL_TIME


def allocation_account_key(run_id: int, agent_type: str) -> AccountKey:
    """Return the key of the account that holds an agent type's share of a run."""
    return RUN_BUDGET, allocation_subject(run_id, agent_type).text, ALL_TIME
