"""The bench command: which measurements it runs, what it writes, and its exit status."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.plan import Measurements, Plan
from tests.bench.rows import Failure, Figure, Row, Run, Target


def _rows(name: str) -> Sequence[Row]:
    return [Row("first", name, "ms", "nothing", (Run(1, 1),), Target(Figure.RATIO, 2))]


def _fail() -> Sequence[Row]:
    raise Failure("the server fell over")


@contextmanager
def first(plan: Plan) -> Iterator[Measurements]:
    yield {"good": lambda: _rows("good"), "bad": _fail, "late": lambda: _rows("late")}


@contextmanager
def second(plan: Plan) -> Iterator[Measurements]:
    yield {"other": lambda: _rows("other")}


@pytest.mark.parametrize(
    ("arguments", "status", "names", "said"),
    [
        (["--only", "second"], 0, ["other"], "other"),
        (["--only", "first.good"], 0, ["good"], "NO"),  # a missed target is not a failure
        (["--only", "first.bad"], 1, [], "first.bad FAILED: the server fell over"),
        (["--only", "first"], 1, ["good", "late"], "first.bad FAILED"),
        ([], 1, ["good", "late", "other"], "first.bad FAILED"),
        (["--only", "first.none"], 1, [], "first has good, bad, late"),
        (["--only", "third"], 1, None, "the groups are first, second"),
        (["--only", "firs"], 1, None, "there is no group 'firs'"),
    ],
)
def test_a_failed_measurement_is_named_and_the_others_are_written(
    arguments: list[str],
    status: int,
    names: list[str] | None,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "bench.json"
    assert main([*arguments, "--output", str(output)], {"first": first, "second": second}) == status
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    written = [row["name"] for row in json.loads(output.read_text())] if output.exists() else None
    assert written == names


@pytest.mark.parametrize("arguments", [["--repetitions", "0"], ["--seconds", "0"], ["--seconds", "-1"]])
def test_repetitions_and_seconds_are_at_least_one(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments, {})
    assert "is less than one" in capsys.readouterr().err
