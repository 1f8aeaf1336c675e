"""A settle falls on the budgets of the model that was served, as reports do."""

from tests.api.verbs import reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.proof.verify import verify_database


async def test_the_budget_of_the_served_model_sees_what_the_report_sees(world: World) -> None:
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    for model in ("o1-pro", "gpt-5.4-mini"):
        terms = {"selector": {"model": model}, "limits": {"cost": "0.01"}, "window": "day"}
        await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": model, **terms}, tenant=tenant)
    held = await world.made("/v1/reservations", reservation(model="gpt-5.4-mini"), tenant=tenant)
    used = {"usage": {"input_tokens": 1_000, "output_tokens": 2_000}, "model": "o1-pro"}
    settled = await world.made(f"/v1/reservations/{held['reservation_id']}/settle", used, tenant=tenant)
    report = (await world.get("/v1/reports/spend", tenant=tenant, group_by="model")).json()
    assert [(row["key"], row["cost"]) for row in report["rows"]] == [("o1-pro", settled["cost"])]
    accounts = (await world.get("/v1/accounts", tenant=tenant)).json()["accounts"]
    assert {a["budget"]: (a["balance"]["settled"]["cost"], a["balance"]["held"]["calls"]) for a in accounts} == {
        "o1-pro": (settled["cost"], 0), "gpt-5.4-mini": ("0.000000000", 0),
    }  # fmt: skip
    refused = await world.post("/v1/reservations", reservation(model="o1-pro", max_output_tokens=1), tenant=tenant)
    check_problem(refused, 402, "budget_exceeded")
    assert (await verify_database(world.url, tenant)).clean


async def test_a_served_model_without_a_price_is_never_free(world: World) -> None:
    user = fresh("user")
    terms = {"selector": {"user": user}, "limits": {"cost": "0.02"}, "window": "day"}
    await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": user, **terms})
    used = {"usage": {"input_tokens": 1_000, "output_tokens": 500}, "model": "a model that nobody knows"}
    statuses = []
    for _ in range(10):
        answer = await world.post("/v1/reservations", reservation(user=user))
        statuses.append(answer.status_code)
        if answer.status_code == 201:
            hold = answer.json()["reservation_id"]
            settled = await world.made(f"/v1/reservations/{hold}/settle", used)
            assert (settled["unpriced"], settled["cost"]) == (True, "0.010000000")
    assert statuses == [201] * 2 + [402] * 8
