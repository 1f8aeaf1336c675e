"""Kinds without a price over HTTP: what they cost until they have one, in answers, budgets, reports and re-costings."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.verbs import budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.proof.verify import verify_database

AGO = (datetime.now(UTC) - timedelta(days=2)).isoformat()
STAND_IN = {"input": "15", "output": "75", "web_searches": "20", "images": "50"}
HOUSE = {"input": "2", "output": "4"}
MODEL: dict[str, Any] = {"provider": "house", "model": "drawer"}
USED = {"input_tokens": 1_000, "output_tokens": 100, "web_searches": 2, "images": 1}


async def _price(world: World, name: str, **base: str) -> dict[str, Any]:
    body = {"idempotency_key": fresh(), "rates": {"base": base}, "valid_from": AGO}
    return await world.made(f"/v1/prices/{name}", body, method="PUT")


async def _prices(world: World) -> str:
    """Set a price that stands in and one of a model that lacks some kinds; return the id of the first."""
    await _price(world, "house/drawer", **HOUSE)
    await _price(world, "*/*", **STAND_IN)
    [row] = await world.rows("select price_id from tenant_prices where provider = '*'")
    return str(row["price_id"])


async def _kinds(world: World) -> dict[str, tuple[int, str, int]]:
    rows = (await world.get("/v1/reports/kinds", group_by="user")).json()["rows"]
    return {row["kind"]: (row["count"], row["cost"], row["unpriced"]) for row in rows}


async def _costs(world: World) -> set[str]:
    """Return what the account and the reports say that all calls cost: one amount if they agree."""
    [account] = (await world.get("/v1/accounts")).json()["accounts"]
    costs = {account["balance"]["settled"]["cost"]}
    for dimension in ("user", "model", "agent_type"):
        costs.add((await world.get("/v1/reports/spend", group_by=dimension)).json()["total"]["cost"])
    return costs


async def test_a_hard_budget_and_reports_have_what_stood_in_until_it_is_re_costed(own_world: World) -> None:
    world = own_world
    stand_in, user = await _prices(world), fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"cost": "0.2"}))
    held = await world.made("/v1/reservations", reservation(user=user, **MODEL))
    settled = await world.made(f"/v1/reservations/{held['reservation_id']}/settle", {"usage": USED})
    assert (settled["cost"], settled["unpriced"]) == ("0.092400000", True)
    assert settled["others"] == [
        {"kind": "web_searches", "count": 2, "cost": "0.040000000", "assumed_price_id": stand_in},
        {"kind": "images", "count": 1, "cost": "0.050000000", "assumed_price_id": stand_in},
    ]
    sent = event(user=user, **MODEL, usage=USED)
    [booked] = (await world.made("/v1/events", {"events": [sent]}))["results"]
    assert (booked["cost"], booked["unpriced"]) == ("0.092400000", True)
    assert await _costs(world) == {"0.184800000"}
    assert await _kinds(world) == {"web_searches": (4, "0.080000000", 4), "images": (2, "0.100000000", 2)}
    large = reservation(user=user, **MODEL, input_tokens=10_000)
    check_problem(await world.post("/v1/reservations", large), 402, "budget_exceeded")
    offered = await _price(world, "house/drawer", **HOUSE, images="30")
    assert offered["recostable"] == 2
    [model] = (await world.get("/v1/recostings", **MODEL)).json()["models"]
    assert (model["difference"], model["kinds"]) == ("-0.040000000", [{"kind": "images", "count": 2}])
    booked = await world.made("/v1/recostings", {"idempotency_key": fresh(), **MODEL})
    assert booked["models"] == [model]
    assert await _costs(world) == {"0.144800000"}
    assert await _kinds(world) == {"web_searches": (4, "0.080000000", 4), "images": (2, "0.060000000", 0)}
    assert (await world.post("/v1/reservations", {**large, "idempotency_key": fresh()})).status_code == 201
    taken = await world.made("/v1/reversals", {"key": sent["idempotency_key"], "source": "batch", "reason": "a test"})
    assert taken["cost"] == "-0.072400000"
    assert await _kinds(world) == {"web_searches": (2, "0.040000000", 2), "images": (1, "0.030000000", 0)}
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_what_is_announced_without_a_price_is_held_at_what_stands_in(own_world: World) -> None:
    world, user = own_world, fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"cost": "0.15"}))
    await _price(world, "house/drawer", **HOUSE)
    asked = reservation(user=user, **MODEL, input_tokens=1_000, max_output_tokens=500, max_usage={"images": 3})
    plain = await world.made("/v1/reservations", asked)
    assert (plain["held"]["cost"], plain["without_price"]) == ("0.004000000", ["images"])
    await _price(world, "*/*", **STAND_IN)
    check_problem(
        await world.post("/v1/reservations", {**asked, "idempotency_key": fresh()}), 402, "budget_exceeded"
    )  # fmt: skip
    one = {**asked, "idempotency_key": fresh(), "max_usage": {"images": 1}}
    held = await world.made("/v1/reservations", one)
    assert (held["held"]["cost"], held["without_price"]) == ("0.054000000", ["images"])
    assert await world.made("/v1/reservations", one) == {**held, "replayed": True}
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    settled = await world.made(path, {"usage": {"input_tokens": 1_000, "output_tokens": 500, "images": 1}})
    assert (settled["cost"], settled["overrun"], settled["unpriced"]) == ("0.054000000", False, True)
    lease = {**one, "idempotency_key": fresh(), "calls": 1, "max_usage": {"images": 0, "web_searches": 1}}
    lent = [await world.made("/v1/leases", lease) for _ in range(2)]
    assert [(each["without_price"], each["price"]["tiers"][0]["request"]) for each in lent] == (
        [(["web_searches"], "0.02")] * 2
    )
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_a_call_by_another_model_costs_what_its_hold_was_priced_at(own_world: World) -> None:
    world = own_world
    await _prices(world)
    await _price(world, "house/searcher", **HOUSE, web_searches="10")
    held = await world.made("/v1/reservations", reservation(provider="house", model="searcher"))
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    settled = await world.made(path, {"usage": USED, "model": "drawer"})
    [row] = await world.rows("select price_id from tenant_prices where model = 'searcher'")
    assert settled["others"][0] == {
        "kind": "web_searches", "count": 2, "cost": "0.020000000", "assumed_price_id": str(row["price_id"]),
    }  # fmt: skip
    assert (settled["cost"], settled["unpriced"]) == ("0.072400000", True)
    report = await verify_database(world.url)
    assert report.clean, report.as_text()
