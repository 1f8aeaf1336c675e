"""The live stream of a run: how it stands, at once and whenever that changes, and its calls, without loss."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from tests.api.streams import Event, served, stream, take
from tests.api.verbs import event
from tests.api.waiting import until
from tests.api.world import World, another_process, check_problem, fresh
from token_ledger.api import live_feeds
from token_ledger.core.model.principal import Role
from token_ledger.reports import live_feed
from token_ledger.storage.database import DatabaseAway


@pytest.fixture(scope="module")
async def base(world: World) -> AsyncIterator[str]:
    async with served(world) as address:
        yield address


async def _opened(world: World, **said: Any) -> str:
    body = {"idempotency_key": fresh(), **({} if "parent_run_id" in said else {"user": "ada"}), **said}
    run_id: str = (await world.made("/v1/runs", body))["run_id"]
    return run_id


def _events_of(run_id: str) -> str:
    return f"/v1/runs/{run_id}/events"


async def _book(world: World, run_id: str, count: int = 1) -> list[str]:
    """Book calls of a run in one request, and return the ids of their events."""
    sent = [{key: value for key, value in event(run_id=run_id).items() if key != "user"} for _ in range(count)]
    return [result["event_id"] for result in (await world.made("/v1/events", {"events": sent}))["results"]]


async def _next_run(events: AsyncIterator[Event]) -> dict[str, Any]:
    [found] = await take(events, 1)
    assert found["event"] == "run"
    assert "id" not in found  # else a client would resume after the id of the wrong kind
    data: dict[str, Any] = found["data"]
    return data


async def test_a_stream_begins_with_how_the_run_stands(world: World, base: str) -> None:
    shares = [{"agent_type": "data_agent", "weight": 1}]
    run_id = await _opened(world, limits={"tokens": 50_000}, iterations=20, allocation=shares)
    async with stream(world, base, path=_events_of(run_id)) as events:
        told = await _next_run(events)
    assert {name: told[name] for name in told.keys() - {"sequence", "setup_version"}} == {
        "run_id": run_id, "state": "open", "stop": None, "iterations": {"limit": 20, "taken": 0},
        "limits": {"tokens": 50_000, "cost": None, "calls": None},
        "shares": [{"agent_type": "data_agent", "tokens": 50_000}],
    }  # fmt: skip


async def test_each_change_of_a_run_is_told(world: World, base: str) -> None:
    run_id = await _opened(world, limits={"tokens": 50_000})
    path = f"/v1/runs/{run_id}"
    async with stream(world, base, path=_events_of(run_id)) as events:
        await _next_run(events)
        await world.made(f"{path}/steps", {"idempotency_key": fresh()})
        assert (await _next_run(events))["iterations"]["taken"] == 1
        body = {"idempotency_key": fresh(), "reason": "a test", "limits": {"tokens": 9_000}}
        await world.made(path, body, method="PATCH")
        assert (await _next_run(events))["limits"]["tokens"] == 9_000
        split = [{"agent_type": "data_agent", "weight": 1}]
        await world.made(f"{path}/rebalance", {"idempotency_key": fresh(), "allocation": split})
        assert (await _next_run(events))["shares"] == [{"agent_type": "data_agent", "tokens": 9_000}]
        await world.made(f"{path}/close")
        closed = await _next_run(events)
        assert (closed["state"], closed["stop"]) == ("closed", "run_closed")


async def test_a_changed_budget_is_told(world: World, base: str) -> None:
    run_id = await _opened(world)
    async with stream(world, base, path=_events_of(run_id)) as events:
        before = await _next_run(events)
        body = {"idempotency_key": fresh(), "name": fresh("budget"), "selector": {}, "limits": {"tokens": 10**9},
                "window": "total"}  # fmt: skip
        await world.made("/v1/budgets", body)
        assert (await _next_run(events))["setup_version"] > before["setup_version"]


async def test_another_process_tells_that_a_run_was_cancelled(world: World, base: str) -> None:
    run_id = await _opened(world)
    async with another_process(world) as other, stream(world, base, path=_events_of(run_id)) as events:
        await _next_run(events)
        await other.made(f"/v1/runs/{run_id}/cancel")
        told = await _next_run(events)
    assert (told["state"], told["stop"]) == ("cancelled", "run_cancelled")


async def test_a_part_of_a_cancelled_run_is_told_to_stop(world: World, base: str) -> None:
    run_id = await _opened(world)
    part = await _opened(world, parent_run_id=run_id)
    async with stream(world, base, path=_events_of(part)) as events:
        await _next_run(events)
        await world.made(f"/v1/runs/{run_id}/cancel")
        told = await _next_run(events)
    assert (told["state"], told["stop"]) == ("open", "run_cancelled")


async def test_a_stopped_tenant_is_told(own_world: World) -> None:
    run_id = await _opened(own_world)
    async with served(own_world) as address, stream(own_world, address, path=_events_of(run_id)) as events:
        await _next_run(events)
        await own_world.made("/v1/stop", {"idempotency_key": fresh(), "reason": "a test"})
        assert (await _next_run(events))["stop"] == "tenant_stopped"


async def test_who_connects_again_is_told_how_the_run_stands_and_misses_no_call(world: World, base: str) -> None:
    run_id = await _opened(world)
    part = await _opened(world, parent_run_id=run_id)
    async with stream(world, base, path=_events_of(run_id)) as events:
        await _next_run(events)
        booked = await _book(world, run_id, 3)
        seen = await take(events, 2)
    assert [(found["event"], found["id"]) for found in seen] == [("usage", each) for each in booked[:2]]
    await _book(world, await _opened(world), 2)
    booked += await _book(world, part, 2)
    await world.made(f"/v1/runs/{run_id}/cancel")
    async with stream(world, base, path=_events_of(run_id), last=seen[-1]["id"]) as events:
        assert (await _next_run(events))["stop"] == "run_cancelled"
        rest = await take(events, 3)
    assert [found["id"] for found in rest] == booked[2:]


async def test_a_stream_without_usage_tells_of_the_run_only(
    world: World, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await _opened(world)
    await _book(world, run_id, 3)
    looked_for: list[int | None] = []
    look = live_feed.events_after

    async def counted(*arguments: Any, run_id: int | None = None, **fields: Any) -> Any:
        looked_for.append(run_id)
        return await look(*arguments, run_id=run_id, **fields)

    monkeypatch.setattr(live_feed, "events_after", counted)
    async with stream(world, base, path=_events_of(run_id), usage=False, after=0) as events:
        await _next_run(events)
        await _book(world, run_id, 3)
        await world.made(f"/v1/runs/{run_id}/cancel")
        assert (await _next_run(events))["state"] == "cancelled"
    assert set(looked_for) == {None}  # the reader's, and no calls that would not be shown


class Rounds:
    """What a reader reads, in order, with the transaction that it reads in; `hold` stops it until `released`."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.read: list[tuple[str, object]] = []
        self.held, self.released = asyncio.Event(), asyncio.Event()
        self.released.set()
        for module, name in (
            (live_feeds, "find_ledger_state"), (live_feed, "events_after"), (live_feeds, "find_run_news"),
        ):  # fmt: skip
            patched.setattr(module, name, self._counted(name, getattr(module, name)))

    def _counted(self, name: str, look: Any) -> Any:
        async def counted(connection: Any, *arguments: Any, **fields: Any) -> Any:
            if name == "find_ledger_state" and not self.released.is_set():
                self.held.set()
                await self.released.wait()
            self.read.append((name, connection))
            return await look(connection, *arguments, **fields)

        return counted

    async def hold(self) -> None:
        """Return when the reader has begun a round and read nothing in it."""
        self.held.clear()
        self.released.clear()
        await self.held.wait()

    async def have_passed(self, count: int) -> None:
        """Return when so many further rounds have begun."""
        wanted = len(self.looks) + count

        async def passed() -> bool:
            return len(self.looks) >= wanted

        await until(passed)

    @property
    def looks(self) -> list[object]:
        """The transactions of the rounds."""
        return [transaction for name, transaction in self.read if name == "find_ledger_state"]


