"""Owns budgets: which calls one selects, how much they may take in a window, and what happens at its limit (design D4).

A selector names dimensions, each with a value or `*`; `*` gives every distinct value an account of its own, so that
"every user 50,000 tokens a day" is one budget.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.window import ALL_TIME, Window

ANY = "*"
DIMENSIONS = ("cost_center", "user", "agent_type", "model", "request_type", "tool", "run")
TAG_PREFIX = "tag."


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


DEFAULT_THRESHOLDS = (50, 75, 90, 100)
"""Percent of a limit at which an account reports how much of it is spent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Amounts per unit: as a limit None is none, as a change of a limit None leaves the unit alone."""

    tokens: int | None = None
    nanos: int | None = None
    calls: int | None = None

    @property
    def amounts(self) -> tuple[int | None, int | None, int | None]:
        """All amounts, in the order of the units."""
        return self.tokens, self.nanos, self.calls

    def lowered_by(self, other: "Limits") -> "Limits":
        """Return what remains of each amount once the other's is taken away; None stays None."""
        return Limits(*(_less(mine, its) for mine, its in zip(self.amounts, other.amounts, strict=True)))

    def raised_by(self, other: "Limits") -> "Limits":
        """Return the sum per unit; None is nothing where the other has an amount."""
        return Limits(*(_more(mine, its) for mine, its in zip(self.amounts, other.amounts, strict=True)))

    def over(self, before: "Limits") -> "Limits":
        """Return these limits, with those before where these say nothing."""
        pairs = zip(self.amounts, before.amounts, strict=True)
        return Limits(*(old if new is None else new for new, old in pairs))

    @property
    def is_nothing(self) -> bool:
        """Whether no unit has an amount other than zero."""
        return not any(self.amounts)


def _less(mine: int | None, its: int | None) -> int | None:
    return mine if mine is None or its is None else mine - its


def _more(mine: int | None, its: int | None) -> int | None:
    return its if mine is None else mine if its is None else mine + its


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for a selector per window. `selector` is sorted by dimension.

    `rollover` caps what the next window gets of what this one leaves, per unit; None rolls nothing over.
    """

    budget_id: int
    name: str
    selector: tuple[tuple[str, str], ...]
    limits: Limits
    window: Window
    enforcement: Enforcement = Enforcement.HARD
    counts: Counts = Counts.ALL
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS
    rollover: Limits | None = None
    created_at: datetime = ALL_TIME

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
