"""Leased calls that announce other kinds and a service tier: held, estimated and denied as single holds are."""

import json
from decimal import Decimal
from typing import Any

import pytest
from token_ledger_sdk import AsyncHold, AsyncLeasedCall, BudgetExceeded, InvalidRequest, Usage

from tests.client.conftest import Client

ANNOUNCED: dict[str, Any] = {"max_usage": {"web_searches": 5}, "service_tier": "flex"}
SEARCHES = Decimal("0.05")
"""What five searches cost."""


def call_of(client: Client, **announced: Any) -> dict[str, Any]:
    return {**client.call, "model": "gpt-5.4", **announced}


@pytest.mark.parametrize(
    "announced", [{}, ANNOUNCED, {"max_usage": {"web_searches": 5}}, {"service_tier": "flex"},
                  {"max_usage": {"images": 2, "web_searches": 1}, "service_tier": "priority"}],
)  # fmt: skip
async def test_a_leased_call_holds_and_estimates_what_a_single_hold_does(
    announced: dict[str, Any], client: Client
) -> None:
    single = await client.ledger.reserve(user="ada", **call_of(client, **announced))
    await single.settle_estimate()
    async with client.ledger.lease(user="ada", calls=3, flush_seconds=60, **call_of(client, **announced)) as leases:
        leased = await leases.reserve()
        assert isinstance(leased, AsyncLeasedCall)
        assert (leased.held, leased.without_price) == (single.held, single.without_price)
        await leased.settle_estimate()
        await leases.flush()
        assert leases.left is not None
        assert leases.left.calls == 2
    by_hold, by_lease = (
        {name: row[name] for name in ("cost_nanos", "input_tokens", "output_tokens", "service_tier", "others",
                                      "estimated", "unpriced")}
        for row in await client.booked()
    )  # fmt: skip
    assert by_lease == by_hold
    assert by_lease["estimated"]
    await client.is_sound()


async def test_what_leaves_the_block_unsettled_is_booked_with_what_was_announced(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=3, **call_of(client, **ANNOUNCED)) as leases:
        with pytest.raises(RuntimeError):
            async with await leases.reserve():
                raise RuntimeError("the provider said so")
        async with await leases.reserve(max_usage={"web_searches": 2}):
            pass
    counts = [json.loads(row["others"])["web_searches"][0] for row in await client.booked()]
    tiers = [row["service_tier"] for row in await client.booked()]
    assert (counts, tiers) == ([5, 2], ["flex", "flex"])


@pytest.mark.parametrize(
    ("given", "is_leased"),
    [
        ({"max_usage": {"web_searches": 2}}, True), ({"max_usage": {}}, True),
        ({"max_usage": {"web_searches": 6}}, False), ({"max_usage": {"images": 1}}, False),
        ({"service_tier": "priority"}, False), ({"input_tokens": 5, "service_tier": "flex"}, True),
    ],
)  # fmt: skip
async def test_a_call_that_the_lease_has_no_rates_of_is_asked_of_the_service(
    given: dict[str, Any], is_leased: bool, client: Client
) -> None:
    async with client.ledger.lease(user="ada", calls=3, flush_seconds=60, **call_of(client, **ANNOUNCED)) as leases:
        await (await leases.reserve()).release()
        client.network.sent.clear()
        permission = await leases.reserve(**given)
        assert isinstance(permission, AsyncLeasedCall if is_leased else AsyncHold)
        assert client.network.sent == ([] if is_leased else ["/v1/reservations"])
        if not is_leased:
            alone = await client.ledger.reserve(user="ada", **call_of(client, **{**ANNOUNCED, **given}))
            assert (permission.held, permission.without_price) == (alone.held, alone.without_price)
            await alone.release()
        await permission.settle_estimate()
        usual = await leases.reserve()
        assert isinstance(usual, AsyncLeasedCall), "the lease goes on"
        await usual.release()
    await client.is_sound()


async def test_a_kind_that_nobody_knows_is_refused_before_anything_is_held(client: Client) -> None:
    with pytest.raises(TypeError, match="searches"):
        client.ledger.lease(user="ada", calls=3, **call_of(client, max_usage={"searches": 1}))
    async with client.ledger.lease(user="ada", calls=3, **call_of(client)) as leases:
        with pytest.raises(InvalidRequest):
            await leases.reserve(service_tier="slow")
    assert await client.booked() == []


@pytest.mark.parametrize("calls", [1, 7, 24])
async def test_of_money_no_more_is_used_than_there_is_when_calls_search(calls: int, client: Client) -> None:
    """Every call takes all that it may, and most of that is for its searches."""
    one = (await client.ledger.reserve(user="eve", **call_of(client, **ANNOUNCED))).held.cost
    assert one is not None
    assert one > SEARCHES
    await client.budget(cost=f"{one * calls + one / 2:.9f}")
    made = 0
    async with client.ledger.lease(user="ada", calls=9, flush_seconds=0.02, **call_of(client, **ANNOUNCED)) as leases:
        while True:
            try:
                async with await leases.reserve() as call:
                    await call.settle(Usage(600, 400, web_searches=5), service_tier="flex")
            except BudgetExceeded:
                break
            made += 1
    assert made == calls
    assert sum(row["cost_nanos"] for row in await client.booked()) == int(one * calls * 10**9)
    await client.is_sound()
