"""Owns what roll-ups add events up by."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from token_ledger.core.model.call import CallFacts

Amounts = TypeVar("Amounts")


class RollupKey(NamedTuple):
    """What an event is added up by: each roll-up has some of these. Hour and day are the tenant's, as UTC instants."""

    hour: datetime
    day: datetime
    cost_center: str
    user_id: str
    agent_type: str
    model: str
    request_type: str


class TagKey(NamedTuple):
    """What an event is added up by once for every tag."""

    day: datetime
    tag: str
    value: str


class RunKey(NamedTuple):
    """What an event of a run is added up by; a call without a tool has the empty one."""

    run_id: int
    agent_type: str
    tool: str
    model: str


class Sums(Protocol):
    """Sums by the keys of all roll-ups."""

    @property
    def rollups(self) -> dict[RollupKey, Any]:
        """Those of hours and days."""

    @property
    def tag_rollups(self) -> dict[TagKey, Any]:
        """Those of tags."""

    @property
    def run_rollups(self) -> dict[RunKey, Any]:
        """Those of runs."""


def add_to_all(
    sums: Sums, facts: CallFacts, hour: datetime, day: datetime, amounts: Amounts,
    add_to: Callable[[dict[Any, Any], Any, Amounts], None],
) -> None:  # fmt: skip
    """Add amounts to the sums of an hour and a day, of each of the tags, and of the run."""
    key = RollupKey(hour, day, facts.cost_center, facts.user, facts.agent_type, facts.model, facts.request_type)
    add_to(sums.rollups, key, amounts)
    for tag, content in facts.tags:
        add_to(sums.tag_rollups, TagKey(day, tag, content), amounts)
    if facts.run_id is not None:
        run_key = RunKey(facts.run_id, facts.agent_type, facts.tool or "", facts.model)
        add_to(sums.run_rollups, run_key, amounts)
