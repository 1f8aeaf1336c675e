"""What a re-costing books: the part of a call that had no price, by the price of its instant, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.given import NOW
from token_ledger.core.model.charge import OtherUse, charge
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.parts import DrawnUse
from token_ledger.core.model.price import Price
from token_ledger.core.model.recosting import LAST_SEQUENCE, Basis, BookedCall, Part, difference_by, whole_difference
from token_ledger.core.model.usage import Usage
from token_ledger.storage.prices import check_rates

TIER = {"above": 1_000, "rates": {"input": "20", "output": "40", "web_searches": "1000"}}


def price(**base: str) -> Price:
    return check_rates({"base": {"input": "2", "output": "4", **base}})


def booked(old: Price | None, usage: Usage, calls: int = 1, tier: str | None = None) -> BookedCall:
    """Return a call as it is booked by a price."""
    cost, lines, _ = charge(old, usage, tier, calls, NOW)
    has_fee = old is not None and "requests" in old.others
    return BookedCall(DrawnUse("acme", "m", usage.without_others, cost, cost, lines), calls, tier, NOW, has_fee)


def test_a_whole_call_costs_what_it_would_cost_now() -> None:
    usage = Usage(1_500, 100, others=others_of({"web_searches": 2}))
    new = check_rates({"base": {"input": "2", "output": "4", "web_searches": "10"}, "tiers": [TIER]})
    found = difference_by(booked(None, usage), Part.WHOLE, new, None)
    assert (found.nanos, found.tokens) == (34_000_000 + 2_000_000_000, 1_600)
    assert found.lines == (OtherUse("web_searches", 0, 2_000_000_000, 2),)


def test_of_kinds_only_those_without_a_price_change() -> None:
    usage = Usage(1_000, 100, others=others_of({"web_searches": 2, "images": 3, "pages": 1}))
    found = difference_by(
        booked(price(images="5"), usage), Part.KINDS, price(images="50", web_searches="10", requests="7"), None
    )
    assert found.lines == (OtherUse("web_searches", 0, 20_000_000, 2),)
    assert (found.nanos, found.tokens) == (20_000_000, 0)


def test_tokens_without_a_price_change_and_priced_kinds_stay() -> None:
    usage = Usage(1_000, 0, others=others_of({"web_searches": 2}))
    old = check_rates({"base": {"web_searches": "10"}})
    found = difference_by(booked(old, usage), Part.TOKENS, price(web_searches="99"), None)
    assert (found.nanos, found.tokens, found.lines) == (2_000_000, 1_000, ())


def test_what_the_price_has_no_rate_for_stays_as_it_is_booked() -> None:
    usage = Usage(1_000, 0, others=others_of({"web_searches": 2, "images": 1}))
    found = difference_by(booked(price(web_searches="10"), usage), Part.WHOLE, price(input="3", output="3"), None)
    assert (found.nanos, found.lines) == (1_000_000, ())
    without_tokens = check_rates({"base": {"images": "5"}})
    found = difference_by(booked(price(), usage), Part.WHOLE, without_tokens, None)
    assert (found.nanos, found.tokens) == (5_000_000, 0)
    assert found.lines == (OtherUse("images", 0, 5_000_000, 1),)


@pytest.mark.parametrize(("old", "count"), [(None, 1), (price(requests="1"), 0)])
def test_a_fee_is_added_once(old: Price | None, count: int) -> None:
    found = difference_by(booked(old, Usage(0, 0)), Part.WHOLE, price(requests="5"), None)
    assert found.lines == (OtherUse("requests", count, 4_000_000 if old else 5_000_000, 0),)


def test_what_everybody_pays_is_the_cost_where_their_price_lacks_something() -> None:
    usage = Usage(1_000, 0, others=others_of({"web_searches": 2}))
    new = price(web_searches="10")
    both = difference_by(booked(None, usage), Part.WHOLE, new, price(input="3", web_searches="20"))
    assert (both.nanos, both.list_nanos, both.is_listed) == (22_000_000, 43_000_000, True)
    lacking = difference_by(booked(None, usage), Part.WHOLE, new, price(input="3"))
    assert (lacking.nanos, lacking.list_nanos, lacking.is_listed) == (22_000_000, None, False)


def test_by_a_corrected_price_all_changes_and_what_it_lacks_stays() -> None:
    usage = Usage(1_000, 100, others=others_of({"web_searches": 2, "images": 1}))
    call = booked(price(web_searches="10", images="5"), usage)
    found = whole_difference(call, price(input="3", web_searches="20"), None)
    assert (found.nanos, found.list_nanos) == (1_000_000 + 20_000_000, None)
    assert found.lines == (OtherUse("web_searches", 0, 20_000_000),)
    without_tokens = check_rates({"base": {"images": "6"}})
    found = whole_difference(call, without_tokens, None)
    assert (found.nanos, found.lines) == (1_000_000, (OtherUse("images", 0, 1_000_000),))


@pytest.mark.parametrize(
    ("reported", "change"), [(0, OtherUse("requests", -1, -5_000_000)), (2, None)]
)  # fmt: skip
def test_a_fee_goes_where_nobody_has_reported_a_request(reported: int, change: OtherUse | None) -> None:
    call = booked(price(requests="5"), Usage(1_000, 0, others=others_of({"requests": reported})))
    found = whole_difference(call, price(), None)
    assert found.lines == ((change,) if change else ())
    after = call.recosted(found.nanos, found.list_nanos, found.lines)
    assert after.has_fee == (change is None)
    again = whole_difference(after, price(requests="5"), None)
    assert after.use.cost_nanos + again.nanos == call.use.cost_nanos


def test_nothing_is_left_of_a_fee_that_has_gone() -> None:
    call, listed = booked(price(requests="5"), Usage(1_000, 0)), price(input="9")
    found = whole_difference(call, price(), listed)
    after = call.recosted(found.nanos, found.list_nanos, found.lines)
    assert (after.use.list_nanos, found.is_listed) == (9_000_000, True)
    assert whole_difference(after, price(), listed).is_nothing


def test_what_everybody_pays_follows_from_their_price_alone() -> None:
    call = booked(price(web_searches="10"), Usage(1_000, 0, others=others_of({"web_searches": 2})))
    found = whole_difference(call, price(input="3"), price(input="4", web_searches="30", requests="1"))
    assert (found.nanos, found.list_nanos, found.is_listed) == (1_000_000, 65_000_000 - 22_000_000, True)
    lacking = whole_difference(call, price(input="3"), price(input="4"))
    assert (lacking.nanos, lacking.list_nanos, lacking.is_listed) == (1_000_000, None, False)


@pytest.mark.parametrize(
    ("own", "unknown"),
    [
        ([], [(8, LAST_SEQUENCE - 1)]),
        ([8, 9], [(10, LAST_SEQUENCE - 1)]),
        ([9], [(8, 8), (10, LAST_SEQUENCE - 1)]),
        ([8, 11, 12], [(9, 10), (13, LAST_SEQUENCE - 1)]),
        ([2, 5, 7, 9], [(8, 8), (10, LAST_SEQUENCE - 1)]),
    ],
)
def test_of_later_batches_only_those_are_known_that_only_re_cost(
    own: list[int], unknown: list[tuple[int, int]]
) -> None:
    assert Basis("any", 7, 1, own).unknown_batches == unknown


COUNTS = st.integers(0, 100_000)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from([None, "batch"]), st.booleans())
def test_a_whole_call_after_it_costs_what_it_costs_when_it_is_made_now(
    tokens: int, output: int, searches: int, audio: int, tier: str | None, stood_in: bool
) -> None:
    """By a price that has a rate for everything, whatever it was booked at."""
    counts: dict[str, int] = {"web_searches": searches, "audio_input_tokens": min(audio, tokens)}
    usage = Usage(tokens, output, others=others_of(counts))
    rates: dict[str, Any] = {"input": "3", "output": "5", "web_searches": "10", "audio_input": "7", "requests": "2"}
    new = check_rates({"base": rates, "tiers": [{"above": 9_000, "rates": {**rates, "input": "6"}}]})
    call = booked(price() if stood_in else None, usage, tier=tier)
    found = difference_by(call, Part.WHOLE, new, None)
    cost, lines, _ = charge(new, usage, tier, 1, NOW)
    after = call.recosted(found.nanos, found.list_nanos, found.lines)
    assert after.use.cost_nanos == cost
    assert after.use.others == lines
    assert difference_by(after, Part.KINDS, new, None).is_nothing
    assert whole_difference(after, new, None).is_nothing
    assert call.use.cost_nanos + whole_difference(call, new, None).nanos == cost
