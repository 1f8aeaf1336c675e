"""Owns the results of the benchmarks: the runs of a measurement and its yardstick, their medians, and the target.

Machines are noisy, so one run proves nothing: yardstick and measurement alternate, every pair of neighboring runs gives
a ratio, and a row's figures are medians.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any


class Failure(Exception):
    """A row could not be measured; the message is one sentence for the person who runs the benchmark."""


class Figure(StrEnum):
    """Which figure of a row its target is about."""

    VALUE = "value"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Target:
    """The least value of a figure, or, with `at_most`, its largest value."""

    figure: Figure
    bound: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{self.figure} {'<=' if self.at_most else '>='} {self.bound:g}"

    def is_met(self, row: "Row") -> bool:
        """Tell whether a row meets this target."""
        reached = row.ratio if self.figure is Figure.RATIO else row.value
        return reached <= self.bound if self.at_most else reached >= self.bound


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement, and the run of the yardstick just before it."""

    value: float
    yardstick_value: float

    @property
    def ratio(self) -> float:
        """The measurement divided by its yardstick."""
        return self.value / self.yardstick_value


@dataclass(frozen=True, slots=True)
class Row:
    """A measured figure in `unit`, and the same figure of its yardstick."""

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
        """The median of the runs' ratios, not the ratio of the medians."""
        return median(run.ratio for run in self.runs)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        return None if self.target is None else self.target.is_met(self)

    def as_json(self) -> dict[str, Any]:
        """Return the row as written to bench.json."""
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
    """Run the yardstick, then each measurement, so many times; return the runs of each measurement, in order."""
    rounds = []
    for _ in range(repetitions):
        yardstick_value = yardstick()
        rounds.append([Run(measure(), yardstick_value) for measure in measurements])
    return list(zip(*rounds, strict=True))


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")
