"""A discount is in every rate, and of several the most exact name that is in force counts."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.given import LARGE, NOW, PRICES, rates
from token_ledger.core.model.charge import charge
from token_ledger.core.model.discount import (
    WHOLE,
    Discount,
    dated,
    discount_at,
    discounted,
    factor_text,
    named,
    read_factor,
)
from token_ledger.core.model.price import Price
from token_ledger.core.model.price_terms import OwnPrice, PriceTerms, book_with
from token_ledger.core.model.usage import Usage

DAY = timedelta(days=1)


def off(number: int, name: str, percent: int | None, since: int = 0, until: int | None = None) -> Discount:
    """A discount of a name, with the days from now on which it begins and ends."""
    provider, _, model = name.partition("/")
    factor = None if percent is None else (100 - percent) * WHOLE // 100
    return Discount(number, provider, model, factor, NOW + since * DAY, None if until is None else NOW + until * DAY)


DISCOUNTS = (
    off(1, "*/*", 1), off(2, "acme/*", 2), off(3, "acme/la*", 3), off(4, "acme/lar*", 4, 2, 4),
    off(5, "acme/LARGE", 5, 6), off(6, "acme/large", 6, 8, 9), off(7, "acme/large", 7, 6),
    off(8, "acme/large", None, 12), off(9, "acme/large", 9, 14), off(10, "other/large", 10), off(11, "acme/small", 11),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "days", "expected"),
    [
        ("acme/large", -1, None), ("acme/large", 0, 3), ("acme/large", 1.9, 3), ("acme/large", 2, 4),
        ("acme/large", 3.9, 4), ("acme/large", 4, 3), ("acme/Large", 6, 7), ("acme/large", 7.9, 7),
        ("acme/large", 8, 6), ("acme/large", 9, 7), ("acme/large", 12, 3), ("acme/large", 14, 9),
        ("acme/medium", 0, 2), ("acme/lar", 2, 4), ("nobody/large", 0, 1), ("acme/small", 0, 11),
    ],
)  # fmt: skip
def test_the_most_exact_name_in_force_counts(name: str, days: float, expected: int | None) -> None:
    provider, model = name.casefold().split("/")
    found = discount_at(named(DISCOUNTS).fitting(provider, model), NOW + days * DAY)
    assert (found and found.discount_id) == expected


def test_another_one_with_the_same_beginning_takes_the_place_of_the_one_before_it() -> None:
    discounts = [dated([off(1, "acme/large", 1), off(2, "acme/large", 2, until=1)])]
    assert [discount_at(discounts, NOW + days * DAY) for days in (0, 1)] == [off(2, "acme/large", 2, until=1), None]


@given(
    st.integers(0, 10 * WHOLE), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**6),
    st.sampled_from([None, "batch"]),
)  # fmt: skip
def test_every_rate_has_the_factor(
    factor: int, above: int, output: int, searches: int, service_tier: str | None
) -> None:
    exact = rates("2", "8", "0.2", "2.5", "4", "8")
    batch = Price(1, exact, others={"web_searches": 10**18})
    price = Price(
        1, exact, ((1_000, rates("4", "16", "0.4", "5", "8", "16")),), others={"web_searches": 10**19},
        other_tiers=((1_000, {"web_searches": 2 * 10**19}),), service_tiers={"batch": (batch,)},
    )  # fmt: skip
    cheaper = discounted(price, Discount(7, "acme", "large", factor, NOW))
    assert (cheaper.price_id, cheaper.discount_id, cheaper.listed) == (1, 7, price)
    usage = Usage(above, output, others=(("web_searches", searches),))
    dear, (line,), _ = charge(price, usage, service_tier, 1, NOW)
    cost, (cheap_line,), is_priced = charge(cheaper, usage, service_tier, 1, NOW)
    assert is_priced
    # Each line is rounded once, with and without the factor; rates of 18 decimal places lose nothing here.
    assert abs(cost * WHOLE - dear * factor) <= 3 * (WHOLE + factor) // 2
    assert line.nanos is not None
    assert cheap_line.nanos is not None
    assert abs(cheap_line.nanos * WHOLE - line.nanos * factor) <= (WHOLE + factor) // 2


def test_a_discount_is_off_published_prices_and_never_off_the_tenants_own() -> None:
    own = OwnPrice(-5, "acme", "small", NOW, {}, replace(LARGE, price_id=-5))
    book = book_with(PRICES, PriceTerms((own,), (), (off(7, "acme/*", 50),)))
    large, small = book.find("acme", "large"), book.find("acme", "small")
    assert large is not None
    assert small is not None
    price = large.at(NOW)
    assert price is not None
    assert price.base.input * 2 == LARGE.base.input
    assert (price.price_id, price.discount_id, price.listed) == (LARGE.price_id, 7, LARGE)
    assert large.at(NOW) is price, "it is made once"
    assert large.at(NOW - DAY) == large.list_at(NOW) == LARGE
    assert small.at(NOW) == own.price
    listed = small.list_at(NOW)
    assert listed is not None
    assert listed.price_id > 0
    assert book.entry(LARGE.price_id) == LARGE
    assert book.entry(LARGE.price_id, 7) is price


@pytest.mark.parametrize(
    ("text", "factor"), [("0.85", 850_000_000), ("1", WHOLE), ("0", 0), ("1.000000001", WHOLE + 1)]
)
def test_factors_are_exact(text: str, factor: int) -> None:
    assert (read_factor(text), factor_text(factor)) == (factor, text)


@pytest.mark.parametrize("text", ["0.0000000001", "10.1"])
def test_what_is_no_factor_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is "):
        read_factor(text)


def test_instants_are_compared_as_instants() -> None:
    zone = datetime.fromisoformat("2026-11-21T10:00:00+02:00")
    one = Discount(1, "*", "*", 5, zone)
    assert discount_at(((one,),), datetime.fromisoformat("2026-11-21T08:00:00+00:00")) is one
