"""What the model knows of limits: balances, the thresholds they reach, grants spent and lapsing, rollover.

Windows come from the core's calendar, which has properties and tables of its own in tests/core/test_window.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from token_ledger.core.window import Calendar

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
    told: list[tuple[str, int, bool]] = field(default_factory=list)
    base: Amounts = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None
    grants: list[dict[str, Any]] = field(default_factory=list)
    mark: dict[str, int] = field(default_factory=dict)
    leases: int = 0
    closed: bool = False
    shrunk: bool = False
    """Whether its limit was lowered, or it was not always hard: then it may be over its limit."""

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
        """Change the limits."""
        for unit, amount in by.items():
            if amount is not None:
                self.shrunk = self.shrunk or amount < 0 or self.limit[unit] is None
                self.limit[unit] = (self.limit[unit] or 0) + amount
        self.watch()

    def watch(self) -> None:
        """Tell of thresholds that are reached now and were not, and the other way round."""
        for unit in UNITS:
            limit, settled = self.limit[unit], self.settled[unit]
            now = {p for p in self.thresholds if limit is not None and settled > 0 and settled * 100 >= p * limit}
            self.told += [(unit, percent, True) for percent in sorted(now - self.reached[unit])]
            self.told += [(unit, percent, False) for percent in sorted(self.reached[unit] - now)]
            self.reached[unit] = now

    # Grants

    def spend(self) -> None:
        """Take what the use rose since last time from the grants, the one that ends soonest first."""
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


def rolled_over(
    budget: dict[str, Any], subject: Any, start: datetime, accounts: Iterable[tuple[Name, Balance]], calendar: Calendar
) -> Amounts:
    """Return what a new window gets, window by window from the last one that was used."""
    command, cap = budget["command"], amounts_of(budget["rollover"])
    limits = budget["limits"]
    earlier = {
        name[3]: account for name, account in accounts
        if name[:3] == ("budget", budget["id"], subject) and name[3] < start
    }  # fmt: skip
    last = max(earlier, default=None)
    idle, found, begin = 0, None, start
    while idle < 366:
        begin = calendar.previous(command.window, begin)[0]
        if last is not None and last >= begin:
            found = earlier[last]
            break
        if begin < budget["created_at"]:
            break
        idle += 1
    carried: Amounts = {}
    for unit in UNITS:
        each, most = limits[unit], cap[unit]
        if each is None or most is None:
            carried[unit] = None
            continue
        amount, left = 0, None if found is None else found.limit[unit]
        if found is not None and left is not None:
            amount = min(most, max(0, left - found.used(unit)))
        for _ in range(idle):
            amount = min(most, amount + each)
        carried[unit] = amount or None
    return carried
