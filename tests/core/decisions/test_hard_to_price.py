"""Models without a rate for tokens, and those that another price stands in for: never free, never a failure."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.core.given import LARGE, NOW, Ledger, budget, record, reserve, settle
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Preflight
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Denied, Granted, PreflightAnswer, Recorded, Refused, Settled
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.price import ModelPrices, Price, PriceBook
from token_ledger.core.model.price_terms import OwnPrice, PriceTerms, book_with
from token_ledger.core.model.trigger import Downgrade, Mode, Trigger, TriggerKind
from token_ledger.core.model.usage import Usage
from token_ledger.storage.prices import check_rates

BY_THE_HOUR = Price(7, LARGE.base._replace(input=0, output=0, reasoning=0), others={"audio_seconds": 36 * 10**16},
                    has_token_rates=False)  # fmt: skip
MODELS = {("acme", "large"): LARGE, ("acme", "ear"): BY_THE_HOUR}
BOOK = PriceBook({name: ModelPrices(*name, (price,)) for name, price in MODELS.items()}, lambda *_: None)
DOWN = Downgrade("acme", "large", "acme", "ear", (), 10**6)
LADDER = Trigger(7, TriggerKind.HIGH_COST, 1, Mode.APPLY, None, 1, (DOWN,))


def ledger(book: PriceBook = BOOK, **fields: Any) -> Ledger:
    made = Ledger(budget(nanos=10**12), **fields)
    made.books = Books(made.books.config, book, 1, NOW, Loaded())
    return made


def test_no_hold_is_given_for_tokens_without_a_rate() -> None:
    refused = ledger().one(reserve(model="ear"))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field) == ("unknown_model", "model")
    assert "priced by audio_seconds and not by the token" in refused.detail
    for announced in ({"input_tokens": 1}, {"max_output_tokens": 1}, {"max_usage": others_of({"pages": 9})}):
        asked = {"input_tokens": 0, "max_output_tokens": 0, "max_usage": others_of({"audio_seconds": 60}), **announced}
        assert isinstance(ledger().one(reserve(model="ear", **asked)), Refused)
    assert isinstance(ledger().one(reserve(model="ear", input_tokens=0, max_output_tokens=0)), Refused)


SECONDS = {"input_tokens": 0, "max_output_tokens": 0, "max_usage": others_of({"audio_seconds": 60})}


def test_what_is_priced_by_the_piece_is_held_by_the_piece() -> None:
    books = ledger()
    granted = books.one(reserve(model="ear", **SECONDS))
    assert isinstance(granted, Granted)
    assert granted.reservation.held_nanos == 6_000_000
    used = settle(granted.reservation.reservation_id, Usage(others=others_of({"audio_seconds": 45})))
    settled = books.one(used)
    assert isinstance(settled, Settled)
    assert (settled.event.cost_nanos, settled.event.unpriced, settled.event.overrun) == (4_500_000, False, False)


def test_a_money_limit_has_no_room_for_more_by_the_piece() -> None:
    books = ledger()
    dear = {**SECONDS, "max_usage": others_of({"audio_seconds": 60 * 200_000})}
    assert isinstance(books.one(reserve(model="ear", **dear)), Denied)


def test_no_ladder_leads_to_a_model_whose_tokens_have_no_rate() -> None:
    granted = ledger(triggers=(LADDER,)).one(reserve())
    assert isinstance(granted, Granted)
    assert granted.reservation.facts.model == "large"


def test_tokens_that_a_model_without_a_rate_for_them_served_cost_what_was_held() -> None:
    books = ledger()
    settled = books.one(settle(books.granted().reservation_id, Usage(1_000, 100), model="ear", provider="acme"))
    assert isinstance(settled, Settled)
    assert (settled.event.cost_nanos, settled.event.unpriced) == (1_000 * 2_500 + 100 * 10_000, True)


def test_what_it_does_price_is_charged_without_a_hold() -> None:
    heard = ledger().one(record(model="ear", usage=Usage(others=others_of({"audio_seconds": 60}))))
    assert isinstance(heard, Recorded)
    assert (heard.event.cost_nanos, heard.event.unpriced) == (6_000_000, False)


@pytest.mark.parametrize("calls", [1, 5])
def test_a_model_that_another_price_stands_in_for_can_be_planned(calls: int) -> None:
    rates = {"base": {"input": "1", "output": "2"}}
    stand_in = OwnPrice(-5, "*", "*", NOW - timedelta(days=1), {}, replace(check_rates(rates), price_id=-5))
    books = ledger(book_with(BOOK, PriceTerms((stand_in,))))
    call = reserve(model="unheard-of")
    planned = books.one(Preflight(((call, calls),)))
    assert isinstance(planned, PreflightAnswer)
    assert (planned.fits, planned.nanos) == ((calls,), calls * 2_000_000)
    granted = books.one(call)
    assert isinstance(granted, Granted)
    settled = books.one(settle(granted.reservation.reservation_id, Usage(1_000, 100)))
    assert isinstance(settled, Settled)
    assert (settled.event.cost_nanos, settled.event.unpriced) == (1_200_000, True)


def test_a_way_of_serving_in_a_tenants_own_price_has_no_rate_that_it_does_not_name() -> None:
    plain = {"base": {"input": "1", "output": "2"}}
    price = check_rates({**plain, "service_tiers": {"batch": [plain]}})
    [batch] = price.service_tiers["batch"]
    assert (price.others, batch.others) == ({}, {})
