"""The live stream over a real socket: in order, without loss or repetition, wherever the connection breaks."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from tests.api.streams import SECONDS, served, stream, take
from tests.api.verbs import event
from tests.api.waiting import until
from tests.api.world import World, check_problem, fresh
from token_ledger.api import live_feeds
from token_ledger.core.model.principal import Principal, Role
from token_ledger.reports import live_feed
from token_ledger.storage.database import DatabaseAway


@pytest.fixture(scope="module")
async def base(world: World) -> AsyncIterator[str]:
    async with served(world) as address:
        yield address


async def _book(world: World, count: int, *, tenant: str = "acme", user: str = "ada") -> None:
    """Book events in one request, and so in one batch or few."""
    answer = await world.made("/v1/events", {"events": [event(user=user) for _ in range(count)]}, tenant=tenant)
    assert {result["status"] for result in answer["results"]} == {"booked"}


async def _booked_ids(world: World, tenant: str = "acme") -> list[str]:
    rows = await world.rows(
        "select event_id from usage_events where tenant_id = $1 order by event_id", world.tenants[tenant]
    )
    return [str(row["event_id"]) for row in rows]


async def test_a_stream_from_the_start_shows_every_event_in_order(world: World, base: str) -> None:
    for count in (1, 7, 256, 256, 30):
        await _book(world, count)
    booked = await _booked_ids(world)
    async with stream(world, base, after=0) as events:
        seen = await take(events, len(booked))
    assert [found["id"] for found in seen] == booked
    assert [found["data"]["event_id"] for found in seen] == booked
    assert {found["event"] for found in seen} == {"usage"}
    assert seen[0]["data"] == {
        "sequence": int(booked[0]) >> 16, "event_id": booked[0], "user": "ada", "agent_type": "data_agent",
        "model": "gpt-5.4", "tokens": 1_500, "cost": "0.010000000", "run_id": None, "corrects": None, "recosts": None,
        "booked": True, "repetition": None, "earlier_event_id": None, "kind": "llm_call", "tool": None,
        "price_id": (await world.get("/v1/models", provider="openai", model="gpt-5.4")).json()["models"][0]["price_id"],
    }  # fmt: skip


async def test_a_stream_shows_what_a_call_costs_everybody(world: World, base: str) -> None:
    discount = {"idempotency_key": "discount", "factor": "0.5"}
    await world.made("/v1/discounts/openai/gpt-5.4", discount, method="PUT")
    await _book(world, 1)
    async with stream(world, base, after=0) as events:
        shown = (await take(events, len(await _booked_ids(world))))[-1]["data"]
    await world.made("/v1/discounts/openai/gpt-5.4", {"idempotency_key": "end", "factor": None}, method="PUT")
    assert (shown["cost"], shown["list_cost"]) == ("0.005000000", "0.010000000")


async def test_a_stream_shows_the_reversal_of_a_call(world: World, base: str) -> None:
    sent = event()
    [booked] = (await world.made("/v1/events", {"events": [sent]}))["results"]
    body = {"key": sent["idempotency_key"], "source": "batch", "reason": "a test"}
    await world.made("/v1/reversals", body)
    async with stream(world, base, after=0) as events:
        shown = (await take(events, len(await _booked_ids(world))))[-1]["data"]
    assert (shown["corrects"], shown["tokens"], shown["cost"]) == (booked["event_id"], -1_500, f"-{booked['cost']}")


async def test_a_stream_shows_the_re_costing_of_a_call(world: World, base: str) -> None:
    model = fresh("model")
    [booked] = (await world.made("/v1/events", {"events": [event(provider="house", model=model)]}))["results"]
    body = {"idempotency_key": fresh(), "rates": {"base": {"input": "2", "output": "4"}},
            "valid_from": "2026-01-01T00:00:00Z"}  # fmt: skip
    await world.made(f"/v1/prices/house/{model}", body, method="PUT")
    await world.made("/v1/recostings", {"idempotency_key": fresh(), "model": model})
    async with stream(world, base, after=0) as events:
        shown = (await take(events, len(await _booked_ids(world))))[-1]["data"]
    assert (shown["recosts"], shown["corrects"]) == (booked["event_id"], None)
    assert (shown["tokens"], shown["cost"]) == (0, "0.004000000")


async def test_a_stream_resumes_after_any_event_without_loss_or_repetition(world: World, base: str) -> None:
    await _book(world, 12)  # one batch: a connection can break anywhere inside it
    booked = await _booked_ids(world)
    for position in range(len(booked) - 13, len(booked) - 1):
        async with stream(world, base, last=booked[position]) as events:
            rest = await take(events, len(booked) - position - 1)
        assert [found["id"] for found in rest] == booked[position + 1 :]


async def test_a_stream_that_breaks_repeatedly_while_events_are_booked_sees_each_once(world: World, base: str) -> None:
    await _book(world, 1)
    known = await _booked_ids(world)
    last = known[-1]

    async def book() -> None:
        for count in (5, 1, 9, 2, 8, 3, 7, 4, 6, 5, 10):
            await _book(world, count)

    booking = asyncio.create_task(book())
    seen: list[str] = []
    while len(seen) < 60:
        async with stream(world, base, last=last) as events:
            for found in await take(events, min(7, 60 - len(seen))):
                seen.append(found["id"])
                last = found["id"]
    await booking
    assert seen == (await _booked_ids(world))[len(known) :]


async def test_a_stream_without_a_start_begins_with_what_is_booked_next(world: World, base: str) -> None:
    await _book(world, 3)
    user = fresh("user")
    async with stream(world, base) as events:
        await _book(world, 2, user=user)
        seen = await take(events, 2)
    assert [found["data"]["user"] for found in seen] == [user, user]


async def test_a_stream_with_after_begins_after_that_whole_batch(world: World, base: str) -> None:
    await _book(world, 3, user="before")
    last = int((await _booked_ids(world))[-1])
    user = fresh("user")
    await _book(world, 1, user=user)
    async with stream(world, base, after=last >> 16) as events:
        [found] = await take(events, 1)
    assert found["data"]["user"] == user


@pytest.mark.parametrize("last", ["", "abc", "-1", "1.5", "9" * 30, "\u00b2"])
async def test_an_invalid_last_event_id_is_ignored(last: str, world: World, base: str) -> None:
    user = fresh("user")
    async with stream(world, base, last=last) as events:
        await _book(world, 1, user=user)
        [found] = await take(events, 1)
    assert found["data"]["user"] == user


async def test_a_stream_shows_only_its_own_tenant(world: World, base: str) -> None:
    await _book(world, 2, user="zebra")
    for _ in range(3):
        await _book(world, 2, tenant="globex", user="bob")
        await _book(world, 2, user="zebra")
    booked = await _booked_ids(world, "globex")
    async with stream(world, base, tenant="globex", after=0) as events:
        seen = await take(events, len(booked))
    assert [found["id"] for found in seen] == booked
    assert "zebra" not in json.dumps(seen)


async def test_streamed_events_are_counted(world: World, base: str) -> None:
    def sent() -> float:
        labels = {"tenant": "acme"}
        return world.service.registry.get_sample_value("token_ledger_stream_events_total", labels) or 0

    before = sent()
    async with stream(world, base) as events:
        await _book(world, 5)
        await take(events, 5)

        async def counted() -> bool:
            return sent() == before + 5

        await until(counted)


async def test_streams_end_when_the_process_stops(own_world: World) -> None:
    async with served(own_world) as address, stream(own_world, address) as events:
        await _book(own_world, 1)
        await take(events, 1)
        own_world.service.stopping.set()
        assert [found async for found in events] == []


async def _refused(world: World, base: str, key: str) -> httpx2.Response:
    """Ask for a stream that is refused."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(timeout=SECONDS) as client:
        return await client.get(f"{base}/v1/live", headers=headers)


