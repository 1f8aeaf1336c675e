"""Kinds that few calls have: they have their own rates, fit into their wholes, and without a price they are visible."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.given import LARGE, NOW, rates
from token_ledger.core.model.charge import OtherUse, charge, token_cost_nanos
from token_ledger.core.model.money import rate_attos, unit_cost_nanos
from token_ledger.core.model.other_kinds import OTHER_KINDS, others_of
from token_ledger.core.model.price import Price
from token_ledger.core.model.usage import KINDS, Usage, clamp, usage_from

AUDIO = {"audio_input_tokens": "10", "audio_cache_read_tokens": "1", "audio_output_tokens": "20", "web_searches": "5"}
SPEECH = replace(LARGE, others={kind: rate_attos(Decimal(rate)) for kind, rate in AUDIO.items()})
counts = st.integers(0, 1_000)
kinds = st.dictionaries(st.sampled_from([*KINDS, *OTHER_KINDS]), counts).map(usage_from)


@pytest.mark.parametrize(
    ("usage", "lines"),
    [
        # 1,000 in, of which 400 are audio; 300 read from the cache, of which 100 are audio: 600 text, 200 of it cached.
        (
            {
                "input_tokens": 1_000,
                "cache_read_tokens": 300,
                "audio_input_tokens": 400,
                "audio_cache_read_tokens": 100,
            },
            {"text": 400 * 2_500, "cached": 200 * 250, "audio": 300 * 10_000, "cached audio": 100 * 1_000},
        ),
        ({"output_tokens": 100, "audio_output_tokens": 90}, {"text": 10 * 10_000, "audio": 90 * 20_000}),
        ({"input_tokens": 10, "web_searches": 3}, {"text": 10 * 2_500, "searches": 15_000_000}),
    ],
)
def test_each_part_costs_its_own_rate(usage: dict[str, int], lines: dict[str, int]) -> None:
    cost, others, is_priced = charge(SPEECH, usage_from(usage), None, 1, NOW)
    assert (cost, is_priced) == (sum(lines.values()), True)
    text = ("text", "cached")
    assert sum(use.nanos or 0 for use in others) == sum(nanos for name, nanos in lines.items() if name not in text)


def test_what_has_no_rate_costs_nothing_and_is_said() -> None:
    usage = usage_from({"input_tokens": 1_000, "image_input_tokens": 400, "web_searches": 1})
    cost, others, is_priced = charge(SPEECH, usage, None, 1, NOW)
    assert others == (OtherUse("image_input_tokens", 400, None), OtherUse("web_searches", 1, 5_000_000))
    assert (cost, is_priced) == (600 * 2_500 + 5_000_000, False), "images are not charged as text"


def test_a_service_tier_has_its_own_rates_and_one_without_costs_the_standard_ones() -> None:
    batch = replace(LARGE, base=rates("1.25", "5", "0.125", "1.5", "2.5", "5"))
    price = replace(LARGE, service_tiers={"batch": (batch,)})
    assert charge(price, Usage(1_000, 100), "batch", 1, NOW) == (1_750_000, (), True)
    assert charge(price, Usage(1_000, 100), "flex", 1, NOW) == (3_500_000, (), False)
    assert charge(price, Usage(1_000, 100), None, 1, NOW) == (3_500_000, (), True)


@pytest.mark.parametrize(("calls", "said", "nanos"), [(1, 0, 5_000_000), (0, 0, 0), (1, 3, 20_000_000)])
def test_a_call_is_one_request_beside_those_that_are_reported(calls: int, said: int, nanos: int) -> None:
    price = replace(LARGE, others={"requests": rate_attos(Decimal("5"))})
    cost, others, _ = charge(price, usage_from({"input_tokens": 1_000, "requests": said}), None, calls, NOW)
    assert cost == 2_500_000 + nanos
    assert sum(use.nanos or 0 for use in others) == nanos


def test_an_hour_of_audio_is_priced_by_the_second() -> None:
    price = Price(1, rates("0", "0", "0", "0", "0", "0"), others={"audio_seconds": rate_attos(Decimal("0.36"))},
                  has_token_rates=False)  # fmt: skip
    assert charge(price, usage_from({"audio_seconds": 61}), None, 1, NOW)[0] == 6_100_000
    assert charge(price, usage_from({"audio_seconds": 61, "input_tokens": 5}), None, 1, NOW)[2] is False


def test_audio_without_room_outside_the_cache_was_read_from_it() -> None:
    said = usage_from({"input_tokens": 1_000, "cache_read_tokens": 900, "audio_input_tokens": 500})
    assert clamp(said) == (
        replace(said, others=others_of({**dict(said.others), "audio_cache_read_tokens": 400})),
        False,
    )


@given(kinds)
def test_what_was_clamped_fits_and_stays(usage: Usage) -> None:
    fitted, changed = clamp(usage)
    assert min(fitted.rated) >= 0
    assert clamp(fitted) == (fitted, False)
    assert fitted.total_tokens == usage.total_tokens
    kept = dict(fitted.others)
    assert changed == (fitted.counts != usage.counts or any(kept.get(name, 0) < count for name, count in usage.others))


@given(kinds)
def test_every_token_is_charged_once(usage: Usage) -> None:
    everything_one_dollar = Price(
        1, rates(*["1"] * 6), others={name: rate_attos(Decimal(1)) for name in OTHER_KINDS if OTHER_KINDS[name].part_of}
    )
    fitted, _ = clamp(usage)
    tokens = replace(fitted, others=tuple(each for each in fitted.others if OTHER_KINDS[each[0]].part_of))
    assert charge(everything_one_dollar, tokens, None, 1, NOW)[0] == fitted.total_tokens * 1_000


@given(st.integers(0, 10**12), st.integers(0, 10**22), st.sampled_from((1_000, 3_600, 1_000_000)))
def test_units_are_rounded_half_to_even(count: int, rate: int, per: int) -> None:
    exact = Decimal(count * rate) / (per * 10**9)
    assert abs(Decimal(unit_cost_nanos(count, rate, per)) - exact) <= Decimal("0.5")
    assert unit_cost_nanos(count, rate, 1_000_000) == token_cost_nanos(
        Price(1, rates(*["0"] * 6)._replace(output=rate)), Usage(0, count)
    )
