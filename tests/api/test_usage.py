"""Reports of usage: calls of models and tools, cache hits, providers' responses; each event has its own result."""

import json
from typing import Any

import pytest

from tests.api.verbs import MODEL, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database
from token_ledger.reports.formats.json import live_event_answer
from token_ledger.reports.live_feed import events_after

USAGE = {"input_tokens": 1_000, "output_tokens": 100}
MEASURED = {
    "latency_ms": 2_140, "first_token_ms": 380, "retries": 1, "error_kind": "rate_limit", "finish_reason": "stop",
    "estimate_rule": "input counted",
    "stages": {
        "credit_checked": 1, "context_prepared": 2, "agent_started": 3, "first_tool": 4, "first_chunk": 380,
        "stream_complete": 2_140, "ours": 7,
    },
}  # fmt: skip


def named(**fields: Any) -> dict[str, Any]:
    """Return what every event says of itself."""
    return {"source": "batch", "idempotency_key": fresh(), "user": "ada", "agent_type": "data_agent", **fields}


def tool_call(**fields: Any) -> dict[str, Any]:
    return named(**{"type": "tool_call", "tool": "web_search", **fields})


def cache_hit(**fields: Any) -> dict[str, Any]:
    return named(**{"type": "cache_hit", **MODEL, "usage": USAGE, **fields})


async def report(world: World, *events: Any, path: str = "/v1/usage") -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = (await world.made(path, {"events": list(events)}))["results"]
    return results


async def stored(world: World, event_id: str) -> dict[str, Any]:
    [row] = await world.rows("select * from usage_events where event_id = $1", int(event_id))
    details = row["details"] and json.loads(row["details"])
    return {**row, "details": details}


async def test_a_call_is_booked_with_what_was_measured(world: World) -> None:
    [booked] = await report(world, event(type="llm_call", model="gpt-5.4", usage=USAGE, measured=MEASURED))
    assert (booked["status"], booked["cost"], booked["tokens"]) == ("booked", "0.004000000", 1_100)
    assert (booked["unpriced"], booked["clamped"], booked["replayed"]) == (False, False, False)
    row = await stored(world, booked["event_id"])
    assert (row["kind"], row["calls"], row["details"]) == (None, 1, MEASURED)


async def test_a_tool_call_costs_what_its_caller_says_and_counts_no_call(world: World) -> None:
    user = fresh("user")
    sent = tool_call(
        user=user, tool_source="mcp:github", cost="0.005", from_cache=True, outcome="error",
        measured={"latency_ms": 412, "error_kind": "timeout"},
    )  # fmt: skip
    [booked] = await report(world, sent)
    assert (booked["status"], booked["cost"], booked["tokens"], booked["unpriced"]) == (
        "booked", "0.005000000", 0, False,
    )  # fmt: skip
    row = await stored(world, booked["event_id"])
    assert (row["kind"], row["calls"], row["tool"], row["model"], row["failed"]) == (
        "tool_call", 0, "web_search", "", True,
    )  # fmt: skip
    assert row["details"] == {
        "latency_ms": 412, "error_kind": "timeout", "tool_source": "mcp:github", "from_cache": True,
    }  # fmt: skip
    [again] = await report(world, sent)
    assert again == {**booked, "replayed": True}
    spent = await world.get("/v1/reports/spend", group_by="user")
    [row] = [each for each in spent.json()["rows"] if each["by"]["user"] == user]
    assert (row["calls"], row["cost"]) == (0, "0.005000000")
    assert (await verify_database(world.url, "acme")).clean


