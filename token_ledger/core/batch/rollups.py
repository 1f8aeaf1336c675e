"""Adds events to the roll-ups that a batch writes."""

from collections.abc import Callable, Iterable
from datetime import datetime
from operator import add
from typing import Any, TypeVar

from token_ledger.core.batch.writes import RollupKey, RunKey, TagKey, Writes
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.usage import Figures, figures_of

Amounts = TypeVar("Amounts")


def roll_up(writes: Writes, event: UsageEvent, hour: datetime, day: datetime) -> None:
    """Add an event to the sums of its hour and day, of each of its tags, and of its run."""
    _add_all(writes, event, hour, day, figures_of(event.calls, event.usage, event.cost_nanos), _add)


def roll_up_recostings(
    writes: Writes, recostings: Iterable[RecostedEvent], period: Callable[[datetime], tuple[datetime, datetime]]
) -> None:
    """Add what events cost more or less to the sums that they are in."""
    for each in recostings:
        event = each.recosted
        _add_all(writes, event, *period(event.posted_at), each.cost_nanos, _add_cost)


def costs_by_path(recostings: Iterable[RecostedEvent]) -> dict[tuple[int, ...], int]:
    """Return what re-costings add up to, by the accounts that they are on."""
    sums: dict[tuple[int, ...], int] = {}
    for each in recostings:
        path = tuple(each.path)
        sums[path] = sums.get(path, 0) + each.cost_nanos
    return sums


_NOTHING = (0,) * (len(Figures._fields) - 1)
"""The figures before the cost, which is the last."""


def _add_all(
    writes: Writes, event: UsageEvent, hour: datetime, day: datetime, amounts: Amounts,
    add_to: Callable[[dict[Any, list[int]], Any, Amounts], None],
) -> None:  # fmt: skip
    facts = event.facts
    key = RollupKey(hour, day, facts.cost_center, facts.user, facts.agent_type, facts.model, facts.request_type)
    add_to(writes.rollups, key, amounts)
    for tag, content in facts.tags:
        add_to(writes.tag_rollups, TagKey(day, tag, content), amounts)
    if facts.run_id is not None:
        run_key = RunKey(facts.run_id, facts.agent_type, facts.tool or "", facts.model)
        add_to(writes.run_rollups, run_key, amounts)


def _add(sums: dict[Any, list[int]], key: Any, amounts: tuple[int, ...]) -> None:
    found = sums.get(key)
    sums[key] = [*amounts] if found is None else [*map(add, found, amounts)]


def _add_cost(sums: dict[Any, list[int]], key: Any, nanos: int) -> None:
    found = sums.get(key)
    if found is None:
        sums[key] = [*_NOTHING, nanos]
    else:
        found[-1] += nanos
