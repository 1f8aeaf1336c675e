"""A spool that nobody has sent for weeks or months: booked at any age, or kept whole where it may be booked already."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from token_ledger_sdk import AsyncTokenLedger, Limits, NotEnded, Unreachable, Usage
from token_ledger_sdk.spool.survey import survey

from tests.api.world import World
from tests.client.conftest import Client, Network, client_of
from token_ledger.core.batch.commands import ExpireDue
from token_ledger.worker.retention import Retention

USED = Usage(600, 200)
MONTHS = 3
"""How many are kept where retention is at work, besides the current one."""


class DaysLater(Network):
    """A network for what was kept before the stored instants were moved back: those of its calls move with them."""

    def __init__(self, world: World, days: int) -> None:
        super().__init__(world)
        self._moved = timedelta(days=days)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content or b"{}")
        for operation in body.get("operations", ()):
            if "occurred_at" in operation:
                made_at = datetime.fromisoformat(operation["occurred_at"])
                operation["occurred_at"] = (made_at - self._moved).isoformat()
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        return await super().handle_async_request(
            httpx2.Request(request.method, request.url, headers=headers, content=json.dumps(body) if body else None)
        )


@pytest.fixture
async def dying(client: Client, tmp_path: Path) -> Client:
    """A client whose spool is left to the next one; with a budget for a day, and one for all time."""
    for window in ("day", "total"):
        body = {"idempotency_key": window, "name": window, "selector": {}, "limits": {"tokens": 50_000}}
        await client.world.made("/v1/budgets", {**body, "window": window})
    return client_of(client.world, max_retries=0, spool=tmp_path, flush_seconds=3_600.0)


async def die(client: Client) -> None:
    """Let the client's process end: its files stay, and its locks are gone."""
    client.network.is_cut = True
    client.ledger._sender.outbox.spool.close()
    with suppress(NotEnded):
        await client.ledger.aclose()


async def make_calls(ledger: AsyncTokenLedger, call: dict[str, Any]) -> str:
    """Spend with a hold, on a lease and without a hold; returns the run."""
    run = await ledger.run(user="ada", limits=Limits(tokens=20_000)).__aenter__()
    hold = await run.reserve(**call)
    await hold.settle_soon(USED, response_id="held")
    leases = run.lease(calls=2, **call)
    leased = await leases.reserve()
    await leased.settle(USED, response_id="leased")
    model = call["model"]
    await run.track_usage(USED, response_id="tracked", agent_type="data_agent", provider="openai", model=model)
    return run.run_id


async def heir_sends(world: World, spool: Path, days: int) -> list[Any]:
    """Let a client that comes days later send what was left, and return the events that are booked then."""
    async with client_of(world, DaysLater(world, days), spool=spool).ledger as heir:
        await heir.flush()
    assert survey(spool) == []
    return await world.rows("select * from usage_events order by event_id")


async def test_what_a_spool_kept_for_forty_days_is_booked_then_and_fills_no_window_of_today(
    dying: Client, tmp_path: Path
) -> None:
    world, days = dying.world, 40
    run_id = await make_calls(dying.ledger, dying.call)
    await die(dying)
    await world.let_pass("acme", days)
    booked = await heir_sends(world, tmp_path, days)
    assert {each["response_id"] for each in booked} == {"held", "leased", "tracked"}
    assert all(each["posted_at"] < datetime.now(UTC) - timedelta(days=days - 1) for each in booked)
    assert await world.rows("select * from quarantine") == []
    accounts = (await world.get("/v1/accounts")).json()["accounts"]
    today = datetime.now(UTC).date().isoformat()
    settled = {(a["budget"], a["window_start"][:10] == today): a["balance"]["settled"]["tokens"] for a in accounts}
    # What had holds stays on all accounts of its hold; what had none is on no window that is under way.
    assert {settled[name] for name in settled if name[0] == "day"} == {2_400}
    assert ("day", True) not in settled
    assert settled["total", False] == 1_600
    run = (await world.get(f"/v1/runs/{run_id}")).json()
    assert run["balance"]["settled"]["tokens"] == 2_400


@pytest.mark.parametrize("lease_is_gone", [True, False])
async def test_what_may_be_booked_under_keys_that_are_gone_is_kept_whole_and_not_booked(
    lease_is_gone: bool, dying: Client, tmp_path: Path
) -> None:
    world, days = dying.world, 150
    await make_calls(dying.ledger, dying.call)
    dying.network.answers_to_lose = 1
    with pytest.raises(Unreachable):
        await dying.ledger.flush()  # it is booked, and the spool does not know
    await die(dying)
    [before] = await world.rows("select count(*) as events, sum(calls) as calls from usage_events")
    assert (before["events"], before["calls"]) == (3, 3)
    await world.let_pass("acme", days)
    if lease_is_gone:
        await world.service.submit(world.tenants["acme"], ExpireDue())
    await Retention(world.service.database, MONTHS).drop_months()
    await world.forget()
    assert await world.rows("select * from usage_events") == []
    assert await heir_sends(world, tmp_path, days) == []
    items = await world.rows("select code, body from quarantine")
    assert {each["code"] for each in items} == {"time_out_of_range"}
    bodies = {body["response_id"]: body for each in items for body in [json.loads(each["body"])]}
    assert bodies.keys() == {"held", "leased", "tracked"}
    for body in bodies.values():  # all that people need to book it by hand
        assert {name: body["usage"][name] for name in ("input_tokens", "output_tokens")} == {
            "input_tokens": 600,
            "output_tokens": 200,
        }
        is_known = {"reservation_id"} if "reservation_id" in body else {"run_id", "agent_type", "provider", "model"}
        assert body.keys() >= {*is_known, "occurred_at"}
    [summed] = await world.rows("select sum(calls) as calls from daily_usage")
    assert summed["calls"] == 3
