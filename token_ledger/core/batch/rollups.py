"""Adds events to the roll-ups that a batch writes."""

from datetime import datetime
from operator import add
from typing import Any

from token_ledger.core.batch.recosting_sums import RecostingSums
from token_ledger.core.batch.rollup_keys import add_to_all
from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.usage import Figures, figures_of

_NOTHING = (0,) * (len(Figures._fields) - 1)
"""The figures before the cost, which is the last."""


def roll_up(writes: Writes, event: UsageEvent, hour: datetime, day: datetime) -> None:
    """Add an event to the sums of its hour and day, of each of its tags, and of its run."""
    add_to_all(writes, event.facts, hour, day, figures_of(event.calls, event.usage, event.cost_nanos), _add)


def roll_up_recostings(writes: Writes, recostings: RecostingSums) -> None:
    """Add what events cost more or less to the sums that they are in."""
    _add_costs(writes.rollups, recostings.rollups)
    _add_costs(writes.tag_rollups, recostings.tag_rollups)
    _add_costs(writes.run_rollups, recostings.run_rollups)


def _add(sums: dict[Any, list[int]], key: Any, amounts: tuple[int, ...]) -> None:
    found = sums.get(key)
    sums[key] = [*amounts] if found is None else [*map(add, found, amounts)]


def _add_costs(sums: dict[Any, list[int]], costs: dict[Any, int]) -> None:
    for key, nanos in costs.items():
        found = sums.get(key)
        if found is None:
            sums[key] = [*_NOTHING, nanos]
        else:
            found[-1] += nanos
