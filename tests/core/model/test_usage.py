"""Contradictory counts are cut to fit; the whole is believed rather than its parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_ledger.core.model.price import Rates
from token_ledger.core.model.usage import KINDS, Figures, Usage, add_figures, clamp, figures_of

counts = st.integers(0, 1_000)


@pytest.mark.parametrize(
    ("reported", "booked"),
    [
        (Usage(10, 5, 11), Usage(10, 5, 10)),
        (Usage(10, 5, 8, 4), Usage(10, 5, 8, 2)),
        (Usage(10, 5, 4, 4, 4), Usage(10, 5, 4, 2, 4)),
        (Usage(10, 5, 0, 4, 12), Usage(10, 5, 0, 0, 10)),
        (Usage(10, 5, 12, 4, 4), Usage(10, 5, 10, 0, 0)),
        (Usage(10, 5, reasoning_tokens=6), Usage(10, 5, reasoning_tokens=5)),
        (Usage(0, 0, 1, 1, 1, 1), Usage(0, 0)),
    ],
)
def test_parts_are_cut_to_their_whole(reported: Usage, booked: Usage) -> None:
    assert clamp(reported) == (booked, True)


@pytest.mark.parametrize("usage", [Usage(), Usage(10, 5, 10, 0, 0, 5), Usage(10, 5, 3, 3, 4), Usage(10, 5)])
def test_consistent_usage_is_left_alone(usage: Usage) -> None:
    assert clamp(usage) == (usage, False)


@given(st.lists(st.tuples(counts, st.builds(Usage, counts, counts, counts, counts, counts, counts), counts)))
def test_figures_are_added_to_sums_in_their_order(events: list[tuple[int, Usage, int]]) -> None:
    sums = [0] * len(Figures._fields)
    for event in events:
        add_figures(sums, *event)
    assert (
        sums == [sum(figures) for figures in zip(*(figures_of(*event) for event in events), strict=True)] or not events
    )


@given(st.builds(Usage, counts, counts, counts, counts, counts, counts))
def test_what_was_clamped_fits_and_keeps_the_whole(usage: Usage) -> None:
    fitted, changed = clamp(usage)
    assert fitted.cache_read_tokens + fitted.cache_write_tokens <= fitted.input_tokens
    assert fitted.reasoning_tokens <= fitted.output_tokens
    assert (fitted.total_tokens, changed) == (usage.total_tokens, fitted != usage)
    assert clamp(fitted) == (fitted, False)


def test_uncached_tokens_leave_out_what_was_read_from_the_cache() -> None:
    assert Usage(100, 10, 60, 20, 10).uncached_tokens == 50


def test_every_kind_has_a_rate_in_the_same_place() -> None:
    assert tuple(f"{rate}_tokens" for rate in Rates._fields) == KINDS


def test_counts_and_rates_stand_in_the_order_of_the_fields() -> None:
    usage = Usage(1_000, 500, 100, 20, 3, 40)
    assert dict(zip(KINDS, usage.counts, strict=True)) == {kind: getattr(usage, kind) for kind in KINDS}
    assert dict(zip(Rates._fields, usage.rated, strict=True)) == {
        "input": 877, "output": 460, "cache_read": 100, "cache_write_5m": 20, "cache_write_1h": 3, "reasoning": 40,
    }  # fmt: skip
