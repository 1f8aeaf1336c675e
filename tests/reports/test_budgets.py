"""Where a straight line leads: by hand, in a window of ten days."""

from datetime import UTC, datetime, timedelta

import pytest

from token_ledger.core.model.budget import Unit
from token_ledger.reports.budgets import Projection, UnitUse, project, projected_from

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
LINE = BEGIN, BEGIN + timedelta(days=10)
INSTANT = timedelta(microseconds=1)


def _day(number: float) -> datetime:
    return BEGIN + timedelta(days=number)


@pytest.mark.parametrize(
    ("settled", "limit", "at", "expected"),
    [
        (40, 50, _day(1) - INSTANT, None),
        (40, 50, BEGIN, None),
        (5, 50, _day(1), Projection(50, None)),
        (40, 50, _day(4), Projection(100, _day(5))),
        (50, 50, _day(4), Projection(125, _day(4))),
        (51, 50, _day(4), Projection(128, None)),
        (0, 0, _day(4), Projection(0, None)),
        (0, 50, _day(4), Projection(0, None)),
        (-7, 50, _day(4), Projection(-18, None)),
        (20, 50, _day(4), Projection(50, None)),
        (1, 0, _day(4), Projection(2, None)),
        (3, 9, _day(3), Projection(10, _day(9))),
        (7, 17, _day(4), Projection(18, BEGIN + timedelta(microseconds=-(-17 * 4 * 86_400 * 10**6 // 7)))),
        (49, 50, LINE[1] - INSTANT, Projection(49, None)),
    ],
)
def test_the_line_leads_from_nothing_to_what_is_settled_and_on(
    settled: int, limit: int, at: datetime, expected: Projection | None
) -> None:
    assert project(settled, limit, LINE, at) == expected


def test_a_projection_is_told_once_a_tenth_of_the_time_is_over() -> None:
    assert projected_from(LINE) == _day(1)


@pytest.mark.parametrize(
    ("settled", "projection", "passes"),
    [
        (10, None, None), (50, None, None), (51, None, True), (10, Projection(50, None), False),
        (10, Projection(51, BEGIN), True), (51, Projection(40, None), True),
    ],
)  # fmt: skip
def test_a_limit_that_is_passed_stays_passed(settled: int, projection: Projection | None, passes: bool | None) -> None:
    assert UnitUse(Unit.CALLS, 50, settled, 0, projection).passes is passes
