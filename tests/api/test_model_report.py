"""Models compared over HTTP: what is told of each is what the events that were sent come to."""

import random
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from tests.api.sent_events import NOW, WHOLE_SPAN, Sent, book, dollars, ratio, sent, take_back, times, usage
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role

PATH = "/v1/reports/models"
FIGURES = ("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cost")


def _some(chance: random.Random, number: int) -> list[Sent]:
    return [
        sent(
            chance, model=chance.choice(("gpt-5.4", "gpt-5.4-mini")), usage=usage(chance),
            outcome=chance.choice(("ok", "ok", "error")),
        )
        for _ in range(number)
    ]  # fmt: skip


def _others(chance: random.Random) -> list[Sent]:
    """Return what names a model and is no call of it."""
    hits = [sent(chance, type="cache_hit", usage=usage(chance)) for _ in range(6)]
    tools = [sent(chance, type="tool_call", tool="search", usage=usage(chance)) for _ in range(6)]
    bare = [sent(chance, type="tool_call", tool="clock", provider=None, model=None, usage=None) for _ in range(3)]
    return [*hits, *tools, *bare]


def _expected(events: Sequence[Sent]) -> dict[str, Any]:
    """Return what is told of some events."""
    standing = [each for each in events if not each.is_gone]
    calls = [each for each in standing if each.kind == "llm_call"]
    used = [each.body["usage"] for each in standing if "usage" in each.body and each.kind != "cache_hit"]
    failed = sum(each.failed for each in calls)
    written = [
        (each.body["usage"]["output_tokens"], latency - first)
        for each in calls
        if (latency := each.measured("latency_ms")) is not None
        and (first := each.measured("first_token_ms")) is not None
        and first < latency
    ]
    cost = sum(each.cost_nanos for each in standing)
    read, given = (sum(each.get(name, 0) for each in used) for name in ("cache_read_tokens", "input_tokens"))
    return {
        "calls": len(calls), "input_tokens": given, "cache_read_tokens": read,
        "output_tokens": sum(each["output_tokens"] for each in used), "cost": dollars(cost),
        "cache_write_tokens": 0, "reasoning_tokens": 0, "failed_calls": failed,
        "failed_share": ratio(failed, len(calls)),
        "latency": times(each.measured("latency_ms") for each in calls),
        "first_token": times(each.measured("first_token_ms") for each in calls),
        "output_tokens_per_second": ratio(
            sum(tokens for tokens, _ in written) * 1_000, sum(ms for _, ms in written), 1
        ),
        "cost_per_call": dollars(round(Fraction(cost, len(calls)))) if calls else None,
        "cache_share": ratio(read, given),
    }  # fmt: skip


async def _check(world: World, events: Sequence[Sent], **params: Any) -> None:
    """Check that the report says what the events come to, and has what the report of spend has."""
    asked = {**WHOLE_SPAN, **params}
    answer = await world.get(PATH, role=Role.FINANCE, **asked)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    by_model: dict[tuple[str | None, str | None], list[Sent]] = {}
    for each in events:
        by_model.setdefault((each.body.get("provider"), each.body.get("model")), []).append(each)
    rows = {(row.pop("provider"), row.pop("model")): row for row in report["rows"]}
    assert rows == {key: _expected(each) for key, each in by_model.items()}, params
    assert report["total"] == _expected(events), params
    assert report["next"] is None
    spend = (await world.get("/v1/reports/spend", group_by="provider,model", **asked)).json()
    assert report["booked_until"] == spend["booked_until"]
    assert {key: _spent(row) for key, row in rows.items()} == {
        (row["by"]["provider"], row["by"]["model"]): _spent(row) for row in spend["rows"]
    }
    assert _spent(report["total"]) == _spent(spend["total"])


def _spent(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in FIGURES]


async def test_models_are_compared_by_what_their_events_come_to(own_world: World) -> None:
    world = own_world
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    events = [*_some(chance, 90), *_others(chance)]
    await book(world, events)
    await take_back(world, chance.sample(events, 12))
    await _check(world, events)
    for user in ("ada", "eve"):
        await _check(world, [each for each in events if each.body["user"] == user], user=user)
    await _check(world, [each for each in events if not each.failed], outcome="ok")
    await _check(world, [each for each in events if each.body.get("model") == "gpt-5.4"], model="gpt-5.4")
    since, until = (NOW - timedelta(hours=hours) for hours in (31, 7))
    inside = [each for each in events if since <= each.at < until]
    cut: dict[str, Any] = {"from": since.isoformat(), "to": until.isoformat()}
    await _check(world, inside, **cut)


