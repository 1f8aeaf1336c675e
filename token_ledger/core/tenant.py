"""Owns what a tenant has set up: its zone, budgets and triggers, and which accounts a call falls on."""

from dataclasses import dataclass, field
from datetime import tzinfo
from typing import NewType

from token_ledger.core.budget import TAG_PREFIX, Budget
from token_ledger.core.reservation import CallFacts
from token_ledger.core.trigger import Mode, Trigger

TenantId = NewType("TenantId", int)
"""A tenant that authentication vouched for; made nowhere else but there and where tenants are made."""

Match = tuple[Budget, str]
"""A budget and the subject that a call stands for in it."""

_REMEMBERED_FACTS = 10_000


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """One version of a tenant's set-up. Immutable, so that a process may keep it until the version moves on."""

    tenant_id: TenantId
    version: int
    zone: tzinfo
    budgets: tuple[Budget, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    _matches: dict[CallFacts, tuple[Match, ...]] = field(default_factory=dict, compare=False, repr=False)

    def matches(self, facts: CallFacts) -> tuple[Match, ...]:
        """Return every budget that selects a call, with the call's subject; remembered per facts."""
        found = self._matches.get(facts)
        if found is None:
            found = self._find_matches(facts)
            if len(self._matches) > _REMEMBERED_FACTS:
                self._matches.clear()
            self._matches[facts] = found
        return found

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
