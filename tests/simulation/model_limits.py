"""The model of limits: balances, thresholds, grants and rollover.

Windows come from the core's calendar, which has properties and tables of its own in tests/core/test_window.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from token_ledger.core.model.window import Calendar

UNITS = ("tokens", "cost", "calls")
Name = tuple[Any, ...]
Amounts = dict[str, int | None]


def amounts_of(limits: Any) -> Amounts:
    """Return limits of a command by unit."""
    return {"tokens": limits.tokens, "cost": limits.nanos, "calls": limits.calls}


@dataclass
class Balance:
    """What an account may hold, has settled, holds, and was booked beyond its holds, per unit."""

    limit: Amounts
    hard: bool = True
    uncached: bool = False
    settled: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    held: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    excess: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    thresholds: tuple[int, ...] = ()
    reached: dict[str, set[int]] = field(default_factory=lambda: {unit: set() for unit in UNITS})
    told: list[tuple[str, int, bool, bool]] = field(default_factory=list)
    """What was said of thresholds: unit, percent, whether it is reached, whether the account no longer has it."""
    base: Amounts = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None
    grants: list[dict[str, Any]] = field(default_factory=list)
    mark: dict[str, int] = field(default_factory=dict)
    leases: int = 0
    closed: bool = False
    earns: bool = True
    shrunk: bool = False
    """Whether the account may be over its limit, because the limit was lowered or the account was not always hard."""

    def __post_init__(self) -> None:
        self.base = dict(self.limit)

    def used(self, unit: str) -> int:
        """Return what is settled and held."""
        return self.settled[unit] + self.held[unit]

    def lacks(self, amounts: dict[str, int]) -> str | None:
        """Return the first unit without room."""
        for unit in UNITS:
            limit = self.limit[unit]
            if limit is not None and self.used(unit) + amounts[unit] > limit:
                return unit
        return None

    def is_open(self, now: datetime) -> bool:
        """Tell whether the window goes on."""
        return self.end is None or self.end > now

    def change(self, by: Amounts) -> None:
        """Change the limits, in units that have one."""
        for unit, amount in by.items():
            limit = self.limit[unit]
            if amount is not None and limit is not None:
                self.shrunk = self.shrunk or amount < 0
                self.limit[unit] = limit + amount
        self.watch()

    def take_over(self, limits: Amounts) -> None:
        """Have other limits than those that were last taken over, on top of which grants and increases came."""
        if any(self.base[unit] is not None and limits[unit] is None for unit in UNITS):
            self.spend()
        for unit in UNITS:
            wanted, before, limit = limits[unit], self.base[unit], self.limit[unit]
            if wanted is None and before is not None:
                self.limit[unit] = None
                for grant in self.grants:
                    grant["left"][unit] = None if grant["left"][unit] is None else 0
            elif wanted is not None and limit is None:
                self.limit[unit], self.shrunk = wanted, True
            elif wanted is not None and limit is not None:
                self.limit[unit] = limit + wanted - (before or 0)
                self.shrunk = self.shrunk or wanted < (before or 0)
        self.base = dict(limits)

    def watch(self) -> None:
        """Note the thresholds that have been reached, and those no longer reached."""
        for unit in UNITS:
            limit, settled = self.limit[unit], self.settled[unit]
            now = {p for p in self.thresholds if limit is not None and settled > 0 and settled * 100 >= p * limit}
            for percent in sorted(now ^ self.reached[unit]):
                gone = limit is None or percent not in self.thresholds
                self.told.append((unit, percent, percent in now, gone))
            self.reached[unit] = now

    # Grants

    def spend(self) -> None:
        """Consume grants by the rise of the use, in order of expiry."""
        if not self.grants:
            return
        for unit in UNITS:
            rise = max(0, self.used(unit) - self.mark[unit])
            for grant in sorted(self.grants, key=lambda g: (g["until"] is None, g["until"] or 0, g["number"])):
                if grant["left"][unit] is not None:
                    taken = min(rise, grant["left"][unit])
                    grant["left"][unit] -= taken
                    rise -= taken
            self.mark[unit] = max(self.mark[unit], self.used(unit))

    def give(self, grant: dict[str, Any]) -> None:
        """Add a grant."""
        self.spend()
        if not self.grants:
            self.mark = {unit: self.used(unit) for unit in UNITS}
        self.grants.append(grant)
        self.change(grant["amounts"])

    def lapse(self, now: datetime) -> list[dict[str, Any]]:
        """Let grants end; what is left of them goes. Return those that did."""
        due = [grant for grant in self.grants if grant["until"] is not None and grant["until"] <= now]
        if not due:
            return []
        self.spend()
        for grant in due:
            self.grants.remove(grant)
            if any(grant["left"].values()):
                self.change({unit: None if left is None else -left for unit, left in grant["left"].items()})
        return due


def limits_for(subject: Iterable[tuple[str, str]], limits: Amounts, overrides: Iterable[Any]) -> Amounts:
    """Return the limits of a subject: its own, or those for everyone."""
    pairs = set(subject)
    own = [amounts_of(limits) for named, limits in overrides if pairs >= set(named.pairs)]
    return own[0] if own else dict(limits)


def terms_at(budget: dict[str, Any], end: datetime, subject: Iterable[tuple[str, str]]) -> tuple[Amounts, Amounts]:
    """Return limits and cap that a subject had last before an instant, or its first ones if they are later."""
    told = [terms for since, *terms in budget["history"] if since < end] or [budget["history"][0][1:]]
    limits, cap, overrides = told[-1]
    return limits_for(subject, limits, overrides), cap


def rolled_over(budget: dict[str, Any], subject: Any, fresh: Balance, last: Balance, calendar: Calendar) -> Amounts:
    """Return what a new window gets, window by window from the last one that was used."""
    assert fresh.start is not None
    assert last.start is not None
    assert last.end is not None
    ends: list[datetime] = []
    begin = fresh.start
    while begin > last.start and len(ends) < 367:
        begin, end = calendar.previous(budget["command"].window, begin)
        ends.append(end)
    known = begin <= last.start
    ends = ends[:-1]
    carried: Amounts = {}
    for unit in UNITS:
        amount = 0
        if known:
            limits, cap = terms_at(budget, last.end, subject)
            limit, base = last.limit[unit], last.base[unit]
            besides = 0 if limit is None or base is None else limit - base
            amount = _kept(limits[unit], cap[unit], besides - last.used(unit))
        for end in reversed(ends):
            limits, cap = terms_at(budget, end, subject)
            amount = _kept(limits[unit], cap[unit], amount)
        carried[unit] = amount or None if fresh.limit[unit] is not None else None
    return carried


def _kept(limit: int | None, cap: int | None, besides: int) -> int:
    return 0 if limit is None or cap is None else max(0, min(cap, limit + besides))
