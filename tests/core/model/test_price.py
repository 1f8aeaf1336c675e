"""Prices: a tier applies to the whole call, entries have dates and daily hours, costs are summed over token kinds."""

from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.given import LARGE, NOW, PRICES, rates
from token_ledger.core.model.charge import charge, token_cost_nanos
from token_ledger.core.model.hold_cost import CacheWrite, Size, hold_cost_nanos
from token_ledger.core.model.money import cost_nanos, rate_attos
from token_ledger.core.model.price import ModelPrices, Price
from token_ledger.core.model.usage import Usage

LOW, MIDDLE, HIGH = (rates(*[dollars] * 6) for dollars in ("1", "2", "3"))
TIERED = Price(1, LOW, ((1_000, MIDDLE), (5_000, HIGH)))
counts = st.integers(0, 10_000)


@pytest.mark.parametrize(
    ("input_tokens", "dollars"), [(0, 1), (999, 1), (1_000, 1), (1_001, 2), (5_000, 2), (5_001, 3), (10**9, 3)]
)
def test_a_tier_begins_above_its_threshold_and_takes_every_token(input_tokens: int, dollars: int) -> None:
    assert token_cost_nanos(TIERED, Usage(input_tokens, 10)) == (input_tokens + 10) * dollars * 1_000
    assert hold_cost_nanos(TIERED, Size(input_tokens, 0, 10)) == (input_tokens + 10) * dollars * 1_000


@given(st.tuples(counts, counts, counts, counts, counts, counts))
def test_a_cost_is_the_sum_of_its_kinds(parts: tuple[int, ...]) -> None:
    odd = Price(1, rates("0.0375", "0.6251", "0.0033", "0.0469", "0.075", "0.7777"))
    plain, answer, read, write_5m, write_1h, reasoning = parts
    usage = Usage(plain + read + write_5m + write_1h, answer + reasoning, read, write_5m, write_1h, reasoning)
    b = odd.base
    by_kind = (b.input, b.output, b.cache_read, b.cache_write_5m, b.cache_write_1h, b.reasoning)
    assert token_cost_nanos(odd, usage) == sum(map(cost_nanos, parts, by_kind))


@given(counts, counts, counts, counts)
def test_a_call_within_its_hold_costs_at_most_the_hold(fresh: int, cached: int, output: int, reasoning: int) -> None:
    price = Price(
        1, rates("2.5", "10", "0.25", "2.5", "2.5", "12"), tiers=((5_000, rates("5", "20", "0.5", "5", "5", "24")),),
        others={"requests": fee(5)}, other_tiers=((5_000, {"requests": fee(9)}),),
    )  # fmt: skip
    usage = Usage(fresh + cached, output + reasoning, cached, reasoning_tokens=reasoning)
    cost, _, is_priced = charge(price, usage, None, 1, NOW)
    # Rounding two kinds separately may give half a nano-dollar more than rounding once.
    assert cost <= hold_cost_nanos(price, Size(fresh + cached, cached, output + reasoning)) + 1
    assert is_priced


def fee(dollars: int) -> int:
    return rate_attos(Decimal(dollars))


def test_a_hold_takes_the_dearer_of_output_and_reasoning() -> None:
    dear = Price(1, rates("1", "2", "1", "1", "1", "5"))
    assert hold_cost_nanos(dear, Size(0, 0, 100)) == 500_000


@pytest.mark.parametrize(
    ("cached", "cache_write", "nanos"),
    [
        (0, None, 1_000 * 2_500), (400, None, 600 * 2_500 + 400 * 250), (1_000, None, 1_000 * 250),
        (400, CacheWrite.FIVE_MINUTES, 600 * 3_000 + 400 * 250), (400, CacheWrite.ONE_HOUR, 600 * 5_000 + 400 * 250),
    ],
)  # fmt: skip
def test_a_hold_counts_on_what_is_read_from_and_written_to_the_cache(
    cached: int, cache_write: CacheWrite | None, nanos: int
) -> None:
    assert hold_cost_nanos(LARGE, Size(1_000, cached, 0, cache_write)) == nanos


def test_a_cache_that_is_cheaper_to_write_than_input_saves_no_hold() -> None:
    cheap = Price(1, rates("2", "1", "1", "1", "1", "1"))
    assert hold_cost_nanos(cheap, Size(1_000, 0, 0, CacheWrite.ONE_HOUR)) == 2_000_000


@pytest.mark.parametrize(
    ("at", "price_id"),
    [
        (NOW - timedelta(days=9), None),
        (NOW - timedelta(microseconds=1), None),
        (NOW, 1),
        (NOW + timedelta(days=1) - timedelta(microseconds=1), 1),
        (NOW + timedelta(days=1), 2),
        ((NOW + timedelta(days=1)).astimezone(timezone(timedelta(hours=-11))), 2),
    ],
)
def test_the_last_entry_that_is_valid_counts(at: datetime, price_id: int | None) -> None:
    prices = ModelPrices(
        "acme", "m", (Price(1, LOW, valid_from=NOW), Price(2, HIGH, valid_from=NOW + timedelta(days=1)))
    )
    found = prices.at(at)
    assert (found and found.price_id) == price_id


@pytest.mark.parametrize(
    ("begins", "ends", "clock", "applies"),
    [
        (time(16, 30), time(0, 30), time(16, 29, 59), False), (time(16, 30), time(0, 30), time(16, 30), True),
        (time(16, 30), time(0, 30), time(0, 0), True), (time(16, 30), time(0, 30), time(0, 29, 59), True),
        (time(16, 30), time(0, 30), time(0, 30), False), (time(16, 30), time(0, 30), time(12), False),
        (time(8), time(18), time(7, 59, 59), False), (time(8), time(18), time(8), True),
        (time(8), time(18), time(17, 59, 59), True), (time(8), time(18), time(18), False),
    ],
)  # fmt: skip
def test_daily_hours_may_wrap_over_midnight(begins: time, ends: time, clock: time, applies: bool) -> None:
    price = Price(1, LOW, daily_from=begins, daily_until=ends)
    at = datetime.combine(NOW, clock, UTC)
    assert price.applies_at(at) is applies
    assert price.applies_at(at.astimezone(timezone(timedelta(hours=5, minutes=45)))) is applies


@pytest.mark.parametrize(
    ("provider", "model", "known"),
    [
        ("acme", "large", True), ("acme", "large-latest", True), ("acme", "Large", False), ("acme", "", False),
        ("other", "large", False), ("acme", "huge", False), ("", "large", False),
    ],
)  # fmt: skip
def test_a_name_is_found_exactly_or_by_its_alias_or_stays_unknown(provider: str, model: str, known: bool) -> None:
    for _ in range(2):  # the second time from memory
        assert (PRICES.find(provider, model) is not None) is known
