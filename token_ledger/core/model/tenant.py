"""Owns what a tenant has set up: calendar, budgets, triggers, users; and which budgets select a call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import NewType

from token_ledger.core.model.budget import Budget, Terms
from token_ledger.core.model.call import UNASSIGNED, CallFacts
from token_ledger.core.model.frozen import value
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.price_terms import NO_TERMS, PriceTerms
from token_ledger.core.model.selector import TAG_PREFIX
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.trigger import Mode, Trigger
from token_ledger.core.model.window import FIRST_INSTANT, Calendar

TenantId = NewType("TenantId", int)
"""The id of a tenant that authentication has checked; made only there and where tenants are created."""

Match = tuple[Budget, Subject]
"""A budget and the subject that a call stands for in it."""

_REMEMBERED_FACTS = 10_000


@value
class User:
    """A user with cost centers, each in force from an instant on (None: always), ascending."""

    user: str
    cost_centers: tuple[tuple[datetime | None, str], ...] = ()

    def cost_center(self, at: datetime) -> str:
        """Return the cost center in force at an instant."""
        current = UNASSIGNED
        for since, cost_center in self.cost_centers:
            if since is None or since <= at:
                current = cost_center
        return current


def with_cost_centers(known: User | None, given: User) -> User:
    """Return a user with other cost centers from the first instant on that they are given for; earlier ones stay."""
    if known is None or not given.cost_centers:
        return known or given
    first = given.cost_centers[0][0]
    stay = () if first is None else tuple(each for each in known.cost_centers if each[0] is None or each[0] < first)
    return User(given.user, stay + given.cost_centers)


def check_cost_centers(dated: Sequence[tuple[datetime | None, str]]) -> None:
    """Raise ValueError unless each cost center begins after the one before; only the first may begin at None."""
    for (before, _), (since, _) in pairwise(dated):
        if since is None or (before is not None and since <= before):
            raise ValueError("cost centers ascend by `from`; only the first may have none, so sort them")


@value
class Erasure:
    """Replaces a user's name by a pseudonym in every row up to `last_id`."""

    user: str
    pseudonym: str
    last_id: int


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """One version of a tenant's set-up. Immutable, so a process may keep it until there is a newer version.

    `stopped` is the reason of an emergency stop, None if there is none. `has_users` says whether there are users, whose
    cost centers calls may take over. `erasures` are those under way. `name` is how metrics show the tenant. `terms` are
    what each budget allowed and allows, ascending. `renamed` are the names of models for which an administrator decided
    what they are in the books, among them all that are no longer names in the books. `price_terms` are what the tenant
    has added to the price book. `finds_duplicates` says whether the reports of one response of a provider are one call.
    """

    tenant_id: TenantId
    version: int
    calendar: Calendar
    budgets: tuple[Budget, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    stopped: str | None = None
    has_users: bool = False
    erasures: tuple[Erasure, ...] = ()
    name: str = ""
    terms: Mapping[int, tuple[Terms, ...]] = field(default_factory=dict)
    renamed: Mapping[tuple[str, str], ModelName] = field(default_factory=dict)
    price_terms: PriceTerms = NO_TERMS
    finds_duplicates: bool = True
    created_at: datetime = FIRST_INSTANT
    _matches: dict[tuple[CallFacts, tuple[int, ...]], tuple[Match, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )
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

    def matches(self, facts: CallFacts, lineage: tuple[int, ...]) -> tuple[Match, ...]:
        """Return every budget that selects a call, with each subject that the call counts for.

        `lineage` are the call's run and the runs that it is a part of: a budget per run counts the call for each of
        them. Remembered per facts and lineage.
        """
        asked = facts, lineage
        found = self._matches.get(asked)
        if found is None:
            found = self._find_matches(facts, lineage)
            if len(self._matches) > _REMEMBERED_FACTS:
                self._matches.clear()
            self._matches[asked] = found
        return found

    def user_of(self, name: str, row_id: int) -> str:
        """Return the user of a stored row: the pseudonym, if the user was erased after the row was written."""
        for erasure in self.erasures:
            if erasure.user == name and row_id <= erasure.last_id:
                return erasure.pseudonym
        return name

    def with_budgets(self, budgets: tuple[Budget, ...]) -> "TenantConfig":
        """Return the set-up with other budgets."""
        return replace(self, budgets=budgets, _matches={}, _by_id={})

    def with_terms(self, budget_id: int, terms: tuple[Terms, ...]) -> "TenantConfig":
        """Return the set-up in which a budget has other terms."""
        return replace(self, terms={**self.terms, budget_id: terms})

    def terms_of(self, budget: Budget) -> tuple[Terms, ...]:
        """Return what a budget allowed and allows, ascending."""
        return self.terms.get(budget.budget_id) or (budget.terms(budget.created_at),)

    def _find_matches(self, facts: CallFacts, lineage: tuple[int, ...]) -> tuple[Match, ...]:
        values = {
            "cost_center": facts.cost_center,
            "user": facts.user,
            "agent_type": facts.agent_type,
            "request_type": facts.request_type,
        }
        if facts.model:
            values["provider"], values["model"] = facts.provider, facts.model
        if facts.tool is not None:
            values["tool"] = facts.tool
        values.update((TAG_PREFIX + name, value) for name, value in facts.tags)
        in_each = [{**values, "run": str(run_id)} for run_id in lineage] or [values]
        pairs = ((budget, budget.subject_of(each)) for budget in self.budgets for each in in_each)
        # A budget whose selector leaves the run out has one subject for all of them, and counts the call once.
        return tuple(dict.fromkeys((budget, subject) for budget, subject in pairs if subject is not None))

    @property
    def active_triggers(self) -> tuple[Trigger, ...]:
        """Return the triggers that are evaluated."""
        return tuple(trigger for trigger in self.triggers if trigger.mode is not Mode.OFF)
