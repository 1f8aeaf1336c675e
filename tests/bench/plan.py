"""Owns how long and how often to measure, and how progress is told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.rows import Row

Measurements = Mapping[str, Callable[[], Sequence[Row]]]
"""A group's measurements by name; one may give several rows."""

WARM_UP_SECONDS = 1
"""Every part, yardsticks included, runs for so long before it counts: connections, plans, caches, first accounts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how long every part runs, and where progress is told."""

    repetitions: int
    seconds: int
    say: Callable[[str], None]
