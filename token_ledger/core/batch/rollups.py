"""Adds events to the roll-ups that a batch writes.

Most calls of a batch have the facts and the hour of another one, so they are added up by these first: what follows from
facts and hour, a key of each roll-up and one of each tag, is then made once for all of them.
"""

from operator import add
from typing import Any

from token_ledger.core.batch.recosting_sums import RecostingSums
from token_ledger.core.batch.rollup_keys import add_to_all
from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.usage import Figures, add_figures, figures_of
from token_ledger.core.model.window import Period

_NOTHING = (0,) * (len(Figures._fields) - 1)
"""The figures before the cost, which is the last."""


def add_event(writes: Writes, event: UsageEvent, period: Period) -> None:
    """Add an event to the sums of its facts and its hour and day."""
    key = event.facts, period
    found = writes.sums.get(key)
    if found is None:
        writes.sums[key] = [*figures_of(event.calls, event.usage, event.cost_nanos)]
    else:
        add_figures(found, event.calls, event.usage, event.cost_nanos)


def roll_up(writes: Writes) -> None:
    """Add what was added up by facts to the sums of its hours and days, of each of its tags, and of its runs."""
    for (facts, (hour, day)), figures in writes.sums.items():
        add_to_all(writes, facts, hour, day, figures, _add)
    writes.sums.clear()


def roll_up_recostings(writes: Writes, recostings: RecostingSums) -> None:
    """Add what events cost more or less to the sums that they are in."""
    _add_costs(writes.rollups, recostings.rollups)
    _add_costs(writes.tag_rollups, recostings.tag_rollups)
    _add_costs(writes.run_rollups, recostings.run_rollups)


def _add(sums: dict[Any, list[int]], key: Any, amounts: list[int]) -> None:
    found = sums.get(key)
    sums[key] = [*amounts] if found is None else [*map(add, found, amounts)]


def _add_costs(sums: dict[Any, list[int]], costs: dict[Any, int]) -> None:
    for key, nanos in costs.items():
        found = sums.get(key)
        if found is None:
            sums[key] = [*_NOTHING, nanos]
        else:
            found[-1] += nanos
