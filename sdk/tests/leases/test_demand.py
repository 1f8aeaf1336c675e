"""How many calls the next lease is for, by when calls came."""

from __future__ import annotations

import pytest

from token_ledger_sdk.leases.demand import MOST_CALLS, Demand


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ([0], [0]),
        ([0, 1, 2, 3.5], [0, 0, 0, 0]),
        ([0, 0.99], [0, 2]),
        ([0, 0.1, 0.2, 0.3], [0, 2, 3, 4]),
        ([0, 0.5, 0.9, 1.2], [0, 2, 3, 4]),
        ([0, 0.5, 0.75, 1.75, 1.875], [0, 2, 3, 0, 5]),
        ([0, 0.5, 0.75, 2.0, 2.125], [0, 2, 3, 0, 2]),
        ([0] * 100, [0, *range(2, MOST_CALLS), *[MOST_CALLS] * (101 - MOST_CALLS)]),
    ],
)
def test_a_lease_is_for_as_many_calls_as_came_lately(times: list[float], wanted: list[int]) -> None:
    demand = Demand(within_seconds=1)
    assert [demand.came(now) for now in times] == wanted


def test_calls_of_a_kind_are_idle_once_none_came_within_the_time() -> None:
    demand = Demand(within_seconds=2)
    assert demand.is_idle(0)
    demand.came(10)
    assert (demand.is_idle(11.9), demand.is_idle(12)) == (False, True)
