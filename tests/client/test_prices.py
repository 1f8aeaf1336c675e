"""The client counts what a leased call may cost exactly as the service does."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from token_ledger_sdk.leases.sizes import Size as ClientSize
from token_ledger_sdk.leases.sizes import hold_cost
from token_ledger_sdk.wire.fields import Fields
from token_ledger_sdk.wire.leases import LeasePrice

from token_ledger.core.model.hold_cost import Announced, CacheWrite, Size, hold_cost_nanos
from token_ledger.core.model.money import format_money
from token_ledger.core.model.other_kinds import Others, others_of
from token_ledger.core.model.price import Price, Rates
from token_ledger.wire.answers.leases import price_answer

KINDS = ("audio_input_tokens", "audio_cache_read_tokens", "audio_output_tokens", "web_searches", "audio_seconds")
rates = st.builds(Rates, *[st.integers(0, 200 * 10**18) for _ in range(6)])
prices = st.builds(
    lambda base, above, higher, fee, others, marginal: Price(
        1,
        base,
        tuple(sorted(zip(above, higher, strict=False))),
        others=others if fee is None else {**others, "requests": fee},
        tiers_are_marginal=marginal,
    ),
    rates,
    st.lists(st.integers(1, 300_000), max_size=2, unique=True),
    st.lists(rates, min_size=2, max_size=2),
    st.none() | st.integers(0, 200 * 10**18),
    st.dictionaries(st.sampled_from(KINDS), st.integers(0, 200 * 10**18)),
    st.booleans(),
)
announced = st.dictionaries(st.sampled_from(KINDS), st.integers(1, 100_000)).map(others_of)
tokens = st.one_of(st.integers(0, 10), st.integers(0, 400_000), st.integers(0, 100_000_000))


@given(prices, tokens, tokens, tokens, st.sampled_from((None, *CacheWrite)), announced)
def test_a_call_may_cost_the_same_here_and_there(
    price: Price, uncached: int, cached: int, output: int, write: CacheWrite | None, others: Others
) -> None:
    told = Fields(price_answer(price, Announced(others))).read(LeasePrice)
    for whole in {uncached + cached, *(above + more for above, _ in price.tiers for more in (0, 1))}:
        part = min(cached, whole)
        here = hold_cost(told, ClientSize(whole, output, part), None if write is None else write.value)
        there = format_money(hold_cost_nanos(price, Size(whole, part, output, write, others)))
        if write is None:
            assert format(here, "f") == there
        # What is written to the cache may cost more than its audio: the client, which adds both, is on the safe side.
        assert here >= Decimal(there)
