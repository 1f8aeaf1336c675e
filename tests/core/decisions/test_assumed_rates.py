"""What a call's price has no rate for costs what its hold was priced at, else what stands in: and stays unpriced."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.core.given import LARGE, NOW, Ledger, budget, lease, rates, record, reserve, settle
from token_ledger.core.batch.administration import Reverse
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import OtherModel, Preflight
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Denied, Granted, PreflightAnswer, Recorded, Refused, Reversed, Settled
from token_ledger.core.model.charge import OtherUse
from token_ledger.core.model.details import Kind
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.hold_cost import Announced
from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.price import ModelName, ModelPrices, OtherRates, Price, PriceBook
from token_ledger.core.model.price_terms import OwnPrice, PriceTerms, book_with
from token_ledger.core.model.recosting import RecostableCall, recosting_of
from token_ledger.core.model.usage import Usage


def others(**dollars: str) -> OtherRates:
    return {kind: rate_attos(Decimal(rate)) for kind, rate in dollars.items()}


FLEX = replace(LARGE, price_id=4, others=others(web_searches="4"))
SEARCHER = replace(LARGE, price_id=4, others=others(web_searches="10"), service_tiers={"flex": (FLEX,)})
EAR = Price(7, rates("0", "0", "0", "0", "0", "0"), others=others(audio_seconds="0.36"), has_token_rates=False)
STAND_IN = Price(
    -5, rates("15", "75", "15", "15", "15", "75"),
    others=others(web_searches="20", images="50", audio_seconds="3.6", audio_output_tokens="100"),
)  # fmt: skip
USED = Usage(1_000, 100, others=others_of({"web_searches": 2, "images": 1}))
TOKENS = 1_000 * 2_500 + 100 * 10_000


def ledger(stand_in: Price | None = STAND_IN, *, nanos: int = 10**12, **models: Price) -> Ledger:
    """A ledger with a hard budget of money, some models, and perhaps a price that stands in for unknown ones."""
    made = Ledger(budget(nanos=nanos))
    models = {"large": LARGE, "searcher": SEARCHER, "ear": EAR, **models}
    book = PriceBook({("acme", name): ModelPrices("acme", name, (price,)) for name, price in models.items()},
                     lambda *_: None)  # fmt: skip
    own = () if stand_in is None else (OwnPrice(-5, "*", "*", NOW - timedelta(days=1), {}, stand_in),)
    made.books = Books(made.books.config, book_with(book, PriceTerms(own)), 1, NOW, Loaded())
    return made


def settled(books: Ledger, usage: Usage = USED, *, held: dict[str, Any] | None = None, **fields: Any) -> UsageEvent:
    """Reserve and settle a call."""
    outcome = books.one(settle(books.granted(**(held or {})).reservation_id, usage, **fields))
    assert isinstance(outcome, Settled), outcome
    return outcome.event


def recorded(books: Ledger, usage: Usage = USED, **fields: Any) -> UsageEvent:
    outcome = books.one(record(usage=usage, **fields))
    assert isinstance(outcome, Recorded), outcome
    return outcome.event


def spent(books: Ledger) -> int:
    [account] = books.books.accounts_by_id.values()
    return account.settled_nanos


def test_a_kind_costs_what_its_hold_was_priced_at_and_what_that_lacks_what_stands_in() -> None:
    books = ledger()
    event = settled(books, held={"model": "searcher"}, provider="acme", model="large")
    assert event.others == (
        OtherUse("web_searches", 2, 20_000_000, assumed_by=4), OtherUse("images", 1, 50_000_000, assumed_by=-5),
    )  # fmt: skip
    assert [use.unpriced for use in event.others] == [2, 1]
    assert (event.price_id, event.unpriced) == (1, True)
    assert event.cost_nanos == spent(books) == TOKENS + 70_000_000


@pytest.mark.parametrize(
    ("tier", "served", "searches"), [("flex", None, 8_000_000), (None, "flex", 20_000_000), (None, None, 20_000_000)]
)
def test_it_costs_the_rates_of_the_way_of_serving_that_was_held(
    tier: str | None, served: str | None, searches: int
) -> None:
    held = {"model": "searcher", "service_tier": tier}
    event = settled(ledger(), held=held, provider="acme", model="large", service_tier=served)
    assert event.others[0] == OtherUse("web_searches", 2, searches, assumed_by=4)


def test_it_costs_what_was_held_although_the_way_it_was_served_in_has_no_rate() -> None:
    batch = replace(LARGE, price_id=4)
    books = ledger(searcher=replace(SEARCHER, service_tiers={"batch": (batch,)}))
    event = settled(books, held={"model": "searcher"}, service_tier="batch")
    assert event.others[0] == OtherUse("web_searches", 2, 20_000_000, assumed_by=4)
    assert event.unpriced


@pytest.mark.parametrize("with_hold", [True, False])
def test_without_a_rate_in_its_hold_or_without_a_hold_it_costs_what_stands_in(*, with_hold: bool) -> None:
    books = ledger()
    event = settled(books) if with_hold else recorded(books)
    assert event.others == (
        OtherUse("web_searches", 2, 40_000_000, assumed_by=-5), OtherUse("images", 1, 50_000_000, assumed_by=-5),
    )  # fmt: skip
    assert (event.price_id, event.unpriced) == (1, True)
    assert event.cost_nanos == spent(books) == TOKENS + 90_000_000


@pytest.mark.parametrize("with_hold", [True, False])
def test_without_any_rate_it_costs_nothing(*, with_hold: bool) -> None:
    books = ledger(None)
    event = settled(books) if with_hold else recorded(books)
    assert event.others == (OtherUse("web_searches", 2, None), OtherUse("images", 1, None))
    assert (event.cost_nanos, event.unpriced) == (TOKENS, True)


def test_what_has_a_price_of_its_own_is_not_assumed() -> None:
    event = settled(ledger(), held={"model": "searcher"}, usage=Usage(1_000, 100, others=(("web_searches", 2),)))
    assert (event.others, event.unpriced) == ((OtherUse("web_searches", 2, 20_000_000),), False)


@pytest.mark.parametrize("with_hold", [True, False])
def test_a_model_without_a_price_for_its_tokens_costs_what_stands_in_but_for_what_it_has_a_price_for(
    *, with_hold: bool
) -> None:
    used = Usage(1_000, 100, others=others_of({"images": 1, "audio_seconds": 60}))
    books = ledger()
    event = settled(books, used, held={"model": "ear"}) if with_hold else recorded(books, used, model="ear")
    assert event.others == (
        OtherUse("images", 1, 50_000_000, assumed_by=-5),
        OtherUse("audio_seconds", 60, 6_000_000, priced=60, assumed_by=7),
    )
    assert [use.unpriced for use in event.others] == [1, 0]
    assert (event.price_id, event.unpriced) == (-5, True)
    assert event.cost_nanos == 1_000 * 15_000 + 100 * 75_000 + 56_000_000


def test_a_model_with_a_fee_and_without_a_price_for_its_tokens_keeps_its_fee() -> None:
    caller = replace(EAR, others=others(requests="5"))
    event = recorded(ledger(caller=caller), Usage(1_000, 100), model="caller")
    assert event.others == (OtherUse("requests", 1, 5_000_000, priced=1, assumed_by=7),)
    name = ModelName("acme", "caller")
    new = PriceBook({name: ModelPrices(*name, (replace(LARGE, price_id=8, others=others(requests="7")),))},
                    lambda *_: None)  # fmt: skip
    stands_in = book_with(new, PriceTerms((OwnPrice(-5, "*", "*", NOW - timedelta(days=1), {}, STAND_IN),)))
    found = recosting_of(stands_in, RecostableCall((event,), name))
    assert found is not None
    assert found.difference.lines == (OtherUse("requests", 0, 2_000_000),)


@pytest.mark.parametrize("stand_in", [None, replace(STAND_IN, has_token_rates=False)])
def test_tokens_without_any_price_cost_nothing(stand_in: Price | None) -> None:
    event = recorded(ledger(stand_in), Usage(1_000, 100, others=(("audio_seconds", 60),)), model="ear")
    assert event.others == (OtherUse("audio_seconds", 60, 6_000_000),)
    assert (event.price_id, event.cost_nanos, event.unpriced) == (7, 6_000_000, True)


def test_the_kinds_of_a_model_without_any_price_count_as_unpriced_too() -> None:
    for event in (recorded(ledger(), model="unheard-of"), settled(ledger(), held={"model": "unheard-of"})):
        assert event.others[0] == OtherUse("web_searches", 2, 40_000_000, assumed_by=-5)
        assert (event.price_id, event.cost_nanos) == (-5, 1_000 * 15_000 + 100 * 75_000 + 90_000_000)
    served = settled(ledger(None), held={"model": "searcher"}, model="unheard-of")
    assert served.others == (OtherUse("web_searches", 2, 20_000_000, assumed_by=4), OtherUse("images", 1, None))


def test_a_discount_on_the_hold_counts() -> None:
    books = ledger(searcher=replace(SEARCHER, discount_id=9, others=others(web_searches="5")))
    [line] = settled(
        books, Usage(0, 0, others=(("web_searches", 2),)), held={"model": "searcher"}, provider="acme", model="large"
    ).others
    assert line == OtherUse("web_searches", 2, 10_000_000, assumed_by=4, discount_id=9)


def test_another_model_in_a_call_costs_what_it_would_by_the_price_of_the_hold() -> None:
    books = ledger()
    held = books.granted(model="searcher")
    inner = OtherModel("acme", "large", USED)
    outcome = books.one(settle(held.reservation_id, Usage(10, 1), other_models=(inner,)))
    assert isinstance(outcome, Settled)
    [event] = outcome.others
    assert event.others[0] == OtherUse("web_searches", 2, 20_000_000, assumed_by=4)
    assert (event.cost_nanos, event.unpriced) == (TOKENS + 70_000_000, True)


def test_what_a_cache_hit_saved_and_what_a_caller_says_of_a_cost_assumes_nothing() -> None:
    hit = recorded(ledger(), event_kind=Kind.CACHE_HIT)
    assert hit.details is not None
    assert hit.details.saved is not None
    assert (hit.cost_nanos, hit.details.saved.nanos, hit.unpriced) == (0, TOKENS, True)
    called = recorded(ledger(), event_kind=Kind.TOOL_CALL, tool="search", cost_nanos=5)
    assert (called.cost_nanos, called.others[0], called.unpriced) == (5, OtherUse("web_searches", 2, None), False)


def test_a_hard_budget_has_what_was_assumed() -> None:
    books = ledger(nanos=TOKENS + 90_000_000 + 7_500_000)
    recorded(books)
    assert isinstance(books.one(reserve(key="fits", max_output_tokens=500)), Granted)
    denied = books.one(reserve(key="refused", input_tokens=1, max_output_tokens=0))
    assert isinstance(denied, Denied)
    without = ledger(None, nanos=TOKENS + 90_000_000)
    recorded(without)
    assert isinstance(without.one(reserve(key="fits", max_output_tokens=500)), Granted)


def test_an_announced_kind_without_a_price_is_held_at_what_stands_in_and_costs_no_more() -> None:
    books = ledger()
    most = others_of({"images": 3, "audio_output_tokens": 10, "pages": 5})
    held = books.granted(max_usage=most)
    # Of the output, ten tokens may cost 100 instead of 10 dollars a million.
    assert held.held_nanos == 1_000 * 2_500 + 500 * 10_000 + 150_000_000 + 10 * 90_000
    assert held.announced == Announced(most, None, ("audio_output_tokens", "images", "pages"), assumed_by=-5)
    outcome = books.one(settle(held.reservation_id, Usage(1_000, 500, others=most)))
    assert isinstance(outcome, Settled)
    assert (outcome.event.cost_nanos, outcome.event.overrun) == (held.held_nanos, False)
    assert ledger(None).granted(max_usage=most).held_nanos == 1_000 * 2_500 + 500 * 10_000


def test_a_lease_and_a_preflight_hold_it_too_also_when_asked_again() -> None:
    books = ledger()
    call = reserve(max_usage=others_of({"images": 3}))
    planned = books.one(Preflight(((call, 2),)))
    assert isinstance(planned, PreflightAnswer)
    assert (planned.nanos, planned.fits) == (2 * 157_500_000, (2,))
    lent = [books.one(lease(max_usage=others_of({"images": 3}))) for _ in range(2)]
    for answer in lent:
        assert isinstance(answer, Granted)
        assert answer.assumed_rates == (("images", 50 * 10**18),)
        assert answer.reservation.held_nanos == 4 * 157_500_000


@pytest.mark.parametrize("room", [157_500_000 - 1, 157_500_000])
def test_a_denial_says_what_fits_beside_it(room: int) -> None:
    books = ledger(nanos=room)
    outcome = books.one(reserve(max_usage=others_of({"images": 3})))
    if room == 157_500_000:
        assert isinstance(outcome, Granted)
    else:
        assert isinstance(outcome, Denied)
        assert outcome.denial.fits_output_tokens == 499


def test_it_is_held_at_the_highest_rate_that_stands_in_and_in_the_band_where_it_adds_most() -> None:
    dear = others(images="70", audio_input_tokens="40")
    books = ledger(replace(STAND_IN, others=others(images="50", audio_input_tokens="4"), other_tiers=((9_000, dear),),
                           tiers=((9_000, STAND_IN.base),)))  # fmt: skip
    assert books.granted(max_usage=others_of({"images": 3})).held_nanos == 1_000 * 2_500 + 500 * 10_000 + 210_000_000
    cheap = rates("1", "10", "1", "1", "1", "10")
    graduated = ledger(
        replace(STAND_IN, others=dear), large=replace(LARGE, tiers=((600, cheap),), tiers_are_marginal=True)
    )
    held = graduated.granted(max_usage=others_of({"audio_input_tokens": 100}))
    # Beyond 600 tokens of input a token costs 1 instead of 2.5 dollars a million, and one of audio 40.
    assert held.held_nanos == 600 * 2_500 + 400 * 1_000 + 500 * 10_000 + 100 * 39_000


def test_what_it_was_held_at_counts_also_where_another_price_has_stood_in_since() -> None:
    books = ledger()
    held = books.granted(max_usage=others_of({"images": 3}))
    cheaper = OwnPrice(
        -9, "*", "*", NOW - timedelta(hours=1), {}, replace(STAND_IN, price_id=-9, others=others(images="1"))
    )
    first = OwnPrice(-5, "*", "*", NOW - timedelta(days=1), {}, STAND_IN)
    books.books.prices = book_with(books.books.prices.base, PriceTerms((first, cheaper)))
    outcome = books.one(settle(held.reservation_id, Usage(1_000, 500, others=others_of({"images": 3}))))
    assert isinstance(outcome, Settled)
    assert (outcome.event.cost_nanos, outcome.event.others[0].assumed_by) == (held.held_nanos, -5)


def test_what_stands_in_for_other_kinds_only_holds_no_tokens() -> None:
    books = ledger(replace(STAND_IN, has_token_rates=False))
    assert isinstance(books.one(reserve(model="unheard-of")), Refused)
    assert books.granted(key="known", max_usage=others_of({"images": 3})).held_nanos == 157_500_000


def test_parts_add_up_to_the_whole_and_the_way_that_is_said_last_counts() -> None:
    """Two searches have no price; the whole is a batch, which has one; a third comes with it."""
    batch = replace(LARGE, others=others(web_searches="6"))
    books = ledger(large=replace(LARGE, service_tiers={"batch": (batch,)}))
    held = books.granted()
    events = []
    for number, (count, tier) in enumerate(((2, None), (1, None), (0, None), (1, "batch"))):
        used = Usage(0, 0, others=others_of({"web_searches": count}))
        outcome = books.one(
            settle(held.reservation_id, used, key=f"part {number}", part=tier is None, service_tier=tier)
        )
        assert isinstance(outcome, Settled)
        events.append(outcome.event)
    assert [event.others for event in events] == [
        (OtherUse("web_searches", 2, 40_000_000, assumed_by=-5),),
        (OtherUse("web_searches", 1, 20_000_000, assumed_by=-5),),
        (),
        (OtherUse("web_searches", 1, 24_000_000 - 60_000_000, priced=3),),
    ]
    assert sum(use.unpriced for event in events for use in event.others) == 0
    assert [event.unpriced for event in events] == [True, True, True, False]
    assert spent(books) == 24_000_000


def test_a_reversal_takes_back_what_was_assumed() -> None:
    books = ledger()
    event = recorded(books)
    books.books.loaded.events[event.event_id] = event
    outcome = books.one(Reverse("e", b"", "test", ((event.event_id, NOW),), "wrong", "root"))
    assert isinstance(outcome, Reversed), outcome
    [correction] = books.books.writes.corrections
    assert correction.others == (
        OtherUse("web_searches", -2, -40_000_000, assumed_by=-5), OtherUse("images", -1, -50_000_000, assumed_by=-5),
    )  # fmt: skip
    assert (sum(use.unpriced for use in correction.others), spent(books)) == (-3, 0)


def test_re_costing_books_the_difference_to_what_was_assumed_once() -> None:
    event = recorded(ledger())
    name = ModelName("acme", "large")

    def book(*dated: Price) -> PriceBook:
        return PriceBook({name: ModelPrices(*name, (LARGE, *dated))}, lambda *_: None)

    assert recosting_of(book(), RecostableCall((event,), name)) is None
    found = recosting_of(book(replace(LARGE, price_id=8, others=others(images="30"))), RecostableCall((event,), name))
    assert found is not None
    assert (found.difference.nanos, found.difference.tokens) == (-20_000_000, 0)
    assert found.difference.lines == (OtherUse("images", 0, -20_000_000, priced=1),)
    booked = replace(event, others=found.difference.lines, cost_nanos=-20_000_000, recosts=event.event_id)
    both = replace(LARGE, price_id=9, others=others(images="1", web_searches="25"))
    again = recosting_of(book(both), RecostableCall((event,), name, (booked,)))
    assert again is not None
    assert again.difference.lines == (OtherUse("web_searches", 0, 10_000_000, priced=2),)
