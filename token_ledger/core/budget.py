"""Owns budgets and the accounts they make: a budget selects calls, an account holds their balance (design D4).

A selector names dimensions, each with a value or `*`; `*` gives every distinct value an account of its own, so that
"every user 50,000 tokens a day" is one budget.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.window import Window

ANY = "*"
DIMENSIONS = ("cost_center", "user", "agent_type", "model", "request_type", "tool", "run")
TAG_PREFIX = "tag."

RUN_BUDGET = 0
"""The budget id of the accounts that hold a run's own limits and its allocations."""

AccountKey = tuple[int, str, datetime]
"""Budget id, subject, start of the window: what makes an account unique in its tenant."""


class Enforcement(StrEnum):
    """What a budget does to a call that does not fit: refuse it, warn, or only record that it would have."""

    HARD = "hard"
    SOFT = "soft"
    SHADOW = "shadow"


class Counts(StrEnum):
    """Which tokens a token limit counts: all of them, or not those read from the provider's cache."""

    ALL = "all"
    UNCACHED = "uncached"


class Unit(StrEnum):
    """What a limit is in; the order is the order of the checks."""

    TOKENS = "tokens"
    COST = "cost"
    CALLS = "calls"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that an account may hold and settle, per unit; None is no limit."""

    tokens: int | None = None
    nanos: int | None = None
    calls: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for a selector per window. `selector` is sorted by dimension."""

    budget_id: int
    name: str
    selector: tuple[tuple[str, str], ...]
    limits: Limits
    window: Window
    enforcement: Enforcement = Enforcement.HARD
    counts: Counts = Counts.ALL

    def subject_of(self, facts: Mapping[str, str]) -> str | None:
        """Return the subject that stands for a call's facts, or None where the selector does not match."""
        values: dict[str, str] = {}
        for dimension, wanted in self.selector:
            value = facts.get(dimension)
            if value is None or wanted not in (ANY, value):
                return None
            if wanted == ANY:
                values[dimension] = value
        if self.window is Window.RUN:
            run = facts.get("run")
            if run is None:
                return None
            values["run"] = run
        return subject_text(values)


def subject_text(values: Mapping[str, str]) -> str:
    """Return the canonical text of a subject: JSON with sorted keys."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def check_selector(selector: Mapping[str, str]) -> None:
    """Raise ValueError naming the first dimension that is not one, or whose value is empty."""
    for dimension, value in selector.items():
        if dimension not in DIMENSIONS and not (dimension.startswith(TAG_PREFIX) and len(dimension) > len(TAG_PREFIX)):
            raise ValueError(f"{dimension!r} is no dimension; use one of {', '.join(DIMENSIONS)} or tag.<name>")
        if not value:
            raise ValueError(f'{dimension} needs a value or "*"')


class Account:
    """The balance of one budget, subject and window. Mutable: a batch works on its own copy.

    Tokens are those that `counts` says. A limit of None is no limit. `allotted` accounts are made with a run.
    """

    __slots__ = (
        "account_id",
        "budget",
        "budget_id",
        "counts",
        "enforcement",
        "held_calls",
        "held_nanos",
        "held_tokens",
        "limit_calls",
        "limit_nanos",
        "limit_tokens",
        "settled_calls",
        "settled_nanos",
        "settled_tokens",
        "subject",
        "window_end",
        "window_start",
    )  # fmt: skip

    def __init__(
        self,
        account_id: int,
        budget_id: int,
        budget: str,
        subject: str,
        window_start: datetime,
        window_end: datetime | None,
        enforcement: Enforcement,
        counts: Counts,
        limits: Limits,
    ) -> None:
        self.account_id = account_id
        self.budget_id = budget_id
        self.budget = budget
        self.subject = subject
        self.window_start = window_start
        self.window_end = window_end
        self.enforcement = enforcement
        self.counts = counts
        self.limit_tokens = limits.tokens
        self.limit_nanos = limits.nanos
        self.limit_calls = limits.calls
        self.settled_tokens = self.settled_nanos = self.settled_calls = 0
        self.held_tokens = self.held_nanos = self.held_calls = 0

    @property
    def key(self) -> AccountKey:
        """What makes this account unique in its tenant."""
        return self.budget_id, self.subject, self.window_start

    def lacking(self, tokens: int, nanos: int, calls: int) -> Unit | None:
        """Return the first unit in which a hold does not fit, or None where it fits."""
        limit = self.limit_tokens
        if limit is not None and self.settled_tokens + self.held_tokens + tokens > limit:
            return Unit.TOKENS
        limit = self.limit_nanos
        if limit is not None and self.settled_nanos + self.held_nanos + nanos > limit:
            return Unit.COST
        limit = self.limit_calls
        if limit is not None and self.settled_calls + self.held_calls + calls > limit:
            return Unit.CALLS
        return None

    def hold(self, tokens: int, nanos: int, calls: int) -> None:
        """Set amounts aside; negative amounts give them back."""
        self.held_tokens += tokens
        self.held_nanos += nanos
        self.held_calls += calls

    def settle(self, tokens: int, nanos: int, calls: int) -> None:
        """Book actual amounts, whatever the limit: actual spend is always booked (design D2)."""
        self.settled_tokens += tokens
        self.settled_nanos += nanos
        self.settled_calls += calls

    def figures(self, unit: Unit) -> tuple[int | None, int, int]:
        """Return limit, settled and held in a unit (money in nano-dollars)."""
        if unit is Unit.TOKENS:
            return self.limit_tokens, self.settled_tokens, self.held_tokens
        if unit is Unit.COST:
            return self.limit_nanos, self.settled_nanos, self.held_nanos
        return self.limit_calls, self.settled_calls, self.held_calls
