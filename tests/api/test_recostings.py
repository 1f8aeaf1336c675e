"""Re-costing over HTTP: a price offers it, a look shows it, a request books just that, and all reports agree."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.verbs import budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database

AGO = (datetime.now(UTC) - timedelta(days=1)).isoformat()
HOUSE = {"input": "2", "output": "4"}


async def _price(world: World, name: str, since: str | None = AGO, **base: str) -> dict[str, Any]:
    body = {"idempotency_key": fresh(), "rates": {"base": {**HOUSE, **base}}, "valid_from": since}
    return await world.made(f"/v1/prices/{name}", body, method="PUT")


async def _recost(world: World, **fields: Any) -> dict[str, Any]:
    return await world.made("/v1/recostings", {"idempotency_key": fresh(), **fields})


async def _costs(world: World, budget_id: str, user: str) -> set[str]:
    """Return what the budget and each report say that a user's calls cost: one amount if they agree."""
    [account] = (await world.get("/v1/accounts", budget_id=budget_id)).json()["accounts"]
    costs = {account["balance"]["settled"]["cost"]}
    rows = (await world.get("/v1/reports/spend", group_by="user")).json()["rows"]
    costs.update(row["cost"] for row in rows if row["by"]["user"] == user)
    for row in (await world.get("/v1/reports/spend", group_by="model")).json()["rows"]:
        if row["by"]["model"] == f"model-of-{user}":
            costs.add(row["cost"])
    return costs


async def test_a_model_without_a_price_is_re_costed_in_every_sum(world: World) -> None:
    user = fresh("user")
    name: dict[str, Any] = {"provider": "house", "model": f"model-of-{user}"}
    made = await world.made("/v1/budgets", budget(user, limits={"cost": "0.01"}))
    sent = [event(user=user, **name, usage={"input_tokens": 1_000, "output_tokens": 500, "web_searches": 2})
            for _ in range(3)]  # fmt: skip
    await world.made("/v1/events", {"events": sent})
    await world.made("/v1/reversals", {"key": sent[2]["idempotency_key"], "source": "batch", "reason": "a test"})
    assert await _costs(world, made["budget_id"], user) == {"0.000000000"}
    offered = await _price(world, f"house/{name['model']}", web_searches="10")
    assert offered["recostable"] == 2
    shown = (await world.get("/v1/recostings", **name)).json()
    [model] = shown["models"]
    assert model == {
        **name, "events": 2, "tokens": 3_000, "kinds": [{"kind": "web_searches", "count": 4}],
        "cost_before": "0.000000000", "cost_after": "0.048000000", "difference": "0.048000000",
        "list_cost_before": "0.000000000", "list_cost_after": "0.048000000",
    }  # fmt: skip
    key = fresh()
    booked = await world.made("/v1/recostings", {"idempotency_key": key, **name})
    assert (booked["models"], booked["next"], booked["replayed"]) == ([model], None, False)
    assert await _costs(world, made["budget_id"], user) == {"0.048000000"}
    kinds = (await world.get("/v1/reports/kinds", group_by="user")).json()["rows"]
    assert [(row["count"], row["cost"], row["unpriced"]) for row in kinds if row["key"] == user] == [
        (4, "0.040000000", 0)
    ]
    check_problem(await world.post("/v1/reservations", reservation(user=user)), 402, "budget_exceeded")
    assert await world.made("/v1/recostings", {"idempotency_key": key, **name}) == {**booked, "replayed": True}
    check_problem(await world.post("/v1/recostings", {"idempotency_key": key}), 409, "idempotency_conflict")
    assert (await _recost(world, **name))["models"] == []
    assert (await world.get("/v1/recostings", **name)).json() == {"models": [], "next": None}
    [entry] = [
        each for each in (await world.get("/v1/audit")).json()["audit"] if each["audit_id"] == booked["audit_id"]
    ]
    assert (entry["action"], entry["target"]) == ("calls.recost", f"house/{name['model']}")
    taken = await world.made(
        "/v1/reversals", {"key": sent[0]["idempotency_key"], "source": "batch", "reason": "a test"}
    )
    assert (taken["calls"], taken["cost"], len(taken["corrections"])) == (-1, "-0.024000000", 2)
    assert await _costs(world, made["budget_id"], user) == {"0.024000000"}
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_searches_of_a_call_with_a_hold_are_re_costed_and_its_tokens_are_not(world: World) -> None:
    user = fresh("user")
    name: dict[str, Any] = {"provider": "house", "model": f"model-of-{user}"}
    made = await world.made("/v1/budgets", budget(user, limits={"cost": "1"}))
    await _price(world, f"house/{name['model']}")
    held = await world.made("/v1/reservations", reservation(user=user, **name))
    used = {"usage": {"input_tokens": 1_000, "output_tokens": 500, "web_searches": 2}}
    settled = await world.made(f"/v1/reservations/{held['reservation_id']}/settle", used)
    assert (settled["cost"], settled["unpriced"]) == ("0.004000000", True)
    assert (await _price(world, f"house/{name['model']}", input="9", web_searches="10"))["recostable"] == 1
    [model] = (await _recost(world, **name))["models"]
    assert (model["tokens"], model["difference"]) == (0, "0.020000000")
    assert await _costs(world, made["budget_id"], user) == {"0.024000000"}
    assert (await verify_database(world.url)).clean


