"""Tools compared over HTTP: what is told of each is what the events that were sent come to."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from tests.api.sent_events import NOW, WHOLE_SPAN, Sent, book, dollars, ratio, sent, take_back, times, usage
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role

PATH = "/v1/reports/tools"


def _call(chance: random.Random, tool: str) -> Sent:
    """Return the call of a tool: with a cost of its own, with a model that it used, or with neither."""
    fields: dict[str, Any] = {
        "type": "tool_call", "tool": tool, "outcome": chance.choice(("ok", "ok", "error")),
        "from_cache": chance.choice((True, False)),
    }  # fmt: skip
    if chance.randrange(2):
        return sent(chance, **fields, usage=usage(chance))
    call = sent(chance, **fields, provider=None, model=None, usage=None)
    if chance.randrange(2):
        call.cost_nanos = chance.randrange(10**8)
        call.body["cost"] = dollars(call.cost_nanos)
    return call


def _expected(events: Sequence[Sent]) -> dict[str, Any]:
    """Return what is told of some calls."""
    calls = [each for each in events if not each.is_gone]
    failed, cached = sum(each.failed for each in calls), sum(each.body["from_cache"] for each in calls)
    retries = [found for each in calls if (found := each.measured("retries")) is not None]
    return {
        "calls": len(calls), "failed_calls": failed, "failed_share": ratio(failed, len(calls)),
        "cached_calls": cached, "cached_share": ratio(cached, len(calls)), "retries": sum(retries) if retries else None,
        "time": times(each.measured("latency_ms") for each in calls if not each.body["from_cache"]),
        "cost": dollars(sum(each.cost_nanos for each in calls)),
    }  # fmt: skip


async def _check(world: World, events: Sequence[Sent], **params: Any) -> None:
    """Check that the report says what the events come to, and costs what the report of spend says."""
    asked = {**WHOLE_SPAN, **params}
    answer = await world.get(PATH, role=Role.FINANCE, **asked)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    by_tool: dict[str, list[Sent]] = {}
    for each in events:
        by_tool.setdefault(each.body["tool"], []).append(each)
    rows = {row.pop("tool"): row for row in report["rows"]}
    assert rows == {tool: _expected(each) for tool, each in by_tool.items()}, params
    assert report["total"] == _expected(events), params
    slowest = [row["time"]["p95_ms"] for row in report["rows"]]
    assert slowest == sorted(slowest, key=lambda found: -1 if found is None else found, reverse=True)
    spend = (await world.get("/v1/reports/spend", group_by="tool", kind="tool_call", **asked)).json()
    assert {tool: row["cost"] for tool, row in rows.items()} == {
        row["by"]["tool"]: row["cost"] for row in spend["rows"]
    }
    assert report["total"]["cost"] == spend["total"]["cost"]


async def test_tools_are_compared_by_what_their_calls_come_to(own_world: World) -> None:
    world = own_world
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    events = [_call(chance, chance.choice(("search", "clock", "=shell"))) for _ in range(80)]
    served = [sent(chance, tool="search", usage=usage(chance)) for _ in range(5)]  # calls of models, not of tools
    await book(world, [*events, *served])
    await take_back(world, [*chance.sample(events, 15), served[0]])
    await _check(world, events)
    await _check(world, [each for each in events if each.body["user"] == "bob"], user="bob")
    await _check(world, [each for each in events if each.failed], outcome="error")
    await _check(world, [each for each in events if each.body["tool"] == "clock"], tool="clock")
    since, until = (NOW - timedelta(hours=hours) for hours in (31, 7))
    inside = [each for each in events if since <= each.at < until]
    cut: dict[str, Any] = {"from": since.isoformat(), "to": until.isoformat()}
    await _check(world, inside, **cut)


async def test_pages_have_every_tool_once_in_the_order_asked_for(own_world: World) -> None:
    chance = random.Random(1)
    events = [_call(chance, tool) for tool in ("a", "b", "b", "c", "c", "c")]
    shapes = {"a": (900, "error", "0.010000000"), "b": (None, "ok", "0.300000000"), "c": (40, "ok", "0.002000000")}
    for each in events:
        time_ms, outcome, cost = shapes[each.body["tool"]]
        measured = {} if time_ms is None else {"measured": {"latency_ms": time_ms}}
        kept = {name: each.body[name] for name in ("source", "idempotency_key", "type", "tool", "user", "agent_type",
                                                   "occurred_at")}  # fmt: skip
        each.body = {**kept, **measured, "outcome": outcome, "cost": cost, "from_cache": False}
        each.cost_nanos = int(cost.replace(".", ""))
    await book(own_world, events)
    orders = {"time": "acb", "cost": "bac", "calls": "cba", "failed": "abc", "key": "abc"}
    for sort, expected in orders.items():
        found, after = "", "0"
        while after is not None:
            page = (await own_world.get(PATH, sort=sort, limit=2, after=after, **WHOLE_SPAN)).json()
            found += "".join(row["tool"] for row in page["rows"])
            assert page["total"] == _expected(events)
            after = page["next"]
        assert found == expected, sort
    unmeasured = (await own_world.get(PATH, tool="b", **WHOLE_SPAN)).json()["total"]
    assert (unmeasured["time"], unmeasured["retries"]) == ({"measured": 0, "p50_ms": None, "p95_ms": None}, None)


async def test_a_recosted_call_costs_what_it_costs_now_and_is_one_call(own_world: World) -> None:
    world, named = own_world, {"provider": "house", "model": "sum"}
    call = sent(random.Random(2), type="tool_call", tool="search", usage={"input_tokens": 1_000, "output_tokens": 500})
    await world.made("/v1/events", {"events": [{**call.body, **named, "outcome": "error"}]})
    price: dict[str, Any] = {"idempotency_key": fresh(), "rates": {"base": {"input": "2", "output": "4"}}}
    price["valid_from"] = (NOW - timedelta(days=4)).isoformat()
    await world.made("/v1/prices/house/sum", price, method="PUT")
    await world.made("/v1/recostings", {"idempotency_key": fresh(), **named})
    [row] = (await world.get(PATH, **WHOLE_SPAN)).json()["rows"]
    assert (row["calls"], row["failed_calls"], row["cost"]) == (1, 1, "0.004000000")


@pytest.mark.parametrize(("name", "value"), [("sort", "latency"), ("limit", "0"), ("limit", "1001"), ("after", "-1")])
async def test_what_can_not_be_asked_for_is_refused(name: str, value: str, world: World) -> None:
    asked: dict[str, Any] = {name: value}
    check_problem(await world.get(PATH, **asked), 422, "invalid_request", name)
