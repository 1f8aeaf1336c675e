"""Money is exact: integers of nano-dollars, rounded half to even once."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_ledger.core.model.money import affordable_tokens, cost_nanos, format_money, parse_money, rate_attos

LARGEST = 2**63 - 1


@given(tokens=st.integers(0, 10**9), attos=st.integers(0, 10**21))
def test_cost_is_the_exact_product_rounded_half_even(tokens: int, attos: int) -> None:
    exact = Decimal(tokens) * Decimal(attos) / Decimal(10**15)
    assert cost_nanos(tokens, attos) == int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


@given(nanos=st.integers(0, 10**12), attos=st.integers(1, 10**21))
def test_the_tokens_that_money_affords_are_the_most(nanos: int, attos: int) -> None:
    tokens = affordable_tokens(nanos, attos)
    assert cost_nanos(tokens, attos) <= nanos < cost_nanos(tokens + 1, attos)


@pytest.mark.parametrize(
    ("tokens", "rate", "nanos"),
    [
        (1, "0.0005", 0), (3, "0.0005", 2), (5, "0.0005", 2), (7, "0.0005", 4),
        (1, "0.000500001", 1), (1, "0.000499999", 0), (1_000_000, "2.5", 2_500_000_000), (0, "2.5", 0),
    ],
)  # fmt: skip
def test_half_a_nano_goes_to_the_even_neighbor(tokens: int, rate: str, nanos: int) -> None:
    assert cost_nanos(tokens, rate_attos(Decimal(rate))) == nanos


@given(st.integers(-LARGEST, LARGEST))
def test_what_is_formatted_parses_to_the_same(nanos: int) -> None:
    assert parse_money(format_money(nanos)) == nanos


@given(st.decimals(min_value=-9_000_000_000, max_value=9_000_000_000, places=9, allow_nan=False))
def test_what_is_parsed_formats_to_the_same(amount: Decimal) -> None:
    assert Decimal(format_money(parse_money(str(amount)))) == amount


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0.000000000"), (1_250_000, "0.001250000"), (-1, "-0.000000001"), (LARGEST, "9223372036.854775807")],
)
def test_money_is_written_with_all_nine_places(nanos: int, text: str) -> None:
    assert format_money(nanos) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not an amount"), ("a dollar", "not an amount"), ("1,50", "not an amount"), ("$1", "not an amount"),
        ("NaN", "finer"), ("Infinity", "finer"), ("0.0000000001", "finer"), ("1e-10", "finer"),
        ("9223372036.854775808", "too large"), ("-9223372036.854775808", "too large"), ("1e30", "too large"),
    ],
)  # fmt: skip
def test_what_is_no_money_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_money(text)


@pytest.mark.parametrize("rate", ["-1", "-0.000001", "0.0000000000000000001", "1e-19"])
def test_a_rate_that_is_negative_or_too_fine_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="negative or has more than 18"):
        rate_attos(Decimal(rate))