async def test_a_tool_call_is_on_the_accounts_of_its_user_run_tool_and_no_model(world: World) -> None:
    user, tool = fresh("user"), fresh("tool")
    for name, selector in (
        ("user", {"user": user}), ("tool", {"tool": tool}), ("model", {"user": user, "model": "*"}),
        ("provider", {"user": user, "provider": "*"}),
    ):  # fmt: skip
        made = {"idempotency_key": fresh(), "name": f"{name} {user}", "selector": selector, "window": "total"}
        await world.made("/v1/budgets", {**made, "limits": {"cost": "1", "calls": 10}})
    run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": user, "limits": {"cost": "1"}})
    sent = tool_call(tool=tool, cost="0.25", run_id=run["run_id"])
    del sent["user"]
    await report(world, sent)
    accounts = await world.rows("select budget, subject, settled_nanos, settled_calls from accounts")
    found = {row["budget"]: (row["settled_nanos"], row["settled_calls"]) for row in accounts if row["settled_nanos"]}
    assert found[f"user {user}"] == found[f"tool {user}"] == (250_000_000, 0)
    assert f"model {user}" not in found
    assert f"provider {user}" not in found
    assert [row["settled_nanos"] for row in accounts if run["run_id"] in row["subject"]] == [250_000_000]
    usage = (await world.get(f"/v1/runs/{run['run_id']}/usage")).json()
    assert [(row["key"], row["calls"], row["cost"]) for row in usage["by_tool"]] == [(tool, 0, "0.250000000")]
    assert (await verify_database(world.url, "acme")).clean


@pytest.mark.parametrize(
    ("fields", "cost", "tokens", "unpriced"),
    [
        ({}, "0.000000000", 0, False),
        ({"cost": "0"}, "0.000000000", 0, False),
        ({**MODEL, "usage": USAGE}, "0.004000000", 1_100, False),
        ({**MODEL, "usage": USAGE, "service_tier": "batch"}, "0.002000000", 1_100, False),
        ({**MODEL, "usage": USAGE, "cost": "1.5"}, "1.500000000", 1_100, False),
        ({"provider": "openai", "model": "nobody-knows", "usage": USAGE}, "0.000000000", 1_100, True),
        ({"provider": "openai", "model": "nobody-knows", "usage": USAGE, "cost": "1"}, "1.000000000", 1_100, False),
    ],
)
async def test_a_tool_that_used_a_model_costs_what_that_costs_unless_its_caller_knows_better(
    fields: dict[str, Any], cost: str, tokens: int, unpriced: bool, world: World
) -> None:
    [booked] = await report(world, tool_call(**fields))
    assert (booked["cost"], booked["tokens"], booked["unpriced"]) == (cost, tokens, unpriced)
    assert (await stored(world, booked["event_id"]))["calls"] == 0
    assert (await verify_database(world.url, "acme")).clean


async def test_a_cache_hit_uses_nothing_and_says_what_it_saved(world: World) -> None:
    user = fresh("user")
    results = await report(
        world, cache_hit(user=user, measured={"latency_ms": 3}), cache_hit(user=user, model="nobody-knows"),
        cache_hit(user=user, service_tier="batch"),
        cache_hit(user=user, usage={"input_tokens": 10, "output_tokens": 1, "cache_read_tokens": 11}),
    )  # fmt: skip
    assert [(r["cost"], r["tokens"], r["saved"], r["unpriced"], r["clamped"]) for r in results] == [
        ("0.000000000", 0, "0.004000000", False, False), ("0.000000000", 0, "0.000000000", True, False),
        ("0.000000000", 0, "0.002000000", False, False), ("0.000000000", 0, "0.000017500", False, True),
    ]  # fmt: skip
    row = await stored(world, results[0]["event_id"])
    assert (row["kind"], row["calls"], row["input_tokens"], row["cost_nanos"]) == ("cache_hit", 0, 0, 0)
    assert row["details"] == {"latency_ms": 3, "saved": {"usage": USAGE, "nanos": 4_000_000}}
    assert (await verify_database(world.url, "acme")).clean


