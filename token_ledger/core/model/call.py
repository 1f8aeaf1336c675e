"""Owns the facts of a call: who calls which model for whom."""

from typing import NamedTuple

UNASSIGNED = "unassigned"
"""The cost center of a call that names none and whose user has none."""


class CallFacts(NamedTuple):
    """The values that selectors choose by and events are attributed to.

    A tuple, because it is looked up by value several times for every call. A tool call that used no model has the empty
    provider and model, which no selector chooses.
    """

    user: str
    cost_center: str
    agent_type: str
    request_type: str
    provider: str
    model: str
    run_id: int | None = None
    tool: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
