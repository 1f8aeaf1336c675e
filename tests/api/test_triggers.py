"""Triggers over HTTP: in mode `observe` they advise, in mode `apply` they change the call."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.api.verbs import MODEL, budget, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.wire.answers.reservations import ReservationAnswer

STEP = {
    **MODEL, "to_provider": "openai", "to_model": "gpt-5.4-mini", "capabilities": ["tools", "json"],
    "context_tokens": 100_000,
}  # fmt: skip
DEAR, CHEAP = "0.010000000", "0.003000000"
"""Cost of a hold for 1,000 input and 500 output tokens on gpt-5.4 and gpt-5.4-mini."""


@pytest.fixture(autouse=True)
async def _off_afterwards(world: World) -> AsyncIterator[None]:
    yield
    for kind in ("high_cost", "high_token_usage"):
        await _set(world, kind=kind, mode="off")


async def _set(world: World, **fields: Any) -> dict[str, Any]:
    body = {"idempotency_key": fresh(), "kind": "high_cost", "at_percent": 50, "mode": "apply", **fields}
    return await world.made("/v1/triggers", body)


async def _reserve(world: World, **fields: Any) -> dict[str, Any]:
    answer = await world.made("/v1/reservations", reservation(**fields))
    TypeAdapter(ReservationAnswer).validate_python(answer)
    return answer


async def _used_up_to_half(world: World, **limits: Any) -> str:
    """Return a user whose account has used exactly half of its limit."""
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits=limits))
    await _reserve(world, user=user)
    return user


async def test_an_observed_trigger_advises_and_changes_nothing(world: World) -> None:
    user = await _used_up_to_half(world, cost="0.02")
    await _set(world, mode="observe", downgrades=[STEP])
    answer = await _reserve(world, user=user)
    assert (answer["model"], answer["held"]["cost"]) == ("gpt-5.4", DEAR)
    assert answer["directive"] == {
        "model": "gpt-5.4", "max_output_tokens": 500, "compression": "none", "stop": False,
        "advice": [
            {
                "trigger": "high_cost", "technique": "model_downgrade", "applied": False, "model": "gpt-5.4-mini",
                "evidence": {
                    "budget": user, "subject": {}, "unit": "cost", "used": "0.010000000", "limit": "0.020000000",
                    "percent": 50,
                },
            }
        ],
    }  # fmt: skip


async def test_an_applied_trigger_changes_the_model_and_the_price_of_the_hold(world: World) -> None:
    user = await _used_up_to_half(world, cost="0.02")
    await _set(world, downgrades=[STEP])
    answer = await _reserve(world, user=user)
    assert (answer["model"], answer["directive"]["model"]) == ("gpt-5.4-mini", "gpt-5.4-mini")
    assert Decimal(answer["held"]["cost"]) == Decimal(CHEAP)
    assert answer["directive"]["advice"][0]["applied"] is True
    settled = await world.made(
        f"/v1/reservations/{answer['reservation_id']}/settle",
        {"usage": {"input_tokens": 1_000, "output_tokens": 500}},
    )
    assert (settled["cost"], settled["overrun"]) == (CHEAP, False)
    [row] = await world.rows("select model from usage_events where event_id = $1", int(settled["event_id"]))
    assert row["model"] == "gpt-5.4-mini"


async def test_a_downgrade_fits_where_the_expensive_model_does_not(world: World) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"cost": "0.005"}))
    check_problem(await world.post("/v1/reservations", reservation(user=user)), 402, "budget_exceeded")
    await _set(world, at_percent=100, per_call_cost="0.01", downgrades=[STEP])
    assert (await _reserve(world, user=user))["model"] == "gpt-5.4-mini"


async def test_what_fits_is_true_where_a_smaller_call_is_not_downgraded(world: World) -> None:
    """A call of 500 tokens costs too little for the trigger, so the dear model has to fit, and 33 tokens of it do."""
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"cost": "0.003"}))
    await _set(world, at_percent=100, per_call_cost="0.02", downgrades=[STEP])
    for output in (2_000, 500, 34):
        denied = await world.post("/v1/reservations", reservation(user=user, max_output_tokens=output))
        assert check_problem(denied, 402, "budget_exceeded")["fits"] == {"max_output_tokens": 33}
    assert (await _reserve(world, user=user, max_output_tokens=33))["model"] == "gpt-5.4"


async def test_what_fits_is_true_where_a_smaller_call_fits_the_stand_in(world: World) -> None:
    """Only from 1,100 tokens less on is the call short enough for the context of the stand-in, which then fits."""
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"cost": "0.02"}))
    await _set(world, at_percent=1, per_call_cost="0.01", downgrades=[{**STEP, "context_tokens": 3_900}])
    for output in (4_000, 2_901):
        denied = await world.post("/v1/reservations", reservation(user=user, max_output_tokens=output))
        assert check_problem(denied, 402, "budget_exceeded")["fits"] == {"max_output_tokens": 2_900}
    assert (await _reserve(world, user=user, max_output_tokens=2_900))["model"] == "gpt-5.4-mini"


async def test_what_fits_of_a_lease_is_true(world: World) -> None:
    """A lease takes half of what is available at most, so that 1,500 are left to a call of one."""
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"tokens": 3_000}))
    for output in (10_000, 2_000, 501):
        asked = reservation(user=user, max_output_tokens=output, calls=5)
        problem = (await world.post("/v1/leases", asked)).json()
        assert problem["code"] == ("lease_too_small" if output <= 2_000 else "budget_exceeded")
        assert problem["fits"] == {"max_output_tokens": 500}
    await world.made("/v1/leases", reservation(user=user, max_output_tokens=500, calls=5))


async def test_a_call_can_switch_a_technique_on_for_itself(world: World) -> None:
    user = await _used_up_to_half(world, cost="0.03")
    await _set(world, mode="observe", at_percent=30, downgrades=[STEP])
    assert (await _reserve(world, user=user, apply=["aggressive_compression"]))["model"] == "gpt-5.4"
    assert (await _reserve(world, user=user, apply=["model_downgrade"]))["model"] == "gpt-5.4-mini"


async def test_a_trigger_that_is_off_gives_no_advice(world: World) -> None:
    user = await _used_up_to_half(world, cost="0.02")
    await _set(world, mode="off", downgrades=[STEP])
    answer = await _reserve(world, user=user, apply=["model_downgrade"])
    assert (answer["model"], answer["directive"]["advice"]) == ("gpt-5.4", [])


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({}, {"requires": ["vision"]}),
        ({}, {"requires": ["tools", "vision"]}),
        ({"context_tokens": 1_499}, {}),
        ({"to_model": "gpt-99"}, {}),
        ({"to_model": "gpt-5.4-pro"}, {}),
        ({"model": "gpt-5.4-mini"}, {}),
        ({"provider": "openrouter"}, {}),
    ],
    ids=["no vision", "tools and no vision", "too long", "no price", "dearer", "another model", "another provider"],
)
async def test_a_stand_in_that_lacks_what_is_required_is_not_taken(
    change: dict[str, Any], fields: dict[str, Any], world: World
) -> None:
    await _set(world, per_call_cost="0.001", downgrades=[{**STEP, **change}])
    answer = await _reserve(world, **fields)
    assert (answer["model"], answer["held"]["cost"]) == ("gpt-5.4", DEAR)
    [advice] = answer["directive"]["advice"]
    assert (advice["applied"], advice["model"]) == (False, None)


async def test_a_stand_in_that_has_what_is_required_is_taken(world: World) -> None:
    await _set(world, per_call_cost="0.001", downgrades=[{**STEP, "context_tokens": 1_500}])
    assert (await _reserve(world, requires=["tools", "json"]))["model"] == "gpt-5.4-mini"


@pytest.mark.parametrize(("mode", "compression"), [("observe", "none"), ("apply", "aggressive")])
async def test_high_token_usage_advises_compression_and_demands_it_only_when_applied(
    mode: str, compression: str, world: World
) -> None:
    await _set(world, kind="high_token_usage", mode=mode, per_call_tokens=1_500)
    small = await _reserve(world, max_output_tokens=499)
    assert small["directive"]["advice"] == []
    large = await _reserve(world, max_output_tokens=500)
    assert (large["directive"]["compression"], large["model"]) == (compression, "gpt-5.4")
    assert large["directive"]["advice"][0]["evidence"]["budget"] == "call"


async def test_firings_are_reported_and_counted(world: World) -> None:
    def counted(applied: str) -> float:
        labels = {"tenant": "acme", "trigger": "high_cost", "technique": "model_downgrade", "applied": applied}
        return world.service.registry.get_sample_value("token_ledger_trigger_firings_total", labels) or 0

    async def reported(applied: bool) -> int:
        rows = (await world.get("/v1/reports/triggers")).json()["rows"]
        return sum(r["firings"] for r in rows if r["trigger"] == "high_cost" and r["applied"] is applied)

    before = counted("true"), counted("false"), await reported(True), await reported(False)
    for mode in ("observe", "observe", "apply"):
        await _set(world, mode=mode, per_call_cost="0.001", downgrades=[STEP])
        await _reserve(world)
    after = counted("true"), counted("false"), await reported(True), await reported(False)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 2, 1, 2]


async def test_a_trigger_is_listed_as_it_was_set(world: World) -> None:
    made = await _set(world, per_call_cost="1.5", per_call_tokens=7, downgrades=[STEP])
    shown = (await world.get("/v1/triggers")).json()["triggers"]
    assert made in shown
    assert made["per_call_cost"] == "1.500000000"


async def test_the_key_of_a_replaced_trigger_does_not_set_it_again(world: World) -> None:
    body = {"idempotency_key": fresh(), "kind": "high_cost", "at_percent": 50, "mode": "observe"}
    await world.made("/v1/triggers", body)
    await _set(world, at_percent=60)
    check_problem(await world.post("/v1/triggers", body), 409, "idempotency_conflict", "idempotency_key")
    shown = (await world.get("/v1/triggers")).json()["triggers"]
    assert [trigger["at_percent"] for trigger in shown if trigger["kind"] == "high_cost"] == [60]