async def test_a_tool_call_and_a_cache_hit_can_be_taken_back(world: World) -> None:
    called, hit = tool_call(cost="0.5", measured={"latency_ms": 1}), cache_hit()
    await report(world, called, hit)
    for sent, cost in ((called, "-0.500000000"), (hit, "0.000000000")):
        taken = await world.made(
            "/v1/reversals", {"key": sent["idempotency_key"], "source": sent["source"], "reason": "a test"}
        )
        assert (taken["cost"], taken["calls"]) == (cost, 0)
    rows = await world.rows("select kind, details from usage_events where corrects is not null order by event_id")
    assert [(row["kind"], row["details"] and json.loads(row["details"])) for row in rows][-2:] == [
        ("tool_call", None),
        ("cache_hit", {"saved": {"usage": {"input_tokens": -1_000, "output_tokens": -100}, "nanos": -4_000_000}}),
    ]
    assert (await verify_database(world.url, "acme")).clean


BAD = {
    "another type": (event(type="embedding"), "type"),
    "a type that is no text": (event(type=5), "type"),
    "a tool call without a tool": (named(type="tool_call"), "tool"),
    "a model without usage": (tool_call(**MODEL), "provider"),
    "usage without a model": (tool_call(usage=USAGE), "usage"),
    "a negative cost": (tool_call(cost="-1"), "cost"),
    "a cost that is no text": (tool_call(cost=1), "cost"),
    "a cost finer than money": (tool_call(cost="0.0000000001"), "cost"),
    "a cache hit without usage": (named(type="cache_hit", **MODEL), "usage"),
    "a cache hit with a cost": (cache_hit(cost="1"), "cost"),
    "a latency below zero": (event(measured={"latency_ms": -1}), "measured.latency_ms"),
    "a latency that is no integer": (event(measured={"latency_ms": 1.5}), "measured.latency_ms"),
    "a stage without a name": (event(measured={"stages": {"": 1}}), "measured.stages"),
    "33 stages": (event(measured={"stages": {f"s{n}": n for n in range(33)}}), "measured.stages"),
    "an error that is a text": (event(measured={"error_kind": "x" * 65}), "measured.error_kind"),
    "an unknown measurement": (event(measured={"speed": 1}), "measured.speed"),
    "usage and body": (event(body={}), "usage"),
    "a body without usage": (named(provider="openai", body={"id": "x"}), "body"),
    "a body that is a text": (named(provider="openai", body="{}"), "body"),
}


@pytest.mark.parametrize("label", BAD)
async def test_a_bad_event_is_kept_with_its_field_and_the_others_are_booked(label: str, world: World) -> None:
    bad, field = BAD[label]
    bad = {**bad, "idempotency_key": fresh()}
    results = await report(world, event(), bad, tool_call())
    assert [result["status"] for result in results] == ["booked", "quarantined", "booked"]
    assert results[1]["code"] == "invalid_request"
    assert results[1]["detail"]
    assert results[1]["field"].startswith(f"events.1.{field}"), results[1]
    [again] = await report(world, bad)
    assert (again["quarantine_id"], again["replayed"]) == (results[1]["quarantine_id"], True)


@pytest.mark.parametrize("change", [{"cost": "2"}, {"from_cache": True}, {"tool_source": "b"}, {"type": "llm_call"}])
async def test_a_key_used_for_another_tool_call_conflicts(change: dict[str, Any], world: World) -> None:
    first = tool_call(cost="1")
    results = await report(world, first, {**first, **change})
    assert [result["status"] for result in results] == ["booked", "conflict"]


async def test_a_conflict_of_cache_hits_names_what_differs(world: World) -> None:
    first = cache_hit(measured={"latency_ms": 1})
    changed = [{**first, "usage": {**USAGE, "input_tokens": 7}}, {**first, "measured": {"latency_ms": 2}}]
    results = await report(world, first, *changed)
    assert [result.get("field") for result in results] == [None, "usage.input_tokens", "measured"]


