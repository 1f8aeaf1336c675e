"""A call that is booked in parts costs what it costs as a whole, to the nano-dollar, however it is split."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.given import LARGE, NOW, Ledger, balance, budget, lease, rates, settle
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Granted, Settled
from token_ledger.core.model.charge import Assumed, OtherUse, charge, token_cost_nanos
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.other_kinds import OTHER_KINDS, others_of
from token_ledger.core.model.price import ModelPrices, Price, PriceBook, Rates
from token_ledger.core.model.price_terms import OwnPrice, PriceTerms, book_with
from token_ledger.core.model.usage import KINDS, Usage, clamp, usage_from

TIERED = replace(LARGE, base=rates("2.5", "15", "0.25", "2.5", "2.5", "15"),
                 tiers=((200_000, rates("6", "22.5", "0.5", "6", "6", "22.5")),))  # fmt: skip
PARTS = (Usage(120_000, 0), Usage(120_000, 400), Usage(0, 600))


class Streaming:
    """Books parts of calls of models whose prices it is given; the others are those of the core's tests."""

    def __init__(self, stand_in: Price | None = None, **prices: Price) -> None:
        self.ledger = Ledger(budget(nanos=10**15))
        models = {("acme", name): ModelPrices("acme", name, (price,)) for name, price in prices.items()}
        own = () if stand_in is None else (OwnPrice(stand_in.price_id, "*", "*", NOW, {}, stand_in),)
        book = book_with(PriceBook(models, lambda *_: None), PriceTerms(own))
        self.ledger.books = Books(self.ledger.books.config, book, 1, NOW, Loaded())
        self.hold = self.ledger.granted(input_tokens=240_000)
        self._keys = 0

    def book(self, usage: Usage, *, part: bool, **fields: Any) -> UsageEvent:
        self._keys += 1
        outcome = self.ledger.one(
            settle(self.hold.reservation_id, usage, key=f"part-{self._keys}", part=part, **fields)
        )
        assert isinstance(outcome, Settled), outcome
        return outcome.event

    def in_parts(self, parts: tuple[Usage, ...], **last: Any) -> list[UsageEvent]:
        """Book a call, each time what it has used since; only the last part says what `last` does."""
        early = [self.book(usage, part=True) for usage in parts[:-1]]
        return [*early, self.book(parts[-1], part=False, **last)]

    def account(self) -> tuple[int, int]:
        """Settled and held nano-dollars."""
        [account] = self.ledger.books.accounts_by_id.values()
        return account.settled_nanos, account.held_nanos


def test_the_tier_follows_the_whole_input_and_corrects_the_parts_before() -> None:
    stream = Streaming(large=TIERED)
    costs = [event.cost_nanos for event in stream.in_parts(PARTS)]
    assert costs == [300_000_000, 1_149_000_000, 13_500_000]
    assert stream.account() == (1_462_500_000, 0)


def test_a_part_after_the_expiry_corrects_what_was_booked_before_it() -> None:
    stream = Streaming(large=TIERED)
    stream.book(PARTS[0], part=True)
    book = stream.ledger.books.prices
    stream.ledger.at(stream.hold.expires_at)
    stream.ledger.books.prices = book
    late = [stream.book(PARTS[1], part=True), stream.book(PARTS[2], part=False)]
    assert [(event.late, event.cost_nanos) for event in late] == [(True, 1_149_000_000), (True, 13_500_000)]


def test_each_model_that_served_parts_has_a_call_of_its_own() -> None:
    stream = Streaming(large=TIERED, other=replace(TIERED, price_id=2))
    for model in (None, "other", None, "other"):
        stream.book(Usage(120_000, 0), part=True, model=model)
    costs = [event.cost_nanos for event in stream.ledger.books.writes.parts]
    assert costs == [300_000_000, 300_000_000, 1_140_000_000, 1_140_000_000]
    assert [use.usage.input_tokens for use in stream.hold.drawn_use] == [240_000, 240_000]


