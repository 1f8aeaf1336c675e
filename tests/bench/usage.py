"""The group `usage`: how long it takes to make a usage of what a provider says."""

import csv
import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from token_ledger_sdk.providers import reading_of

from tests.bench.plan import Measurements, Plan
from tests.bench.rows import Figure, Row, Target, interleave

GROUP: Final = "usage"
_RECORDED: Final = Path(__file__).resolve().parents[2] / "sdk" / "tests" / "data"
_ROUNDS: Final = 20
_PARSING: Final = "json.loads of the same bodies, µs"


@contextmanager
def bench(plan: Plan) -> Iterator[Measurements]:
    """Load the recorded bodies, and yield the measurements."""
    yield {"extract": partial(extract, plan, recorded_bodies())}


def recorded_bodies() -> list[str]:
    """Return every recorded body that was not streamed and has a usage."""
    with gzip.open(_RECORDED / "others.jsonl.gz", "rt", encoding="utf-8", newline="") as lines:
        archived = {each["file"]: each["body"] for each in map(json.loads, lines)}
    with (_RECORDED / "index.csv").open(encoding="utf-8", newline="") as rows:
        names = [row["file"] for row in csv.DictReader(rows) if row["stream"] == "0" and row["input_raw"]]
    return [archived.get(name) or (_RECORDED / name).read_text(encoding="utf-8") for name in names]


def extract(plan: Plan, texts: list[str]) -> list[Row]:
    """Measure how long the median body takes to be read."""
    bodies = [json.loads(text) for text in texts]
    parse, read = partial(_median_micros, json.loads, texts), partial(_median_micros, reading_of, bodies)
    (runs,) = interleave(plan.repetitions, parse, read)
    return [Row(GROUP, "extract", "µs", _PARSING, runs, Target(Figure.VALUE, 30, at_most=True))]


def _median_micros(work: Callable[[Any], object], items: list[Any]) -> float:
    return median(_micros(work, item) for item in items)


def _micros(work: Callable[[Any], object], item: Any) -> float:
    started = time.perf_counter_ns()
    for _ in range(_ROUNDS):
        work(item)
    return (time.perf_counter_ns() - started) / _ROUNDS / 1_000
