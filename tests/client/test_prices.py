"""The client counts what a leased call may cost exactly as the service does."""

from hypothesis import given
from hypothesis import strategies as st
from token_ledger_sdk.leases.sizes import Size as ClientSize
from token_ledger_sdk.leases.sizes import hold_cost
from token_ledger_sdk.wire.fields import Fields
from token_ledger_sdk.wire.leases import LeasePrice

from token_ledger.core.model.hold_cost import CacheWrite, Size, hold_cost_nanos
from token_ledger.core.model.money import format_money
from token_ledger.core.model.price import Price, Rates
from token_ledger.wire.answers.leases import price_answer

rates = st.builds(Rates, *[st.integers(0, 200 * 10**18) for _ in range(6)])
prices = st.builds(
    lambda base, above, higher, fee: Price(
        1, base, tuple(sorted(zip(above, higher, strict=False))), others={} if fee is None else {"requests": fee}
    ),
    rates,
    st.lists(st.integers(1, 300_000), max_size=2, unique=True),
    st.lists(rates, min_size=2, max_size=2),
    st.none() | st.integers(0, 200 * 10**18),
)
tokens = st.one_of(st.integers(0, 10), st.integers(0, 400_000), st.integers(0, 100_000_000))


@given(prices, tokens, tokens, tokens, st.sampled_from((None, *CacheWrite)))
def test_a_call_may_cost_the_same_here_and_there(
    price: Price, uncached: int, cached: int, output: int, write: CacheWrite | None
) -> None:
    told = Fields(price_answer(price)).read(LeasePrice)
    for whole in {uncached + cached, *(above + more for above, _ in price.tiers for more in (0, 1))}:
        part = min(cached, whole)
        here = hold_cost(told, ClientSize(whole, output, part), None if write is None else write.value)
        assert format(here, "f") == format_money(hold_cost_nanos(price, Size(whole, part, output, write)))