def test_the_way_of_serving_that_is_said_last_counts_for_the_whole() -> None:
    half = replace(LARGE, base=Rates(*(rate // 2 for rate in LARGE.base)))
    stream = Streaming(large=replace(LARGE, service_tiers={"batch": (half,)}))
    costs = [event.cost_nanos for event in stream.in_parts((Usage(1_000, 0), Usage(0, 10)), service_tier="batch")]
    assert costs == [2_500_000, -1_200_000]
    assert stream.account() == (1_300_000, 0)


def test_a_correction_to_less_arms_thresholds_again_and_goes_back_to_the_hold() -> None:
    free = replace(LARGE, base=rates("0", "0", "0", "0", "0", "0"))
    stream = Streaming(large=replace(LARGE, service_tiers={"flex": (free,)}))
    [account] = stream.ledger.books.accounts_by_id.values()
    account.thresholds = (1,)
    account.limit_nanos = 10_000_000
    account.arm()
    held = account.held_nanos
    stream.book(Usage(1_000, 0), part=True)
    stream.book(Usage(1, 0), part=True, service_tier="flex")
    assert stream.account() == (0, held)
    assert [each.fired for each in stream.ledger.books.writes.thresholds] == [True, False]


def test_lines_of_other_kinds_are_corrected_too_and_the_fee_comes_once() -> None:
    dear = {"web_searches": rate_attos(Decimal("20")), "requests": rate_attos(Decimal("9"))}
    cheap = {"web_searches": rate_attos(Decimal("10")), "requests": rate_attos(Decimal("5"))}
    stream = Streaming(large=replace(TIERED, others=cheap, other_tiers=((200_000, dear),)))
    searched = Usage(120_000, 0, others=others_of({"web_searches": 2, "images": 1}))
    lines = [event.others for event in stream.in_parts((searched, Usage(120_000, 0), Usage(0, 1)))]
    assert lines == [
        (OtherUse("web_searches", 2, 20_000_000), OtherUse("images", 1, None)),
        (OtherUse("web_searches", 0, 20_000_000),),
        (OtherUse("requests", 1, 9_000_000),),
    ]


def test_calls_of_a_lease_are_calls_by_themselves() -> None:
    stream = Streaming(large=TIERED)
    granted = stream.ledger.one(lease(calls=2, input_tokens=120_000, max_output_tokens=0))
    assert isinstance(granted, Granted)
    stream.hold = granted.reservation
    assert [stream.book(Usage(120_000, 0), part=True).cost_nanos for _ in range(2)] == [300_000_000] * 2
    assert stream.hold.drawn_use == ()


def test_a_part_of_counted_units_only_makes_the_settle_no_whole_call() -> None:
    stream = Streaming(large=LARGE)
    stream.book(Usage(0, 0, others=others_of({"images": 1})), part=True, response_id="resp_1")
    assert stream.book(Usage(5, 5), part=False, response_id="resp_1").repetition is None


_rate = st.integers(0, 50 * 10**18)
_all_rates = st.builds(Rates, *[_rate] * 6)
_OTHERS = ("audio_input_tokens", "audio_cache_read_tokens", "audio_output_tokens", "web_searches", "requests")
_other_rates = st.dictionaries(st.sampled_from(_OTHERS), _rate)
_thresholds = st.lists(st.integers(1, 3_000), max_size=3, unique=True).map(sorted)


@st.composite
def _prices(draw: st.DrawFn) -> Price:
    above = draw(_thresholds)
    return Price(
        1, draw(_all_rates), tuple((each, draw(_all_rates)) for each in above), others=draw(_other_rates),
        other_tiers=tuple((each, draw(_other_rates)) for each in above), tiers_are_marginal=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def _splits(draw: st.DrawFn) -> tuple[Usage, ...]:
    count = st.one_of(st.sampled_from((0, 0, 1)), st.integers(0, 1_500))
    kinds = st.dictionaries(st.sampled_from([*KINDS, *OTHER_KINDS]), count)
    parts = draw(st.lists(kinds.map(lambda counts: clamp(usage_from(counts))[0]), min_size=1, max_size=5))
    return tuple(parts)


@given(
    _prices(), _prices(), _prices(), _splits(), st.sampled_from((None, "flex", "batch")),
    st.sampled_from((None, "flex", "batch")),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_parts_of_any_split_cost_what_the_whole_costs_line_by_line(
    price: Price, served: Price, other: Price, parts: tuple[Usage, ...], service_tier: str | None, before: str | None
) -> None:
    price, stand_in = replace(price, service_tiers={"flex": (served,)}), replace(other, price_id=-5)
    whole = usage_from({kind: sum(part.by_kind.get(kind, 0) for part in parts) for kind in (*KINDS, *OTHER_KINDS)})
    cost, lines, _ = charge(price, whole, service_tier, 1, NOW, Assumed((price, stand_in)))
    stream = Streaming(stand_in, large=price)
    events = [stream.book(part, part=True, service_tier=before) for part in parts[:-1]]
    events.append(stream.book(parts[-1], part=False, service_tier=service_tier))
    assert sum(event.cost_nanos for event in events) == cost == stream.account()[0]
    for line in lines:
        booked = [use for event in events for use in event.others if use.kind == line.kind]
        assert sum(use.count for use in booked) == line.count
        assert sum(use.nanos or 0 for use in booked) == (line.nanos or 0)
        assert sum(use.unpriced for use in booked) == line.unpriced
    assert {use.kind for event in events for use in event.others if use.count} == {line.kind for line in lines}
    tokens = token_cost_nanos(price.served_as(service_tier, NOW) or price, whole)
    assert sum(event.cost_nanos - sum(use.nanos or 0 for use in event.others) for event in events) == tokens
    assert balance(stream.ledger)[0][0] == whole.total_tokens
