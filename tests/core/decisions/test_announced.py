"""What a call announces beside its tokens is held at its rates, so that no call within it costs more than its hold."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.given import LARGE, NOW, SMALL, Ledger, budget, lease, rates, reserve
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Preflight
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Denied, Granted, PreflightAnswer
from token_ledger.core.model.charge import Assumed, charge
from token_ledger.core.model.hold_cost import Announced, Size, hold_cost_nanos, most_rates
from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.other_kinds import OTHER_KINDS, others_of
from token_ledger.core.model.price import ModelPrices, Price, PriceBook
from token_ledger.core.model.trigger import Downgrade, Mode, Trigger, TriggerKind
from token_ledger.core.model.usage import KINDS, clamp, usage_from

OTHERS = {"web_searches": "10", "audio_input_tokens": "40", "audio_output_tokens": "8", "audio_seconds": "0.36"}
SPEECH = replace(
    LARGE, others={kind: rate_attos(Decimal(rate)) for kind, rate in OTHERS.items()},
    service_tiers={"flex": (replace(SMALL, price_id=1, others={"web_searches": rate_attos(Decimal(5))}),)},
)  # fmt: skip
BARE = 1_000 * 2_500 + 500 * 10_000
"""What a call without anything else holds."""


def speaking(*, nanos: int = 10**12, **fields: Any) -> Ledger:
    made = Ledger(budget(nanos=nanos), **fields)
    book = {
        ("acme", name): ModelPrices("acme", name, (price,)) for name, price in (("large", SPEECH), ("small", SMALL))
    }
    made.books = Books(made.books.config, PriceBook(book, lambda *_: None), 1, NOW, Loaded())
    return made


@pytest.mark.parametrize(
    ("most", "nanos", "without_price"),
    [
        ({"web_searches": 5}, BARE + 50_000_000, ()),
        ({"audio_input_tokens": 400}, BARE + 400 * 37_500, ()),
        ({"audio_output_tokens": 100}, BARE, ()),  # costs less than the text that is held
        ({"audio_seconds": 60}, BARE + 6_000_000, ()),
        ({"images": 2, "web_searches": 1}, BARE + 10_000_000, ("images",)),
        ({"video_input_tokens": 100}, BARE, ("video_input_tokens",)),
    ],
)
def test_other_kinds_are_held_at_their_rates_and_those_without_one_are_named(
    most: dict[str, int], nanos: int, without_price: tuple[str, ...]
) -> None:
    held = speaking().granted(max_usage=others_of(most))
    assert (held.held_nanos, held.announced) == (nanos, Announced(others_of(most), None, without_price))


@pytest.mark.parametrize(
    ("tier", "nanos", "without_price"),
    [("flex", 1_000 * 100 + 500 * 500 + 5_000_000, ()), ("batch", BARE + 10_000_000, ("service_tier",))],
)
def test_a_call_is_held_at_the_rates_of_how_it_will_be_served(
    tier: str, nanos: int, without_price: tuple[str, ...]
) -> None:
    held = speaking().granted(max_usage=(("web_searches", 1),), service_tier=tier)
    assert (held.held_nanos, held.price_id) == (nanos, 1)
    assert held.announced == Announced((("web_searches", 1),), tier, without_price)


def test_a_call_that_announces_nothing_has_nothing_to_say() -> None:
    assert speaking().granted().announced is None


def test_a_lease_and_a_preflight_hold_what_every_call_announces() -> None:
    ledger = speaking()
    call = reserve(max_usage=(("web_searches", 5),), service_tier="flex")
    planned = ledger.one(Preflight(((call, 7),)))
    assert isinstance(planned, PreflightAnswer)
    each = 1_000 * 100 + 500 * 500 + 25_000_000
    assert (planned.fits, planned.nanos) == ((7,), 7 * each)
    lent = ledger.one(lease(max_usage=(("web_searches", 5),), service_tier="flex"))
    assert isinstance(lent, Granted)
    assert lent.reservation.held_nanos == 4 * each
    assert lent.price == SPEECH.service_tiers["flex"][0], "its calls are counted at the rates of flex"
    again = ledger.one(lease(max_usage=(("web_searches", 5),), service_tier="flex"))
    assert isinstance(again, Granted)
    assert (again.replayed, again.price) == (True, lent.price)


def test_a_denial_says_which_output_fits_beside_what_is_announced() -> None:
    ledger = speaking(nanos=BARE)
    denied = ledger.one(reserve(max_usage=(("audio_input_tokens", 40),)))
    assert isinstance(denied, Denied)
    assert denied.denial.fits_output_tokens == 500 - 40 * 37_500 // 10_000


def test_a_cheaper_model_holds_what_is_announced_at_its_own_rates() -> None:
    step = Downgrade("acme", "large", "acme", "small", (), 10**6)
    ladder = Trigger(7, TriggerKind.HIGH_COST, 1, Mode.APPLY, None, 1, (step,))
    held = speaking(triggers=(ladder,)).granted(max_usage=(("web_searches", 5),))
    assert held.facts.model == "small"
    assert held.announced == Announced((("web_searches", 5),), None, ("web_searches",))


_counts = st.integers(0, 2_000)
_rates = st.dictionaries(st.sampled_from([*OTHER_KINDS]), st.integers(0, 60 * 10**18))


@given(
    st.dictionaries(st.sampled_from([*KINDS, *OTHER_KINDS]), _counts), _rates,
    st.dictionaries(st.sampled_from([*OTHER_KINDS]), _counts), _rates, _rates, st.booleans(), st.booleans(),
)  # fmt: skip
def test_no_call_within_what_it_announced_costs_more_than_its_hold(
    used: dict[str, int], others: dict[str, int], more: dict[str, int], assumed: dict[str, int],
    beyond: dict[str, int], own_divides: bool, other_divides: bool,
) -> None:  # fmt: skip
    base = rates("2.5", "10", "0.25", "2.5", "2.5", "12")
    tiers = ((1_000, base),)
    price = Price(
        1, base, tiers if own_divides else (), others=others, other_tiers=((1_000, others),),
        tiers_are_marginal=own_divides,
    )  # fmt: skip
    beyond = {kind: beyond.get(kind, rate) for kind, rate in assumed.items()}
    stand_in = Price(
        -5, base, tiers, others=assumed, other_tiers=((1_000, beyond),), tiers_are_marginal=other_divides
    )  # fmt: skip
    usage, _ = clamp(usage_from(used))
    usage = replace(usage, cache_write_5m_tokens=0, cache_write_1h_tokens=0)
    most = others_of({kind: count + more.get(kind, 0) for kind, count in {**more, **dict(usage.others)}.items()})
    size = Size(
        usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, None, most, most_rates(stand_in, most)
    )  # fmt: skip
    cost, lines, _ = charge(price, usage, None, 1, NOW, Assumed((stand_in,)))
    # Each kind is rounded by itself, which may give half a nano-dollar more than rounding them together.
    assert cost <= hold_cost_nanos(price, size) + 1 + len(lines)