async def test_a_principal_and_a_process_have_so_many_streams(
    world: World, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feeds, "MOST_STREAMS_EACH", 2)
    monkeypatch.setattr(live_feeds, "MOST_STREAMS", 3)
    tokens = [world.token("acme", user="ada") for _ in range(3)]
    finance, admin = world.keys["acme", Role.FINANCE], world.keys["acme", Role.ADMIN]
    async with stream(world, base, key=tokens[0]), stream(world, base, key=finance):
        async with stream(world, base, key=tokens[1]):
            # All tokens of a user count together, whoever issues them.
            each = await _refused(world, base, tokens[2])
            check_problem(each, 429, "too_many_streams")
            everybody = await _refused(world, base, admin)
            check_problem(everybody, 503, "unavailable")
            assert int(each.headers["retry-after"]) > 0
            assert int(everybody.headers["retry-after"]) > 0

        async def has_room() -> bool:
            return bool(world.app.state.live_feeds.open_streams == 2)

        await until(has_room)
        async with stream(world, base, key=tokens[2]) as events:
            await _book(world, 1)
            assert len(await take(events, 1)) == 1


async def test_one_reader_reads_for_all_streams(world: World, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    look = live_feed.events_after

    async def counted(*arguments: Any, **fields: Any) -> Any:
        events = await look(*arguments, **fields)
        read.extend(event.event_id for event in events)
        return events

    monkeypatch.setattr(live_feed, "events_after", counted)
    async with AsyncExitStack() as opened:
        streams = [await opened.enter_async_context(stream(world, base)) for _ in range(10)]
        streams.append(await opened.enter_async_context(stream(world, base, key=world.token("acme", user="zoe"))))
        await _book(world, 30)
        await _book(world, 1, user="zoe")
        booked = (await _booked_ids(world))[-31:]
        for events in streams[:10]:
            assert [found["id"] for found in await take(events, 31)] == booked
        assert [found["id"] for found in await take(streams[10], 1)] == booked[-1:]
    # One that began before the reader did reads a few for itself.
    assert len(read) < 3 * len(booked)


async def test_a_reader_that_can_not_start_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> int:
        raise DatabaseAway("the database can't be reached")

    monkeypatch.setattr(live_feeds, "current_sequence", away)
    feeds = live_feeds.LiveFeeds(world.service.database, world.service.stopping)
    watcher = Principal(world.tenants["acme"], Role.FINANCE, "a key")
    with pytest.raises(DatabaseAway):
        await anext(feeds.follow(watcher, 0))
    assert feeds.readers == 0


async def test_streams_that_go_away_leave_nothing_behind(
    world: World, base: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [world.token("acme", user=f"user-{number % 9}") for number in range(90)]

    async def watch(key: str) -> None:
        async with stream(world, base, key=key) as events:
            async for _ in events:
                pass

    watching = [asyncio.create_task(watch(key)) for key in keys]
    feeds = world.app.state.live_feeds

    async def are_open() -> bool:
        return bool(feeds.open_streams == len(keys))

    async def are_gone() -> bool:
        return bool(feeds.open_streams == 0 and not feeds.readers)

    await until(are_open)
    await _book(world, 3, user="user-1")
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await until(are_gone)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_a_stream_that_goes_away_amid_events_leaves_nothing_behind(world: World, base: str) -> None:
    feeds = world.app.state.live_feeds
    for _ in range(4):
        await _book(world, 256)

    async def is_gone() -> bool:
        return bool(feeds.open_streams == 0 and not feeds.readers)

    await until(is_gone)
    gc.collect()
    gc.disable()  # the service collects cycles rarely, so what only a collection ends would go on
    try:
        for _ in range(10):
            async with stream(world, base, after=0) as events:
                await take(events, 3)
        await until(is_gone)
    finally:
        gc.enable()


async def test_a_stream_ends_with_its_key(world: World, base: str) -> None:
    made = await world.made("/v1/api-keys", {"role": "finance", "name": fresh()})
    async with stream(world, base, key=made["key"]) as events:
        await _book(world, 1)
        await take(events, 1)
        await world.delete(f"/v1/api-keys/{made['key_id']}")
        assert [found async for found in events] == []
