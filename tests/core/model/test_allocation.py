"""A run's tokens are split exactly, and every share gets at least its minimum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_ledger.core.model.allocation import InfeasibleAllocation, Share, allocate


@pytest.mark.parametrize(
    ("total", "shares", "parts"),
    [
        (100, [Share("a", 1)], [100]),
        (100, [Share("a", 1), Share("b", 1), Share("c", 1)], [34, 33, 33]),
        (101, [Share("a", 1), Share("b", 3)], [25, 76]),
        (100, [Share("a", 1, 40), Share("b", 9)], [40, 60]),
        (100, [Share("a", 1, 40), Share("b", 1, 30), Share("c", 8, 30)], [40, 30, 30]),
        (10, [Share("a", 1, 3), Share("b", 5, 0), Share("c", 4, 4)], [3, 3, 4]),
        (0, [Share("a", 1), Share("b", 2)], [0, 0]),
    ],
)
def test_tokens_are_split_by_weight_and_minimum(total: int, shares: list[Share], parts: list[int]) -> None:
    assert list(allocate(total, shares).values()) == parts


@pytest.mark.parametrize(
    ("total", "shares", "error"),
    [
        (99, [Share("a", 1, 100)], InfeasibleAllocation),
        (99, [Share("a", 1, 50), Share("b", 1, 50)], InfeasibleAllocation),
        (0, [Share("a", 1, 1)], InfeasibleAllocation),
        (100, [], ValueError),
        (100, [Share("a", 1), Share("a", 2)], ValueError),
        (100, [Share("a", 0)], ValueError),
        (100, [Share("a", -1)], ValueError),
        (100, [Share("a", 1, -1)], ValueError),
    ],
)
def test_a_split_that_can_not_be_is_refused(total: int, shares: list[Share], error: type[Exception]) -> None:
    with pytest.raises(error):
        allocate(total, shares)


weights = st.lists(st.tuples(st.integers(1, 1_000), st.integers(0, 10_000)), min_size=1, max_size=8)


@given(weights, st.integers(0, 10**12))
def test_a_split_is_exact_keeps_minimums_and_is_fair(pairs: list[tuple[int, int]], spare: int) -> None:
    shares = [Share(f"agent-{i}", weight, minimum) for i, (weight, minimum) in enumerate(pairs)]
    total = spare + sum(share.minimum_tokens for share in shares)
    parts = allocate(total, shares)
    assert list(parts) == [share.agent_type for share in shares]
    assert sum(parts.values()) == total
    assert all(parts[share.agent_type] >= share.minimum_tokens for share in shares)
    # Shares above their minimum get the same per weight, to a token.
    above = [s for s in shares if parts[s.agent_type] > s.minimum_tokens + 1]
    for one in above:
        for other in shares:
            assert (parts[one.agent_type] - 1) * other.weight <= (parts[other.agent_type] + 1) * one.weight
