"""Owns what a benchmark says: the runs of a measurement beside its yardstick, their medians, and the target.

Machines are noisy, so nothing is said by one run: yardstick and measurement alternate, every pair of neighbors gives
a ratio, and the row's figures are medians.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any


class Failure(Exception):
    """A row could not be measured; the message is one sentence for whoever started the benchmark."""


class Figure(StrEnum):
    """Which figure of a row its target is about."""

    VALUE = "value"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Target:
    """What a row has to reach: a figure at least as large as a bound, or, with `at_most`, no larger."""

    figure: Figure
    bound: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{self.figure} {'<=' if self.at_most else '>='} {self.bound:g}"

    def is_met(self, row: "Row") -> bool:
        """Tell whether a row reaches this target."""
        reached = row.ratio if self.figure is Figure.RATIO else row.value
        return reached <= self.bound if self.at_most else reached >= self.bound


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement and the run of the yardstick just before it."""

    value: float
    yardstick_value: float

    @property
    def ratio(self) -> float:
        """The measurement in units of its yardstick."""
        return self.value / self.yardstick_value


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, in `unit`, beside the same figure of its yardstick."""

    group: str
    name: str
    unit: str
    yardstick: str
    runs: tuple[Run, ...]
    target: Target | None = None

    def __post_init__(self) -> None:
        assert self.runs, f"{self.name} has no runs"

    @property
    def value(self) -> float:
        """The median of the measurements."""
        return median(run.value for run in self.runs)

    @property
    def yardstick_value(self) -> float:
        """The median of the yardstick's runs."""
        return median(run.yardstick_value for run in self.runs)

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios, which is not the ratio of the medians."""
        return median(run.ratio for run in self.runs)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        return None if self.target is None else self.target.is_met(self)

    def as_json(self) -> dict[str, Any]:
        """Return the row as it stands in bench.json."""
        return {
            "group": self.group,
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "yardstick": self.yardstick,
            "yardstick_value": self.yardstick_value,
            "ratio": self.ratio,
            "target": None if self.target is None else str(self.target),
            "met": self.met,
            "repetitions": len(self.runs),
            "runs": [
                {"value": run.value, "yardstick_value": run.yardstick_value, "ratio": run.ratio} for run in self.runs
            ],
        }


def interleave(
    repetitions: int, yardstick: Callable[[], float], *measurements: Callable[[], float]
) -> list[tuple[Run, ...]]:
    """Run yardstick and measurements in turn, so often; return the runs of each measurement, in order."""
    rounds = []
    for _ in range(repetitions):
        beside = yardstick()
        rounds.append([Run(measure(), beside) for measure in measurements])
    return list(zip(*rounds, strict=True))


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")
