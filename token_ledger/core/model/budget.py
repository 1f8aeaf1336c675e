"""Owns budgets: how much the calls that they select may take in a window, and what happens at the limit.

A selector with `*` gives every distinct value an account of its own, so "50,000 tokens a day for every user" is one
budget.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from token_ledger.core.model.call import UNASSIGNED
from token_ledger.core.model.selector import ANY, NAMED_IN_BOOKS, Selector, any_dimensions, in_books, selects
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.window import ALL_TIME, Window


class Enforcement(StrEnum):
    """What a budget does to a call that does not fit: refuse it, warn, or only record that it would have."""

    HARD = "hard"
    SOFT = "soft"
    SHADOW = "shadow"


class Counts(StrEnum):
    """Which tokens a token limit counts: all of them, or not those read from the provider's cache."""

    ALL = "all"
    UNCACHED = "uncached"


class Unassigned(StrEnum):
    """What a budget per cost center does with calls that have none: one account for all of them, or one per user."""

    SHARED = "shared"
    PER_USER = "per_user"


class Unit(StrEnum):
    """What a limit is in; the order is the order of the checks."""

    TOKENS = "tokens"
    COST = "cost"
    CALLS = "calls"


DEFAULT_THRESHOLDS = (50, 75, 90, 100)
"""The shares of a limit, in percent, whose spending an account reports."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Amounts per unit. None means no limit, or in a change of limits that the unit stays as it is."""

    tokens: int | None = None
    nanos: int | None = None
    calls: int | None = None

    @property
    def amounts(self) -> tuple[int | None, int | None, int | None]:
        """All amounts, in the order of the units."""
        return self.tokens, self.nanos, self.calls

    def beyond(self, most: int) -> "Limits":
        """Return by how much each amount is larger than `most`, None where it is not."""
        return Limits(*(amount - most if amount is not None and amount > most else None for amount in self.amounts))

    def over(self, before: "Limits") -> "Limits":
        """Return these limits, and those of `before` where these are None."""
        pairs = zip(self.amounts, before.amounts, strict=True)
        return Limits(*(old if new is None else new for new, old in pairs))

    def without(self, units: Iterable[Unit]) -> "Limits":
        """Return these limits without those in some units."""
        gone = set(units)
        return Limits(*(None if unit in gone else amount for unit, amount in zip(Unit, self.amounts, strict=True)))

    @property
    def is_nothing(self) -> bool:
        """Whether no unit has an amount other than zero."""
        return not any(self.amounts)


NO_LIMITS = Limits()
"""No limit in any unit."""

Overrides = tuple[tuple[Subject, Limits], ...]
"""Subjects with limits of their own, which take the place of all those of their budget; sorted by text."""


def subject_in_books(selector: Selector, subject: Subject, name_of: Callable[[str, str], tuple[str, str]]) -> Subject:
    """Return a subject of a selector's accounts with the names that its model and provider have in the books.

    `name_of` takes a provider, empty if any will do, and a model.
    """
    values = dict(subject.pairs)
    booked, _ = in_books(tuple({**dict(selector), **values}.items()), name_of)
    return Subject({dimension: value for dimension, value in booked if dimension in values and isinstance(value, str)})


def overrides_in_books(
    selector: Selector, overrides: Overrides, name_of: Callable[[str, str], tuple[str, str]]
) -> Overrides:
    """Return overrides whose subjects have the names of the books, sorted by subject."""
    booked = ((subject_in_books(selector, subject, name_of), limits) for subject, limits in overrides)
    return tuple(sorted(booked, key=lambda override: override[0].text))


@dataclass(frozen=True, slots=True)
class Terms:
    """What a budget allows from an instant on."""

    since: datetime
    limits: Limits
    rollover: Limits | None = None
    overrides: Overrides = ()

    def limits_of(self, subject: Subject) -> Limits:
        """Return the limits of a subject."""
        if not self.overrides:
            return self.limits
        named = subject.only(dimension for dimension, _ in self.overrides[0][0].pairs)
        return next((limits for each, limits in self.overrides if each == named), self.limits)


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for a selector per window.

    `rollover` is the most that the next window gets of what this one leaves, per unit; None rolls nothing over. The
    subjects of `overrides` have the dimensions of which every value has an account of its own. `named` are the models
    and providers of the selector as they were given, where they have another name in the books.
    """

    budget_id: int
    name: str
    selector: Selector
    limits: Limits
    window: Window
    enforcement: Enforcement = Enforcement.HARD
    counts: Counts = Counts.ALL
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS
    rollover: Limits | None = None
    created_at: datetime = ALL_TIME
    overrides: Overrides = field(default=(), hash=False)
    unassigned: Unassigned = Unassigned.SHARED
    named: Selector = ()
    _limits_by_subject: dict[str, Limits] = field(init=False, default_factory=dict, compare=False, repr=False)

    @property
    def given_selector(self) -> Selector:
        """The selector as it was given."""
        return tuple({**dict(self.selector), **dict(self.named)}.items())

    def terms(self, since: datetime) -> Terms:
        """Return what the budget allows now, as in force from an instant on."""
        return Terms(since, self.limits, self.rollover, self.overrides)

    def subject_of(self, facts: Mapping[str, str]) -> Subject | None:
        """Return the subject that stands for a call's facts, or None where the selector does not match."""
        values: dict[str, str] = {}
        for dimension, wanted in self.selector:
            value = facts.get(dimension)
            if value is None or not selects(wanted, value, any_case=dimension in NAMED_IN_BOOKS):
                return None
            if wanted == ANY:
                values[dimension] = value
        if self.unassigned is Unassigned.PER_USER and values.get("cost_center") == UNASSIGNED:
            values["user"] = facts["user"]
        if self.window is Window.RUN:
            run = facts.get("run")
            if run is None:
                return None
            values["run"] = run
        return Subject(values)

    def check_subject(self, subject: Subject) -> None:
        """Raise ValueError unless an account can have this subject: a value for each dimension that is left open."""
        wanted = set(any_dimensions(self.selector))
        if self.unassigned is Unassigned.PER_USER and subject.get("cost_center") == UNASSIGNED:
            wanted.add("user")
        if self.window is Window.RUN:
            wanted.add("run")
        named = {dimension for dimension, _ in subject.pairs}
        if named != wanted:
            dimensions = " and ".join(sorted(wanted)) or "nothing: {}"
            raise ValueError(f"accounts of budget {self.name!r} stand for {dimensions}; give a value for each")

    def limits_of(self, subject: Subject) -> Limits:
        """Return the limits of a subject: those that override the budget's own, if there are any."""
        if not self.overrides:
            return self.limits
        known = self._limits_by_subject
        if not known:
            known.update((named.text, limits) for named, limits in self.overrides)
        return known.get(self._overridden(subject).text, self.limits)

    def _overridden(self, subject: Subject) -> Subject:
        """Return the subject without what a window per run or an account per unassigned user adds to it."""
        if self.window is not Window.RUN and self.unassigned is Unassigned.SHARED:
            return subject
        return subject.only(any_dimensions(self.selector))

    def subject_dimensions(self) -> tuple[str, ...]:
        """Return all dimensions that a subject of this budget can have, each once."""
        more = ["user"] if self.unassigned is Unassigned.PER_USER else []
        if self.window is Window.RUN:
            more.append("run")
        return tuple(dict.fromkeys((*any_dimensions(self.selector), *more)))