async def test_a_corrected_price_is_re_costed_in_every_sum(world: World) -> None:
    user = fresh("user")
    name: dict[str, Any] = {"provider": "house", "model": f"model-of-{user}"}
    made = await world.made("/v1/budgets", budget(user, limits={"cost": "1"}))
    await _price(world, f"house/{name['model']}")
    await world.made("/v1/events", {"events": [event(user=user, **name) for _ in range(3)]})
    before = await _costs(world, made["budget_id"], user)
    assert (await _price(world, f"house/{name['model']}", input="3"))["recostable"] == 0
    assert (await world.get("/v1/recostings", **name)).json()["models"] == []
    shown = (await world.get("/v1/recostings", **name, since=AGO, also_priced="true")).json()
    [model] = shown["models"]
    assert (model["events"], model["tokens"], {model["cost_before"]}) == (3, 0, before)
    assert (await _recost(world, **name, since=AGO, also_priced=True))["models"] == [model]
    assert await _costs(world, made["budget_id"], user) == {model["cost_after"]} != before
    assert (await _recost(world, **name, since=AGO, also_priced=True))["models"] == []
    check_problem(
        await world.get("/v1/recostings", also_priced="true", after="1/nowhere"), 422, "invalid_request", "after"
    )
    assert (await verify_database(world.url)).clean


async def test_requests_at_once_re_cost_each_call_once(world: World) -> None:
    user = fresh("user")
    name: dict[str, Any] = {"provider": "house", "model": f"model-of-{user}"}
    made = await world.made("/v1/budgets", budget(user, limits={"cost": "1"}))
    await world.made("/v1/events", {"events": [event(user=user, **name) for _ in range(8)]})
    await _price(world, f"house/{name['model']}")
    answers = await asyncio.gather(*(_recost(world, **name) for _ in range(5)))
    assert sum(model["events"] for each in answers for model in each["models"]) == 8
    assert await _costs(world, made["budget_id"], user) == {"0.032000000"}
    assert (await verify_database(world.url)).clean


async def test_a_request_re_costs_some_and_says_where_to_continue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = fresh("user")
    name: dict[str, Any] = {"provider": "house", "model": f"model-of-{user}"}
    await world.made("/v1/events", {"events": [event(user=user, **name) for _ in range(5)]})
    await _price(world, f"house/{name['model']}")
    monkeypatch.setattr("token_ledger.storage.reads.recostings.MOST_LOOKED_AT", 2)
    after, events = None, []
    while True:
        body = {**name, **({} if after is None else {"after": after})}
        shown = (await world.get("/v1/recostings", **body)).json()
        booked = await _recost(world, **body)
        assert (booked["models"], booked["next"]) == (shown["models"], shown["next"])
        events += [model["events"] for model in booked["models"]]
        after = booked["next"]
        if after is None:
            break
    assert events == [2, 2, 1]
    check_problem(await world.get("/v1/recostings", after="nowhere"), 422, "invalid_request", "after")


async def test_the_live_stream_and_another_tenant(own_world: World) -> None:
    world = own_world
    name: dict[str, Any] = {"provider": "house", "model": "summarizer"}
    await world.made("/v1/events", {"events": [event(user="ada", **name)]})
    await world.made("/v1/events", {"events": [event(user="bob", **name)]}, tenant="globex")
    await _price(world, "house/summarizer")
    await _recost(world)
    [row] = await world.rows("select tenant_id, calls, input_tokens from usage_events where recosts is not null")
    assert tuple(row.values()) == (world.tenants["acme"], 0, 0)
    assert (await world.get("/v1/recostings", tenant="globex", role=Role.ADMIN)).json()["models"] == []
    assert (await world.get("/v1/recostings", role=Role.FINANCE)).status_code == 403
    assert (await verify_database(world.url)).clean