async def test_what_nobody_measured_is_null_and_not_zero(own_world: World) -> None:
    chance = random.Random(1)
    one = sent(chance, usage={"input_tokens": 100, "output_tokens": 10})
    one.body.pop("measured", None)
    await book(own_world, [one])
    [row] = (await own_world.get(PATH, **WHOLE_SPAN)).json()["rows"]
    nothing = {"measured": 0, "p50_ms": None, "p95_ms": None}
    assert (row["latency"], row["first_token"], row["output_tokens_per_second"]) == (nothing, nothing, None)
    empty = (await own_world.get(PATH, user="nobody", **WHOLE_SPAN)).json()
    assert (empty["rows"], empty["total"]) == ([], _expected([]))


async def test_pages_have_every_model_once_in_the_order_asked_for(own_world: World) -> None:
    chance = random.Random(2)
    fast, slow = {"latency_ms": 100, "first_token_ms": 90}, {"latency_ms": 900, "first_token_ms": 20}
    events = _some(chance, 7)
    for number, each in enumerate(events):
        is_mini = number > 1
        each.body |= {
            "model": "gpt-5.4-mini" if is_mini else "gpt-5.4", "measured": slow if is_mini else fast,
            "outcome": "ok" if is_mini else "error", "usage": {"input_tokens": 10_000, "output_tokens": 10},
        }  # fmt: skip
        each.cost_nanos = 10_000 * (750 if is_mini else 2_500) + 10 * (4_500 if is_mini else 15_000)
    bare = sent(chance, type="tool_call", tool="clock", provider=None, model=None, usage=None)
    await book(own_world, [*events, bare])
    orders: dict[str, list[str | None]] = {
        "cost": ["gpt-5.4", "gpt-5.4-mini", None], "calls": ["gpt-5.4-mini", "gpt-5.4", None],
        "failed": ["gpt-5.4", "gpt-5.4-mini", None], "latency": ["gpt-5.4-mini", "gpt-5.4", None],
        "first_token": ["gpt-5.4", "gpt-5.4-mini", None], "key": ["gpt-5.4", "gpt-5.4-mini", None],
    }  # fmt: skip
    for sort, expected in orders.items():
        found, after = [], "0"
        while after is not None:
            page = (await own_world.get(PATH, sort=sort, limit=1, after=after, **WHOLE_SPAN)).json()
            found += [row["model"] for row in page["rows"]]
            assert page["total"] == _expected([*events, bare])
            after = page["next"]
        assert found == expected, sort


async def test_a_recosted_call_costs_what_it_costs_now_and_is_one_call(own_world: World) -> None:
    world = own_world
    named = {"provider": "house", "model": "sum"}
    call = {**sent(random.Random(3), usage={"input_tokens": 1_000, "output_tokens": 500}).body, **named}
    call |= {"measured": {"latency_ms": 700, "first_token_ms": 200}, "response_id": "resp_1"}
    again = {**call, "idempotency_key": fresh(), "measured": {"latency_ms": 900, "first_token_ms": 100}}
    results = (await world.made("/v1/events", {"events": [call, again]}))["results"]
    assert [each["status"] for each in results] == ["booked", "duplicate"]
    rates = {"base": {"input": "2", "output": "4"}}
    since = (NOW - timedelta(days=4)).isoformat()
    price = {"idempotency_key": fresh(), "rates": rates, "valid_from": since}
    await world.made("/v1/prices/house/sum", price, method="PUT")
    await world.made("/v1/recostings", {"idempotency_key": fresh(), **named})
    [row] = (await world.get(PATH, **WHOLE_SPAN)).json()["rows"]
    assert row.items() >= {
        **named, "calls": 1, "cost": "0.004000000", "cost_per_call": "0.004000000", "failed_calls": 0,
        "latency": {"measured": 1, "p50_ms": 700, "p95_ms": 700}, "output_tokens_per_second": 1_000.0,
        "first_token": {"measured": 1, "p50_ms": 200, "p95_ms": 200},
    }.items()  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("sort", "speed"), ("limit", "0"), ("limit", "1001"), ("after", "-1")])
async def test_what_can_not_be_asked_for_is_refused(name: str, value: str, world: World) -> None:
    asked: dict[str, Any] = {name: value}
    check_problem(await world.get(PATH, **asked), 422, "invalid_request", name)