async def test_a_thousand_events_are_booked_in_their_order_and_one_more_is_refused(world: World) -> None:
    sent = [event(usage={"input_tokens": n, "output_tokens": 0}) for n in range(1, 1_001)]
    results = await report(world, *sent)
    assert [result["tokens"] for result in results] == list(range(1, 1_001))
    check_problem(await world.post("/v1/usage", {"events": [*sent, event()]}), 422, "invalid_request", "events")
    check_problem(await world.post("/v1/usage", {"events": []}), 422, "invalid_request", "events")


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/events"])
async def test_the_same_event_through_both_routes_is_booked_once(path: str, world: World) -> None:
    sent = event(measured={"latency_ms": 5})
    [booked] = await report(world, sent, path=path)
    [again] = await report(world, {**sent, "type": "llm_call"}, path="/v1/events" if "usage" in path else "/v1/usage")
    assert again == {**booked, "replayed": True}


async def test_an_operation_reports_a_tool_call(world: World) -> None:
    done = await world.made("/v1/operations", {"operations": [{"op": "event", **tool_call(cost="0.25")}]})
    assert done["results"][0]["body"]["cost"] == "0.250000000"


async def test_a_duplicate_and_a_doubtful_repetition_are_said(world: World) -> None:
    response = fresh("resp")
    first, twin, other = (event(response_id=response, usage=USAGE) for _ in range(3))
    other["usage"] = {"input_tokens": 5, "output_tokens": 5}
    results = await report(world, first, twin, other)
    assert [result["status"] for result in results] == ["booked", "duplicate", "booked"]
    assert [result.get("repetition") for result in results] == [None, "duplicate", "other_usage"]
    assert [result.get("earlier_event_id") for result in results] == [None, *[results[0]["event_id"]] * 2]


async def test_an_unknown_model_is_unpriced_and_a_contradiction_clamped(world: World) -> None:
    contradiction = {"input_tokens": 10, "output_tokens": 1, "cache_read_tokens": 11}
    results = await report(world, event(model="nobody-knows"), event(usage=contradiction), event(agent_type=7),
                           event(occurred_at="2020-01-01T00:00:00Z"))  # fmt: skip
    assert [(r["status"], r.get("unpriced"), r.get("clamped"), r.get("code")) for r in results] == [
        ("booked", True, False, None), ("booked", False, True, None),
        ("quarantined", None, None, "invalid_request"), ("quarantined", None, None, "time_out_of_range"),
    ]  # fmt: skip


async def test_a_settle_stores_what_was_measured(world: World) -> None:
    held = await world.made("/v1/reservations", reservation())
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    settled = await world.made(path, {"usage": USAGE, "measured": MEASURED})
    assert (await stored(world, settled["event_id"]))["details"] == MEASURED
    check_problem(
        await world.post(path, {"usage": USAGE, "measured": {"latency_ms": 1}}), 409, "idempotency_conflict", "measured"
    )
    listed = (await world.get("/v1/quarantine", limit=1)).json()["quarantine"][0]
    assert listed["body"]["measured"] == {"latency_ms": 1}


@pytest.mark.parametrize("role", [Role.FINANCE, Role.USER])
async def test_only_agents_and_admins_report(role: Role, world: World) -> None:
    check_problem(await world.post("/v1/usage", {"events": [event()]}, role=role), 403, "forbidden")


async def test_tenants_have_keys_and_responses_of_their_own(world: World) -> None:
    sent = event(response_id=fresh("resp"))
    [ours] = await report(world, sent)
    theirs = (await world.made("/v1/usage", {"events": [sent]}, tenant="globex"))["results"][0]
    assert (ours["status"], theirs["status"], theirs["replayed"]) == ("booked", "booked", False)


async def test_the_live_stream_says_what_an_event_is(world: World) -> None:
    called, _ = await report(world, tool_call(cost="0.5", tool="grep"), cache_hit())
    tenant = world.tenants["acme"]
    async with world.service.database.reading(tenant) as connection:
        found = await events_after(connection, tenant, int(called["event_id"]) - 1, 2)
    shown = [live_event_answer(each) for each in found]
    assert [(each["kind"], each["tool"], each["model"]) for each in shown] == [
        ("tool_call", "grep", ""), ("cache_hit", None, "gpt-5.4"),
    ]  # fmt: skip
