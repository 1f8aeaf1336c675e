"""Owns what re-costings add up to: on accounts, in roll-ups and by model.

They are added up where they are found, before the batch that books them: meanwhile nobody waits for the tenant's lock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from token_ledger.core.batch.rollup_keys import RollupKey, RunKey, TagKey, add_to_all
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.frozen import value
from token_ledger.core.model.plain_data import totals_data
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.recosting import (
    Basis,
    FoundRecosting,
    ModelTotals,
    Recosting,
    add_to_totals,
    totals_of,
)

Period = Callable[[datetime], tuple[datetime, datetime]]
"""Returns when the tenant's hour and day of an instant began."""


@dataclass(slots=True)
class RecostingSums:
    """The nano-dollars that re-costings book: in all, by the accounts they are on, and by the keys of roll-ups."""

    nanos: int = 0
    by_path: dict[tuple[int, ...], int] = field(default_factory=dict)
    rollups: dict[RollupKey, int] = field(default_factory=dict)
    tag_rollups: dict[TagKey, int] = field(default_factory=dict)
    run_rollups: dict[RunKey, int] = field(default_factory=dict)

    def add(self, event: UsageEvent, path: Sequence[int], nanos: int, period: Period) -> None:
        """Add what an event costs more or less."""
        self.nanos += nanos
        _add(self.by_path, (*path,), nanos)
        add_to_all(self, event.facts, *period(event.posted_at), nanos, _add)


@value
class DecidedRecostings:
    """Re-costings that were decided before the batch that books them, by one basis, with what they add up to.

    `rows` are the fields of their events (`RecostedEvent`) after the id, and `models` is what changes by model.
    """

    basis: Basis
    rows: tuple[tuple[Any, ...], ...]
    sums: RecostingSums
    models: list[dict[str, Any]]


class Gathered:
    """Re-costings that are found one after the other, by one basis."""

    def __init__(self, basis: Basis, period: Period) -> None:
        self._basis = basis
        self._period = period
        self._sums = RecostingSums()
        self._rows: list[tuple[Any, ...]] = []
        self._totals: dict[ModelName, ModelTotals] = {}

    def add(self, found: FoundRecosting, booked_at: datetime) -> None:
        """Add a re-costing of a call of which the last event was booked at an instant."""
        last, recosting = found.call.last, found.recosting
        self._sums.add(last, last.path, recosting.difference.nanos, self._period)
        self._rows.append(row_of(recosting, last, booked_at, last.path))
        add_to_totals(self._totals, recosting)

    @property
    def decided(self) -> DecidedRecostings:
        """All that was added."""
        models = [totals_data(self._totals[name]) for name in sorted(self._totals)]
        return DecidedRecostings(self._basis, (*self._rows,), self._sums, models)


def row_of(found: Recosting, last: UsageEvent, booked_at: datetime, path: list[int]) -> tuple[Any, ...]:
    """Return the fields after the id of what books a re-costing of a call, of which this is the last event."""
    price, listed, difference = found.price, found.listed, found.difference
    is_listed = difference.is_listed and listed is not None and listed.price_id != price.price_id
    return (
        last, booked_at, path, difference.nanos, price.price_id, price.discount_id,
        listed.price_id if is_listed and listed is not None else None, difference.list_nanos, difference.lines,
    )  # fmt: skip


def sums_of(recostings: Iterable[RecostedEvent], period: Period) -> RecostingSums:
    """Return what re-costings add up to."""
    sums = RecostingSums()
    for each in recostings:
        sums.add(each.recosted, each.path, each.cost_nanos, period)
    return sums


def models_of(found: Iterable[Recosting]) -> list[dict[str, Any]]:
    """Return what re-costings change by model, as the audit log says it."""
    return [*map(totals_data, totals_of(found))]


def _add(sums: dict[Any, int], key: Any, nanos: int) -> None:
    sums[key] = sums.get(key, 0) + nanos
