"""Puts a bill and the ledger side by side: a cell for each day of UTC, model (or item that is none) and project.

What a bill does not say anywhere, models or projects, no cell has. The ledger's side has the days from the first to
the last of the bill, and the providers in it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import NamedTuple

from token_ledger.core.model.price import STANDARD
from token_ledger.core.model.usage import Usage
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reconciliation.token_counts import NO_TOKENS, added, with_cache_as
from token_ledger.reports.utc_usage import UtcUsage


class Key(NamedTuple):
    """What a cell is of; texts are empty where the bill does not say it. Only a line that is no model has an `item`."""

    day: date
    provider: str
    model: str
    item: str
    project: str


@dataclass(slots=True)
class Billed:
    """What a bill says of a cell."""

    nanos: int = 0
    bound_nanos: int = 0
    by_tier: dict[str | None, Usage] = field(default_factory=dict)
    """The tokens by the service tier that is said; under None those of which none is said."""

    @property
    def usage(self) -> Usage:
        """The tokens of all service tiers."""
        return added(self.by_tier.values())

    @property
    def says_tokens(self) -> bool:
        """Whether it says tokens."""
        return self.usage != NO_TOKENS


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger has in a cell, without what reconciliations booked."""

    rows: tuple[UtcUsage, ...] = ()

    @property
    def nanos(self) -> int:
        """What the calls cost."""
        return sum(row.nanos for row in self.rows)

    @property
    def events(self) -> int:
        """How many events there are, of which one may be several calls."""
        return sum(row.events for row in self.rows)

    @property
    def usage(self) -> Usage:
        """The tokens of all service tiers."""
        return added(row.usage for row in self.rows)

    @property
    def by_tier(self) -> dict[str | None, Usage]:
        """The tokens of calls by their service tier."""
        tiers: dict[str | None, list[Usage]] = {}
        for row in self.rows:
            tiers.setdefault(row.service_tier or STANDARD, []).append(row.usage)
        return {tier: added(usages) for tier, usages in tiers.items()}

    @property
    def unpriced(self) -> "Booked":
        """The calls of which a part has no price."""
        return Booked(tuple(row for row in self.rows if row.unpriced))


@dataclass(frozen=True, slots=True)
class Cell:
    """Both sides of a key. `in_utc` is the ledger's side by the days of UTC, `booked` by those that the bill has."""

    key: Key
    billed: Billed
    booked: Booked
    in_utc: Booked
    adjusted_nanos: int
    """What reconciliations booked before."""
    adjustments: int
    """How many events that was."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Which cells there are: the days and providers of the bill, and whether it says models and projects."""

    first: date
    last: date
    providers: frozenset[str]
    says_models: bool
    says_projects: bool


def bill_sums(lines: Iterable[BillLine], names: Mapping[tuple[str, str], str]) -> dict[Key, Billed]:
    """Return what a bill says by key; `names` are what the ledger calls the models of the bill."""
    sums: dict[Key, Billed] = {}
    for line in lines:
        model = "" if line.model is None else names[line.provider, line.model]
        item = "" if line.model is not None else line.item or ""
        key = Key(line.begin.astimezone(UTC).date(), line.provider, model, item, line.project or "")
        cell = sums.setdefault(key, Billed())
        cell.nanos += line.amount.nanos
        cell.bound_nanos += line.amount.bound_nanos
        if line.usage != NO_TOKENS:
            before = cell.by_tier.get(line.service_tier, NO_TOKENS)
            cell.by_tier[line.service_tier] = added((before, line.usage))
    return sums


def grid_of(billed: Iterable[Key]) -> Grid:
    """Return the grid of the keys of a bill, of which there is at least one."""
    keys = tuple(billed)
    return Grid(
        min(key.day for key in keys), max(key.day for key in keys), frozenset(key.provider for key in keys),
        any(key.model for key in keys), any(key.project for key in keys),
    )  # fmt: skip


def key_of(row: UtcUsage, day: date, grid: Grid) -> Key:
    """Return the key of a row of the ledger on a day of the bill."""
    model = row.model if grid.says_models and not row.item else ""
    return Key(day, row.provider, model, row.item, (row.project or "") if grid.says_projects else "")


def booked_sums(rows: Iterable[UtcUsage], grid: Grid, offset: timedelta = timedelta()) -> dict[Key, Booked]:
    """Return what the ledger has by key, if the days of the bill begin so much before those of UTC."""
    sums: dict[Key, list[UtcUsage]] = {}
    for row in rows:
        day = (row.begin.astimezone(UTC) + offset).date()
        if row.provider in grid.providers and grid.first <= day <= grid.last:
            sums.setdefault(key_of(row, day, grid), []).append(row)
    return {key: Booked(tuple(each)) for key, each in sums.items()}


def with_shares_of_the_cache(billed: Billed, booked: Booked) -> Billed:
    """Return what a bill says with the ledger's shares of the cache, for a bill that does not say what was cached."""
    whole = booked.usage
    tiers = {tier: with_cache_as(usage, whole) for tier, usage in billed.by_tier.items()}
    return Billed(billed.nanos, billed.bound_nanos, tiers)


def says_cache(billed: Iterable[Billed]) -> bool:
    """Tell whether a bill says anywhere what was read from or written to a cache."""
    return any(any(each.usage.counts[2:5]) for each in billed)
