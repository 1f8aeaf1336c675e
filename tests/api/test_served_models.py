"""A settle falls on the budgets of the model that was served, as reports do.

Which model that is, the SDK decides by provider, and the answer says.
"""

import httpx2
import pytest
from token_ledger_sdk import AsyncTokenLedger

from tests.api.verbs import reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
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
    assert [(row["by"]["model"], row["cost"]) for row in report["rows"]] == [("o1-pro", settled["cost"])]
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


RESPONSE = {
    "choices": [{"index": 0, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1_000, "completion_tokens": 0},
}


@pytest.mark.parametrize(
    ("provider", "called", "answered", "booked", "cost"),
    [
        # The response says what served the call: also a fallback, an alias, a version that nobody has listed.
        ("openai", "gpt-5.4", "gpt-5.4-2026-03-05", "gpt-5.4", "0.002500000"),
        ("openai", "gpt-5.4", "gpt-5.4-2027-03-05", "gpt-5.4", "0.002500000"),
        ("anthropic", "claude-sonnet-5", "claude-opus-4-8", "claude-opus-4-8", "0.005000000"),
        ("openrouter", "openai/gpt-5-mini", "anthropic/claude-haiku-4.5", "claude-haiku-4-5", "0.001000000"),
        # A deployment at Azure answers with the name of a base model, here one that is nine times dearer.
        ("azure", "gpt-5-mini", "gpt-5.4-2026-03-05", "gpt-5-mini", "0.000250000"),
    ],
)
async def test_a_rule_for_each_provider_says_which_model_is_booked(
    provider: str, called: str, answered: str, booked: str, cost: str, world: World
) -> None:
    transport = httpx2.ASGITransport(world.app, raise_app_exceptions=False)
    client = AsyncTokenLedger("http://ledger.test", world.keys["acme", Role.AGENT], transport=transport)
    user = fresh("user")
    hold = await client.reserve(
        user=user, agent_type="planner", provider=provider, model=called, input_tokens=1_000, max_output_tokens=10
    )
    settled = await hold.settle({"id": fresh("chatcmpl"), "model": answered, **RESPONSE})
    assert (f"{settled.cost:f}", settled.unpriced) == (cost, False)
    names = [each and each.model for each in (settled.requested, settled.booked_model, settled.served)]
    assert names == [called, booked, booked if provider == "azure" else answered]
