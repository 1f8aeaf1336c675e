"""Through the SDK: kinds without a price are held at what stands in, and settled at it, alone and on a lease."""

from decimal import Decimal
from typing import Any

from token_ledger_sdk import OtherUse, Usage

from tests.client.conftest import Client

RATES = {"house/drawer": {"input": "2", "output": "4"}, "*/*": {"input": "15", "output": "75", "images": "50"}}
USED = Usage(600, 400, images=3)


async def _call(client: Client) -> dict[str, Any]:
    """Set a price without images, and one that stands in; return a call that announces images."""
    for name, base in RATES.items():
        body = {"idempotency_key": name, "rates": {"base": base}}
        await client.world.made(f"/v1/prices/{name}", body, method="PUT")
    return {**client.call, "provider": "house", "model": "drawer", "max_usage": {"images": 3}}


async def _stand_in(client: Client) -> str:
    [row] = await client.world.rows("select price_id from tenant_prices where provider = '*'")
    return str(row["price_id"])


async def test_a_hold_has_room_for_an_announced_kind_without_a_price(client: Client) -> None:
    call = await _call(client)
    async with await client.ledger.reserve(user="ada", **call) as hold:
        assert (hold.held.cost, hold.without_price) == (Decimal("0.1528"), ("images",))
        settled = await hold.settle(USED)
    assert settled.others == (
        OtherUse(kind="images", count=3, cost=Decimal("0.15"), assumed_price_id=await _stand_in(client)),
    )
    assert (settled.cost, settled.unpriced, settled.overrun) == (Decimal("0.1528"), True, False)
    async with await client.ledger.reserve(user="ada", **call):
        pass  # booked as an estimate, with what was announced
    assert [event["cost_nanos"] for event in await client.booked()] == [152_800_000] * 2
    await client.is_sound()


async def test_calls_of_a_lease_count_it_too(client: Client) -> None:
    call = await _call(client)
    async with client.ledger.lease(user="ada", calls=2, **call) as leases:
        for _ in range(2):
            leased = await leases.reserve()
            assert leased.held.cost == Decimal("0.1528")
            await leased.settle(USED)
    assert [event["cost_nanos"] for event in await client.booked()] == [152_800_000] * 2
    await client.is_sound()
