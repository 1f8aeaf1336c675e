"""Calls that were let through while the real service was away: booked once when it is back, marked, in the books."""

import json

from token_ledger_sdk import Limits, Usage
from token_ledger_sdk.unavailable import PROBE_SECONDS, Circuit

from tests.api.waiting import until
from tests.client.conftest import Client, Clock, client_of

USED = Usage(600, 200)


async def test_what_went_unasked_is_booked_once_and_marked(client: Client) -> None:
    away = client_of(client.world, max_retries=0, on_unavailable="allow", spool=False)
    clock = Clock()
    away.ledger._sender.circuit = Circuit(clock=clock)
    async with away.ledger as ledger, ledger.run(user="ada", limits=Limits(tokens=5_000)) as run:
        away.network.is_cut = True
        for _ in range(3):
            async with await run.reserve(**away.call, tags={"team": "core"}) as hold:
                assert hold.is_unasked
                await hold.settle(USED)
        away.network.is_cut = False
        away.network.answers_to_lose = 1  # sent twice, booked once
        clock.now += PROBE_SECONDS
        async with await run.reserve(**away.call) as hold:
            # The answer to this reserve was lost, so it was let through as well.
            await hold.settle(USED)
        await ledger.flush()
    booked = await client.booked()
    assert len(booked) == 4
    assert all(event["run_id"] is not None for event in booked)
    assert {json.loads(event["tags"])["admission"] for event in booked} == {"unasked"}
    (by_tag,) = await client.world.rows(
        "select sum(calls) as calls from daily_tag_usage where (tag, value) = ('admission', 'unasked')"
    )
    assert by_tag["calls"] == 4

    async def nothing_held() -> bool:
        return "held" not in await client.holds()

    await until(nothing_held)
