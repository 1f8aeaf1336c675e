"""The figures of a row, its target, and its JSON."""

import json
from pathlib import Path

import pytest

from tests.bench import rows


def row(*pairs: tuple[float, float], target: rows.Target | None = None) -> rows.Row:
    return rows.Row("ledger", "ops", "operations/s", "pgbench", tuple(rows.Run(*pair) for pair in pairs), target)


@pytest.mark.parametrize(
    ("pairs", "value", "yardstick_value", "ratio"),
    [
        ([(30, 10)], 30, 10, 3),
        ([(30, 10), (10, 10)], 20, 10, 2),
        ([(30, 10), (90, 10), (40, 10)], 40, 10, 4),
        ([(1, 1), (1, 1), (1000, 1)], 1, 1, 1),  # an outlier changes nothing
        # When the machine slows down, both figures halve and the ratio stays; the ratio of the medians would be 2.
        ([(40, 10), (20, 5), (4, 1), (80, 10), (4, 10)], 20, 10, 4),
    ],
)
def test_figures_are_medians_and_the_ratio_is_the_median_of_the_pairs(
    pairs: list[tuple[float, float]], value: float, yardstick_value: float, ratio: float
) -> None:
    made = row(*pairs)
    assert (made.value, made.yardstick_value, made.ratio) == (value, yardstick_value, ratio)


def test_a_row_without_runs_is_refused() -> None:
    with pytest.raises(AssertionError, match="ops has no runs"):
        row()


@pytest.mark.parametrize(
    ("target", "met", "text"),
    [
        (None, None, None),
        (rows.Target(rows.Figure.RATIO, 3), True, "ratio >= 3"),
        (rows.Target(rows.Figure.RATIO, 3.01), False, "ratio >= 3.01"),
        (rows.Target(rows.Figure.VALUE, 30, at_most=True), True, "value <= 30"),
        (rows.Target(rows.Figure.VALUE, 29.9, at_most=True), False, "value <= 29.9"),
        (rows.Target(rows.Figure.VALUE, 30), True, "value >= 30"),
        (rows.Target(rows.Figure.VALUE, 31), False, "value >= 31"),
        (rows.Target(rows.Figure.RATIO, 2.9, at_most=True), False, "ratio <= 2.9"),
    ],
)
def test_a_target_compares_one_figure_and_names_it(
    target: rows.Target | None, met: bool | None, text: str | None
) -> None:
    made = row((30, 10), target=target)
    assert made.met is met
    assert made.as_json()["target"] == text


def test_yardstick_and_measurements_take_turns() -> None:
    order: list[str] = []

    def part(name: str, first: float) -> float:
        order.append(name)
        return first + len(order)

    one, two = rows.interleave(2, lambda: part("yardstick", 0), lambda: part("one", 10), lambda: part("two", 20))
    assert order == ["yardstick", "one", "two", "yardstick", "one", "two"]
    assert one == (rows.Run(12, 1), rows.Run(15, 4))
    assert two == (rows.Run(23, 1), rows.Run(26, 4))


def test_the_json_has_every_run(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    rows.write_rows([row((30, 10), (50, 10), target=rows.Target(rows.Figure.RATIO, 5))], path)
    assert json.loads(path.read_text()) == [
        {
            "group": "ledger",
            "name": "ops",
            "value": 40,
            "unit": "operations/s",
            "yardstick": "pgbench",
            "yardstick_value": 10,
            "ratio": 4,
            "target": "ratio >= 5",
            "met": False,
            "repetitions": 2,
            "runs": [
                {"value": 30, "yardstick_value": 10, "ratio": 3},
                {"value": 50, "yardstick_value": 10, "ratio": 5},
            ],
        }
    ]
