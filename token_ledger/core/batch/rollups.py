"""Adds events to the roll-ups that a batch writes."""

from datetime import datetime
from typing import TypeVar

from token_ledger.core.batch.writes import RollupKey, RunKey, TagKey, Writes
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.usage import figures_of

Key = TypeVar("Key")


def roll_up(writes: Writes, event: UsageEvent, hour: datetime, day: datetime) -> None:
    """Add an event to the sums of its hour and day, of each of its tags, and of its run."""
    facts = event.facts
    figures = figures_of(event.calls, event.usage, event.cost_nanos)
    key = RollupKey(hour, day, facts.cost_center, facts.user, facts.agent_type, facts.model, facts.request_type)
    _add(writes.rollups, key, figures)
    for tag, content in facts.tags:
        _add(writes.tag_rollups, TagKey(day, tag, content), figures)
    if facts.run_id is not None:
        run_key = RunKey(facts.run_id, facts.agent_type, facts.tool or "", facts.model)
        _add(writes.run_rollups, run_key, figures)


def _add(sums: dict[Key, list[int]], key: Key, amounts: tuple[int, ...]) -> None:
    found = sums.get(key)
    if found is None:
        sums[key] = list(amounts)
    else:
        for position, amount in enumerate(amounts):
            found[position] += amount
