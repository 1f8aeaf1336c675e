"""Owns how long and how often to measure, and where progress is printed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.rows import Row

Measurements = Mapping[str, Callable[[], Sequence[Row]]]
"""A group's measurements by name; each may return several rows."""

WARM_UP_SECONDS = 1
"""How long every part, yardsticks included, runs before it counts: for connections, plans, caches, first accounts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how long every part runs, and where progress is printed."""

    repetitions: int
    seconds: int
    say: Callable[[str], None]
