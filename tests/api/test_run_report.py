"""Runs reported over HTTP: each that began in the span once, with what the events that were sent on it come to."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.api.sent_events import NOW, WHOLE_SPAN, Sent, book, dollars, sent, take_back, usage
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role

PATH = "/v1/reports/runs"


class Runs:
    """Runs that a test opens, and the events that it sent on each."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = random.Random(5)
        self.events: dict[str, list[Sent]] = {}
        self.parents: dict[str, str | None] = {}
        self.opened: dict[str, dict[str, Any]] = {}

    async def open(self, user: str, calls: int, parent: str | None = None, **fields: Any) -> str:
        """Open a run and book calls on it, and one of a tool where there are any."""
        above = {"user": user} if parent is None else {"parent_run_id": parent}
        made = await self.world.made("/v1/runs", {"idempotency_key": fresh(), **above, **fields})
        run: str = made["run_id"]
        events = [sent(self.chance, usage=usage(self.chance)) for _ in range(calls)]
        if calls:
            events.append(sent(self.chance, type="tool_call", tool="search", usage=usage(self.chance)))
        for each in events:
            each.body = {**each.body, "run_id": run}
            del each.body["user"], each.body["occurred_at"]
        await book(self.world, events)
        self.events[run], self.parents[run], self.opened[run] = events, parent, made
        return run

    def above(self, run: str) -> list[str]:
        """Return the runs that a run is part of, the nearest first."""
        parent = self.parents[run]
        return [] if parent is None else [parent, *self.above(parent)]

    def parts(self, run: str) -> list[str]:
        """Return a run and all that are part of it."""
        return [each for each in self.parents if each == run or run in self.above(each)]

    def used(self, *runs: str) -> dict[str, Any]:
        """Return what the events that were sent on runs come to."""
        events = [each for run in runs for each in self.events[run] if not each.is_gone]
        used = [each.body["usage"] for each in events]
        return {
            "calls": sum(each.kind == "llm_call" for each in events), "cache_write_tokens": 0, "reasoning_tokens": 0,
            **{name: sum(each[name] for each in used) for name in ("input_tokens", "output_tokens",
                                                                   "cache_read_tokens")},
            "cost": dollars(sum(each.cost_nanos for each in events)),
        }  # fmt: skip

    def row(self, run: str, **fields: Any) -> dict[str, Any]:
        """Return the row that is expected of a run."""
        opened = self.opened[run]
        return {
            "run_id": run, "parent_run_id": self.parents[run], "depth": 1 + len(self.above(run)),
            "sub_runs": len(self.parts(run)) - 1, "external_id": opened["external_id"], "user": opened["user"],
            "cost_center": opened["cost_center"], "state": "open", "began_at": opened["created_at"], "ended_at": None,
            "iterations": opened["iterations"], "own": self.used(run), "whole": self.used(*self.parts(run)), **fields,
        }  # fmt: skip


@pytest.fixture
def runs(own_world: World) -> Runs:
    return Runs(own_world)


async def _rows(world: World, **params: Any) -> list[dict[str, Any]]:
    answer = await world.get(PATH, role=Role.FINANCE, **{**WHOLE_SPAN, **params})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


async def test_a_run_has_what_was_sent_on_it_and_on_its_sub_runs(runs: Runs) -> None:
    world = runs.world
    top = await runs.open("ada", 4, iterations=9, external_id="chat-1", cost_center="research")
    below = await runs.open("ada", 3, parent=top)
    lowest = await runs.open("ada", 2, parent=below)
    beside = await runs.open("ada", 0, parent=top)
    other = await runs.open("bob", 1)
    empty = await runs.open("eve", 1)
    await take_back(world, [runs.events[below][0], runs.events[other][0], *runs.events[empty]])
    for _ in range(2):
        await world.made(f"/v1/runs/{below}/steps", {"idempotency_key": fresh()})
    ended = await world.made(f"/v1/runs/{other}/close")
    expected = [
        runs.row(empty), runs.row(other, state="closed", ended_at=ended["ended_at"]), runs.row(beside),
        runs.row(lowest), runs.row(below, iterations={"limit": None, "taken": 2}),
        runs.row(top, iterations={"limit": 9, "taken": 2}),
    ]  # fmt: skip
    assert await _rows(world) == expected
    spend = (await world.get("/v1/reports/spend", group_by="run", **WHOLE_SPAN)).json()["rows"]
    assert {row["by"]["run"]: row["cost"] for row in spend} == {
        row["run_id"]: row["own"]["cost"] for row in expected if row["run_id"] != beside
    }
    assert await _rows(world, user="ada") == expected[2:]
    assert await _rows(world, state="closed") == expected[1:2]
    assert await _rows(world, state="open", user="bob") == []


async def test_pages_have_every_run_once_the_newest_first(runs: Runs) -> None:
    opened = [await runs.open("ada", 0) for _ in range(5)]
    found: list[str] = []
    after: dict[str, Any] | None = {}
    while after is not None:
        page = (await runs.world.get(PATH, limit=2, **after, **WHOLE_SPAN)).json()
        found += [row["run_id"] for row in page["rows"]]
        after = None if page["next"] is None else {"after": page["next"]}
    assert found == opened[::-1]
    assert (await runs.world.get(PATH, limit=5, **WHOLE_SPAN)).json()["next"] is None


async def test_only_runs_that_began_in_the_span_are_told_with_all_that_they_used(runs: Runs) -> None:
    first, last = await runs.open("ada", 2), await runs.open("ada", 1)
    began = NOW - timedelta(days=2)
    await runs.world.rows("update runs set created_at = $1 where run_id = $2", began, int(first))
    cut: dict[str, Any] = {"from": began.isoformat(), "to": (NOW - timedelta(days=1)).isoformat()}
    assert await _rows(runs.world, **cut) == [runs.row(first, began_at=began.isoformat())]
    cut = {"from": (began - timedelta(days=1)).isoformat(), "to": began.isoformat()}
    assert await _rows(runs.world, **cut) == []
    since = datetime.fromisoformat(runs.opened[last]["created_at"])
    cut = {"from": since.isoformat(), "to": (since + timedelta(microseconds=1)).isoformat()}
    assert await _rows(runs.world, **cut) == [runs.row(last)]


@pytest.mark.parametrize(
    ("name", "value"), [("state", "ended"), ("limit", "0"), ("limit", "501"), ("after", "x"), ("user", "")]
)
async def test_what_can_not_be_asked_for_is_refused(name: str, value: str, world: World) -> None:
    asked: dict[str, Any] = {name: value}
    check_problem(await world.get(PATH, **asked), 422, "invalid_request", name)
