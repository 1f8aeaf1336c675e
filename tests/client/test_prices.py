"""The client counts what a leased call may cost exactly as the service does."""

from hypothesis import given
from hypothesis import strategies as st
from token_ledger_sdk.fields import Fields
from token_ledger_sdk.leases import LeasePrice
from token_ledger_sdk.leases import Size as ClientSize

from token_ledger.api.values import price_value
from token_ledger.core.money import format_money
from token_ledger.core.price import CacheWrite, Price, Rates, Size, hold_cost_nanos

rates = st.builds(Rates, *[st.integers(0, 200 * 10**18) for _ in range(6)])
prices = st.builds(
    lambda base, above, higher: Price(1, base, tuple(sorted(zip(above, higher, strict=False)))),
    rates,
    st.lists(st.integers(1, 300_000), max_size=2, unique=True),
    st.lists(rates, min_size=2, max_size=2),
)
tokens = st.one_of(st.integers(0, 10), st.integers(0, 400_000), st.integers(0, 100_000_000))


@given(prices, tokens, tokens, tokens, st.sampled_from((None, *CacheWrite)))
def test_a_call_may_cost_the_same_here_and_there(
    price: Price, uncached: int, cached: int, output: int, write: CacheWrite | None
) -> None:
    told = LeasePrice.parse(Fields(price_value(price)))
    for whole in {uncached + cached, *(above + more for above, _ in price.tiers for more in (0, 1))}:
        part = min(cached, whole)
        here = told.hold_cost(ClientSize(whole, output, part), None if write is None else write.value)
        assert format(here, "f") == format_money(hold_cost_nanos(price, Size(whole, part, output, write)))