async def test_of_changes_that_follow_one_another_quickly_the_last_is_told(
    world: World, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await _opened(world)
    rounds = Rounds(monkeypatch)
    async with stream(world, base, path=_events_of(run_id)) as events:
        told = [await _next_run(events)]
        await rounds.have_passed(3)
        await rounds.hold()
        for _ in range(30):
            await world.made(f"/v1/runs/{run_id}/steps", {"idempotency_key": fresh()})
        rounds.released.set()
        told.append(await _next_run(events))
        await world.made(f"/v1/runs/{run_id}/close")
        told.append(await _next_run(events))
    assert [(each["iterations"]["taken"], each["state"]) for each in told] == [
        (0, "open"), (30, "open"), (30, "closed")
    ]  # fmt: skip


async def test_a_round_is_one_transaction_and_reads_only_where_the_ledger_stands_while_nothing_changes(
    world: World, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await _opened(world)
    async with stream(world, base, path=_events_of(run_id)) as events:
        await _next_run(events)
        rounds = Rounds(monkeypatch)
        await rounds.have_passed(3)
        await rounds.hold()
        rounds.read.clear()
        rounds.released.set()
        await rounds.have_passed(3)
        await rounds.hold()
        assert {name for name, _ in rounds.read} == {"find_ledger_state"}
        await world.made(f"/v1/runs/{run_id}/steps", {"idempotency_key": fresh()})
        rounds.read.clear()
        rounds.released.set()
        await _next_run(events)
    assert [name for name, _ in rounds.read[:3]] == ["find_ledger_state", "events_after", "find_run_news"]
    assert len({transaction for _, transaction in rounds.read[:3]}) == 1


async def _refused(base: str, key: str, run_id: str) -> httpx2.Response:
    """Ask for a stream that is refused."""
    async with httpx2.AsyncClient(timeout=60) as client:
        return await client.get(f"{base}{_events_of(run_id)}", headers={"Authorization": f"Bearer {key}"})


async def test_others_have_no_such_run(world: World, base: str) -> None:
    run_id, another = await _opened(world), await _opened(world)
    keys = (
        world.keys["globex", Role.ADMIN], world.token("acme", user="bob"),
        world.token("acme", run_id=int(another)),
    )  # fmt: skip
    for key in keys:
        check_problem(await _refused(base, key, run_id), 404, "run_not_found")
    for key in (
        world.keys["acme", Role.AGENT],
        world.token("acme", user="ada"),
        world.token("acme", run_id=int(run_id)),
    ):
        async with stream(world, base, path=_events_of(run_id), key=key) as events:
            assert (await _next_run(events))["run_id"] == run_id


async def test_a_key_has_so_many_streams_of_a_run_and_of_all_runs(
    world: World, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feeds, "MOST_STREAMS_EACH", 2)
    monkeypatch.setattr(live_feeds, "MOST_RUN_STREAMS", 3)
    first, second = await _opened(world), await _opened(world)
    key = world.keys["acme", Role.AGENT]

    async def is_free() -> bool:
        return not world.app.state.live_feeds.open_streams

    await until(is_free)
    async with AsyncExitStack() as opened:
        for run_id in (first, first):
            await opened.enter_async_context(stream(world, base, path=_events_of(run_id), key=key))
        problem = check_problem(await _refused(base, key, first), 429, "too_many_streams")
        assert problem["detail"].startswith(f"2 live streams of run {first} are open with this key")
        await opened.enter_async_context(stream(world, base, path=_events_of(second), key=key))
        problem = check_problem(await _refused(base, key, second), 429, "too_many_streams")
        assert problem["detail"].startswith("3 live streams of runs are open with this key")
        # They take no place from the streams of the whole tenant.
        await opened.enter_async_context(stream(world, base))
    await until(is_free)


async def test_streams_of_runs_that_go_away_leave_nothing_behind(world: World, base: str) -> None:
    feeds = world.app.state.live_feeds
    runs = [await _opened(world) for _ in range(5)]

    async def watch(run_id: str) -> None:
        async with stream(world, base, path=_events_of(run_id)) as events:
            async for _ in events:
                pass

    watching = [asyncio.create_task(watch(run_id)) for run_id in runs]

    async def are_open() -> bool:
        return bool(feeds.open_streams == len(runs) == sum(map(len, feeds.watched.values())))

    async def are_gone() -> bool:
        return not (feeds.open_streams or feeds.readers or feeds.watched)

    await until(are_open)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await until(are_gone)


async def test_what_changes_while_the_database_is_away_is_told_when_it_is_back(
    world: World, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await _opened(world)
    missed = asyncio.Event()

    async def away(*_: Any) -> Any:
        missed.set()
        raise DatabaseAway("the database can't be reached")

    async with stream(world, base, path=_events_of(run_id)) as events:
        await _next_run(events)
        with monkeypatch.context() as patched:
            patched.setattr(live_feeds, "find_run_news", away)
            await world.made(f"/v1/runs/{run_id}/cancel")
            missed.clear()
            await missed.wait()
        assert (await _next_run(events))["state"] == "cancelled"
