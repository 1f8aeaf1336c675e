"""Adds events to the roll-ups that a batch writes."""

from collections.abc import Callable, Iterable
from datetime import datetime
from operator import add
from typing import TypeVar

from token_ledger.core.batch.writes import RollupKey, RunKey, TagKey, Writes
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.usage import Figures, figures_of

Key = TypeVar("Key")


def roll_up(writes: Writes, event: UsageEvent, hour: datetime, day: datetime) -> None:
    """Add an event to the sums of its hour and day, of each of its tags, and of its run."""
    _add_all(writes, event, hour, day, figures_of(event.calls, event.usage, event.cost_nanos))


def roll_up_recostings(
    writes: Writes, recostings: Iterable[RecostedEvent], period: Callable[[datetime], tuple[datetime, datetime]]
) -> None:
    """Add what events cost more or less to the sums that they are in."""
    for each in recostings:
        event = each.recosted
        _add_all(writes, event, *period(event.posted_at), (*_NOTHING, each.cost_nanos))


def costs_by_path(recostings: Iterable[RecostedEvent]) -> dict[tuple[int, ...], int]:
    """Return what re-costings add up to, by the accounts that they are on."""
    sums: dict[tuple[int, ...], int] = {}
    for each in recostings:
        path = tuple(each.path)
        sums[path] = sums.get(path, 0) + each.cost_nanos
    return sums


_NOTHING = (0,) * (len(Figures._fields) - 1)
"""The figures before the cost, which is the last."""


def _add_all(writes: Writes, event: UsageEvent, hour: datetime, day: datetime, figures: tuple[int, ...]) -> None:
    facts = event.facts
    key = RollupKey(hour, day, facts.cost_center, facts.user, facts.agent_type, facts.model, facts.request_type)
    _add(writes.rollups, key, figures)
    for tag, content in facts.tags:
        _add(writes.tag_rollups, TagKey(day, tag, content), figures)
    if facts.run_id is not None:
        run_key = RunKey(facts.run_id, facts.agent_type, facts.tool or "", facts.model)
        _add(writes.run_rollups, run_key, figures)


def _add(sums: dict[Key, list[int]], key: Key, amounts: tuple[int, ...]) -> None:
    found = sums.get(key)
    sums[key] = [*amounts] if found is None else [*map(add, found, amounts)]
