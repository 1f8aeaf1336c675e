"""Models are renamed over HTTP: the list says what each name is, and budgets per model go on under the new name."""

from typing import Any

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database

OLD, NEW = {"provider": "openai", "model": "gpt-5.4"}, {"provider": "openai", "model": "gpt-5.4-mini"}
USED = {"input_tokens": 900, "output_tokens": 100}


def renaming(**fields: Any) -> dict[str, Any]:
    return {"idempotency_key": fresh(), "asked": OLD, "becomes": NEW, "reason": "one model", **fields}


async def _tokens(world: World, tenant: str, budget_id: str) -> dict[str, tuple[int, int]]:
    accounts = (await world.get("/v1/accounts", tenant=tenant, budget_id=budget_id)).json()["accounts"]
    balances = {each["subject"]["model"]: each["balance"] for each in accounts}
    return {model: (each["settled"]["tokens"], each["held"]["tokens"]) for model, each in balances.items()}


async def test_a_renamed_model_goes_on_where_its_limit_is_under_the_new_name(world: World) -> None:
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    terms = {"selector": {"model": "*"}, "limits": {"tokens": 4_000}, "window": "day"}
    made = await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": "each", **terms}, tenant=tenant)
    held = [await world.made("/v1/reservations", reservation(), tenant=tenant) for _ in range(2)]
    settle = f"/v1/reservations/{held[0]['reservation_id']}/settle"
    await world.made(settle, {"usage": USED}, tenant=tenant)
    body = renaming()
    answer = await world.made("/v1/model-names", body, tenant=tenant)
    assert (answer["action"], answer["target"]) == ("model.rename", "openai/gpt-5.4")
    assert answer["before"] == OLD
    assert answer["after"] == {**NEW, "reason": "one model", "names": 1, "accounts": 1}
    assert await world.made("/v1/model-names", body, tenant=tenant) == {**answer, "replayed": True}
    assert await _tokens(world, tenant, made["budget_id"]) == {"gpt-5.4": (0, 0), "gpt-5.4-mini": (1_000, 1_500)}
    last = await world.made("/v1/reservations", reservation(), tenant=tenant)
    assert last["booked_model"] == NEW
    denied = await world.post("/v1/reservations", reservation(), tenant=tenant)
    [refusal] = check_problem(denied, 402, "budget_exceeded")["refusals"]
    assert (refusal["subject"], refusal["settled"], refusal["held"]) == ({"model": "gpt-5.4-mini"}, 1_000, 3_000)
    settle = f"/v1/reservations/{held[1]['reservation_id']}/settle"
    settled = await world.made(settle, {"usage": USED}, tenant=tenant)
    [booked] = await world.rows("select model from usage_events where event_id = $1", int(settled["event_id"]))
    assert booked["model"] == OLD["model"]
    assert (await _tokens(world, tenant, made["budget_id"]))["gpt-5.4-mini"] == (2_000, 1_500)
    assert (await verify_database(world.url, tenant)).clean


async def test_the_list_says_what_names_are_since_when_and_who_decided(world: World) -> None:
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    names = [{"model": "GPT-5.4"}, {"model": "gpt-5.4-mini"}]
    await world.made("/v1/events", {"events": [event(**name) for name in names]}, tenant=tenant)
    await world.made("/v1/model-names", renaming(asked={**OLD, "model": "GPT-5.4"}), tenant=tenant)
    listed = (await world.get("/v1/model-names", tenant=tenant, role=Role.FINANCE)).json()["model_names"]
    found = {each["asked"]["model"]: (each["name"], each["renamed"], each["differs"]) for each in listed}
    assert found == {
        "gpt-5.4-mini": (NEW, False, None),
        "GPT-5.4": (NEW, True, None),
        "gpt-5.4": (NEW, True, None),  # its last name in use has left it
    }
    page = {"limit": 1, "after": listed[0]["name_id"]}
    assert (await world.get("/v1/model-names", tenant=tenant, **page)).json()["model_names"] == listed[1:2]
    mine = {"asked": {**OLD, "model": "our-model"}, "becomes": OLD}
    await world.made("/v1/model-names", renaming(**mine), tenant=tenant)
    listed = (await world.get("/v1/model-names", tenant=tenant)).json()["model_names"]
    [ours] = [each for each in listed if each["asked"]["model"] == "our-model"]
    assert (ours["name"], ours["renamed"], ours["differs"]) == (NEW, True, None)


async def test_what_can_not_be_renamed_is_said(world: World) -> None:
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    terms = {"selector": {"model": "GPT-5.4"}, "limits": {"tokens": 4_000}, "window": "day"}
    made = await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": "by name", **terms}, tenant=tenant)
    problem = check_problem(await world.post("/v1/model-names", renaming(), tenant=tenant), 422, "invalid_request")
    assert "'by name'" in problem["detail"]
    await world.delete(f"/v1/budgets/{made['budget_id']}", tenant=tenant)
    same = renaming(becomes={**OLD, "model": "GPT-5.4"})
    problem = check_problem(await world.post("/v1/model-names", same, tenant=tenant), 422, "invalid_request")
    assert "nothing changes" in problem["detail"]
    await world.made("/v1/model-names", renaming(), tenant=tenant)
