"""Marginal tiers: every token costs the rate of its band, and nothing within a hold costs more than the hold."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.given import LARGE, NOW, rates
from token_ledger.core.model.charge import charge, token_cost_nanos
from token_ledger.core.model.discount import WHOLE, Discount, discounted
from token_ledger.core.model.hold_cost import CacheWrite, Size, hold_cost_nanos, unrounded_cost
from token_ledger.core.model.marginal_tiers import INPUT_KINDS, INPUT_RATES
from token_ledger.core.model.other_kinds import OTHER_KINDS, others_of
from token_ledger.core.model.price import Price, Rates
from token_ledger.core.model.usage import KINDS, Usage, clamp, usage_from

CLIFF = Price(
    1, rates("1", "8", "0.1", "1.25", "2", "9"), ((1_000, rates("3", "8", "0.3", "3.75", "6", "9")),),
    others={"audio_input_tokens": 10**19, "requests": 5 * 10**18, "audio_output_tokens": 2 * 10**19},
    other_tiers=((1_000, {"audio_input_tokens": 2 * 10**19, "requests": 5 * 10**18,
                          "audio_output_tokens": 2 * 10**19}),),
)  # fmt: skip
MARGINAL = replace(CLIFF, tiers_are_marginal=True)
FEE = 5_000_000


def cost(usage: Usage, price: Price = MARGINAL) -> int:
    """What the tokens of a call cost, in nano-dollars, without its fee."""
    return charge(price, usage, None, 1, NOW)[0] - FEE


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        (Usage(1_000, 0), 1_000 * 1_000),
        (Usage(1_500, 0), 1_000 * 1_000 + 500 * 3_000),
        (Usage(1_500, 10, reasoning_tokens=4), 1_000 * 1_000 + 500 * 3_000 + 6 * 8_000 + 4 * 9_000),
        # What is read from the cache comes first,
        (Usage(1_500, 0, cache_read_tokens=600), 600 * 100 + 400 * 1_000 + 500 * 3_000),
        (Usage(1_500, 0, cache_read_tokens=1_200), 1_000 * 100 + 200 * 300 + 300 * 3_000),
        # then what is written for an hour, then for 5 minutes, then the rest,
        (Usage(1_500, 0, 400, 400, 400), 400 * 100 + 400 * 2_000 + 200 * 1_250 + 200 * 3_750 + 300 * 3_000),
        # and audio before the rest of its whole.
        (Usage(1_500, 0, others=(("audio_input_tokens", 900),)), 900 * 10_000 + 100 * 1_000 + 500 * 3_000),
        (Usage(1_500, 0, others=(("audio_input_tokens", 1_100),)), 1_000 * 10_000 + 100 * 20_000 + 400 * 3_000),
        (Usage(1_500, 50, others=(("audio_output_tokens", 50),)), 1_000 * 1_000 + 500 * 3_000 + 50 * 20_000),
    ],
)
def test_every_token_costs_the_rate_of_its_place(usage: Usage, nanos: int) -> None:
    assert cost(usage) == nanos


def test_the_kinds_of_input_stand_in_the_order_of_a_prompt() -> None:
    assert INPUT_KINDS == (
        "audio_cache_read_tokens", "image_cache_read_tokens", "cache_read_tokens", "cache_write_1h_tokens",
        "cache_write_5m_tokens", "audio_input_tokens", "image_input_tokens", "video_input_tokens", "input_tokens",
    )  # fmt: skip
    assert {"input", "cache_read", "audio_input"} < INPUT_RATES
    assert INPUT_RATES.isdisjoint({"output", "reasoning", "requests", "audio_output", "citation"})


def test_a_marginal_price_is_continuous_at_its_threshold_and_a_cliff_is_not() -> None:
    at, beyond = Usage(1_000, 50), Usage(1_001, 50)
    assert cost(beyond) - cost(at) == 3_000
    assert cost(beyond, CLIFF) - cost(at, CLIFF) == 1_001 * 3_000 - 1_000 * 1_000
    held, above = (hold_cost_nanos(MARGINAL, Size(whole, 0, 50)) for whole in (1_000, 1_001))
    assert above - held == 3_000


def test_a_kind_without_a_price_keeps_its_place_and_costs_nothing() -> None:
    total, lines, is_priced = charge(MARGINAL, Usage(1_500, 0, others=(("image_input_tokens", 900),)), None, 0, NOW)
    assert (total, is_priced) == (100 * 1_000 + 500 * 3_000, False)
    assert [(line.kind, line.nanos) for line in lines] == [("image_input_tokens", None)]


def test_a_way_of_serving_has_marginal_tiers_of_its_own() -> None:
    price = replace(LARGE, service_tiers={"batch": (MARGINAL,)})
    served, _, _ = charge(price, Usage(1_500, 0), "batch", 1, NOW)
    assert (served, charge(price, Usage(1_500, 0), None, 1, NOW)[0]) == (2_500_000 + FEE, 1_500 * 2_500)


def test_a_discount_leaves_tiers_as_they_are() -> None:
    half = discounted(MARGINAL, Discount(7, "acme", "large", WHOLE // 2, NOW))
    assert half.tiers_are_marginal
    assert charge(half, Usage(1_500, 0), None, 0, NOW)[0] * 2 == 2_500_000


def test_a_hold_counts_cheaper_bands_behind_dear_ones_as_dearly_as_they_can_become() -> None:
    falling = replace(
        LARGE, base=rates("4", "0", "0.4", "4", "4", "0"), tiers=((1_000, rates("1", "0", "0.1", "1", "1", "0")),),
        tiers_are_marginal=True,
    )  # fmt: skip
    # Without the cache hit the 1,000 tokens would stand in the dear band.
    assert hold_cost_nanos(falling, Size(2_000, 1_000, 0)) == 1_000 * 4_000
    assert cost(Usage(1_000, 0), falling) + FEE == 1_000 * 4_000
    rising = replace(falling, base=falling.tiers[0][1], tiers=((1_000, falling.base),))
    assert hold_cost_nanos(rising, Size(2_000, 1_000, 0)) == 1_000 * 100 + 1_000 * 4_000


rate = st.integers(0, 50 * 10**18)
all_rates = st.builds(Rates, *[rate] * 6)
other_rates = st.fixed_dictionaries({}, optional=dict.fromkeys(OTHER_KINDS, rate))
thresholds = st.lists(st.integers(1, 6_000), min_size=1, max_size=3, unique=True).map(sorted)
counts = st.dictionaries(
    st.sampled_from([*KINDS, *OTHER_KINDS]), st.one_of(st.integers(0, 3), st.integers(0, 4_000))
).map(lambda found: clamp(usage_from(found))[0])


@st.composite
def prices(draw: st.DrawFn) -> Price:
    above, others = draw(thresholds), draw(other_rates)
    base = draw(all_rates)
    tiers = tuple((each, draw(all_rates)._replace(output=base.output, reasoning=base.reasoning)) for each in above)
    other_tiers = tuple(
        (each, {kind: draw(rate) if kind in INPUT_KINDS else there for kind, there in others.items()})
        for each in above
    )  # fmt: skip
    return Price(1, base, tiers, others=others, other_tiers=other_tiers, tiers_are_marginal=True)


@given(prices(), counts)
def test_a_cost_is_that_of_its_tokens_one_by_one(price: Price, usage: Usage) -> None:
    total, lines, _ = charge(price, usage, None, 0, NOW)
    assert total == token_cost_nanos(price, usage) + sum(line.nanos or 0 for line in lines)
    others = dict(usage.others)
    place, by_kind = 0, dict.fromkeys((*KINDS, *others), Fraction())
    for kind in INPUT_KINDS:
        count = dict(zip(KINDS, usage.rated, strict=True)).get(kind, others.get(kind, 0))
        count -= others.get(OTHER_KINDS[kind].cached_in or "", 0) if kind in OTHER_KINDS else 0
        for position in range(place, place + count):
            band = [each for each in price.bands if each[0] <= position][-1]
            each_rate = band[1][KINDS.index(kind)] if kind in KINDS else band[2].get(kind, 0)
            by_kind[kind] += Fraction(each_rate, 10**15)
        place += count
    assert place == usage.input_tokens
    by_kind["output_tokens"] = Fraction(usage.rated[1] * price.base.output, 10**15)
    by_kind["reasoning_tokens"] = Fraction(usage.rated[5] * price.base.reasoning, 10**15)
    assert token_cost_nanos(price, usage) == sum(round(by_kind[kind]) for kind in KINDS)
    for line in lines:
        if line.kind in INPUT_KINDS:
            assert (line.nanos or 0) == round(by_kind[line.kind])


@given(prices(), counts, st.data())
def test_no_call_within_its_hold_costs_more(price: Price, usage: Usage, data: st.DataObject) -> None:
    write = data.draw(st.sampled_from((None, *CacheWrite)))
    unannounced = {f"cache_write_{each.value}_tokens": 0 for each in CacheWrite if each is not write}
    usage, _ = clamp(usage_from({**usage.by_kind, **unannounced}))
    uncached = usage.input_tokens - usage.cache_read_tokens + data.draw(st.integers(0, 2_000))
    whole = max(uncached, usage.input_tokens + data.draw(st.integers(0, 4_000)))
    size = Size(whole, whole - uncached, usage.output_tokens, write, usage.others)
    total, lines, _ = charge(price, usage, None, 1, NOW)
    # Each kind is rounded by itself, which may give half a nano-dollar more than rounding them together.
    assert total <= hold_cost_nanos(price, size) + 2 + len(lines)


@given(prices(), st.integers(0, 8_000), st.integers(0, 8_000), st.integers(0, 9), st.sampled_from((None, *CacheWrite)))
def test_a_hold_is_what_some_call_costs(
    price: Price, uncached: int, cached: int, output: int, write: CacheWrite | None
) -> None:
    price = replace(price, others={}, other_tiers=())
    size = Size(uncached + cached, cached, output, write)
    name = "cache_write_1h" if write is CacheWrite.ONE_HOUR else "cache_write_5m"
    dearest = [
        (above, [max(each.input, each.cache_read, getattr(each, name) if write else 0), each.cache_read])
        for above, each in ((0, price.base), *price.tiers)
    ]
    edges = {above for above, _ in dearest}
    begins = {0, cached, *edges, *(edge - uncached for edge in edges)}

    def at(begin: int) -> int:
        bounds = sorted({*edges, 0, begin, begin + uncached})
        spans = [(low, high) for low, high in pairwise(bounds) if high <= begin + uncached]
        return sum(
            (high - low) * [each for above, each in dearest if above <= low][-1][low < begin] for low, high in spans
        )

    most = max(at(begin) for begin in begins if 0 <= begin <= cached)
    assert unrounded_cost(price, size) == most + output * max(price.base.output, price.base.reasoning)


@given(prices(), counts, counts)
def test_one_more_token_never_makes_a_hold_smaller(price: Price, first: Usage, more: Usage) -> None:
    small = Size(first.input_tokens, first.cache_read_tokens, first.output_tokens, others=first.others)
    both = usage_from({kind: first.by_kind.get(kind, 0) + more.by_kind.get(kind, 0) for kind in (*KINDS, *OTHER_KINDS)})
    large = Size(both.input_tokens, both.cache_read_tokens, both.output_tokens, others=others_of(both.by_kind))
    assert unrounded_cost(price, small) <= unrounded_cost(price, large)
