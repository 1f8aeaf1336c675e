"""Owns what a tenant has set up: calendar, budgets, triggers, people, and which accounts a call falls on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import NewType

from token_ledger.core.budget import TAG_PREFIX, Budget
from token_ledger.core.reservation import CallFacts
from token_ledger.core.trigger import Mode, Trigger
from token_ledger.core.values import value
from token_ledger.core.window import Calendar

TenantId = NewType("TenantId", int)
"""A tenant that authentication vouched for; made nowhere else but there and where tenants are made."""

Match = tuple[Budget, str]
"""A budget and the subject that a call stands for in it."""

UNASSIGNED = "unassigned"
"""The cost center of calls that name none, made by users who have none."""

_REMEMBERED_FACTS = 10_000


@value
class User:
    """Someone whom the tenant has told us of: cost centers, each from an instant on (None: always), ascending."""

    user: str
    cost_centers: tuple[tuple[datetime | None, str], ...] = ()

    def cost_center(self, at: datetime) -> str:
        """Return the cost center in force at an instant."""
        current = UNASSIGNED
        for since, cost_center in self.cost_centers:
            if since is None or since <= at:
                current = cost_center
        return current


def check_cost_centers(dated: Sequence[tuple[datetime | None, str]]) -> None:
    """Raise ValueError unless each cost center begins after the one before; only the first may have no beginning."""
    for (before, _), (since, _) in pairwise(dated):
        if since is None or (before is not None and since <= before):
            raise ValueError("cost centers ascend by `from`; only the first may have none")


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """One version of a tenant's set-up. Immutable, so that a process may keep it until the version moves on.

    `stopped` is the reason of an emergency stop, None while the tenant works. `has_users` says that users are known,
    so that a call's cost center may follow from its user.
    """

    tenant_id: TenantId
    version: int
    calendar: Calendar
    budgets: tuple[Budget, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    stopped: str | None = None
    has_users: bool = False
    _matches: dict[CallFacts, tuple[Match, ...]] = field(default_factory=dict, compare=False, repr=False)
    _by_id: dict[int, Budget] = field(default_factory=dict, compare=False, repr=False)

    @property
    def rolling_budgets(self) -> list[int]:
        """Return the ids of the budgets that roll over what a window leaves."""
        return [budget.budget_id for budget in self.budgets if budget.rollover is not None]

    @property
    def budgets_by_id(self) -> dict[int, Budget]:
        """Return the budgets in use by id."""
        if not self._by_id and self.budgets:
            self._by_id.update((budget.budget_id, budget) for budget in self.budgets)
        return self._by_id

    def matches(self, facts: CallFacts) -> tuple[Match, ...]:
        """Return every budget that selects a call, with the call's subject; remembered per facts."""
        found = self._matches.get(facts)
        if found is None:
            found = self._find_matches(facts)
            if len(self._matches) > _REMEMBERED_FACTS:
                self._matches.clear()
            self._matches[facts] = found
        return found

    def with_budgets(self, budgets: tuple[Budget, ...]) -> "TenantConfig":
        """Return the set-up with other budgets."""
        return replace(self, budgets=budgets, _matches={}, _by_id={})

    def _find_matches(self, facts: CallFacts) -> tuple[Match, ...]:
        values = {
            "cost_center": facts.cost_center,
            "user": facts.user,
            "agent_type": facts.agent_type,
            "model": facts.model,
            "request_type": facts.request_type,
        }
        if facts.tool is not None:
            values["tool"] = facts.tool
        if facts.run_id is not None:
            values["run"] = str(facts.run_id)
        values.update((TAG_PREFIX + name, value) for name, value in facts.tags)
        pairs = ((budget, budget.subject_of(values)) for budget in self.budgets)
        return tuple((budget, subject) for budget, subject in pairs if subject is not None)

    @property
    def active_triggers(self) -> tuple[Trigger, ...]:
        """Return the triggers that are evaluated."""
        return tuple(trigger for trigger in self.triggers if trigger.mode is not Mode.OFF)
