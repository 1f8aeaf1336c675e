"""Idempotency keys over HTTP: nobody can use up a key of somebody with other rights, and no key prevents an end."""

from typing import Any

import pytest

from tests.api.verbs import BY_NAME, budget, reservation
from tests.api.world import World, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database

USAGE = {"input_tokens": 900, "output_tokens": 100}


async def _run(world: World, **fields: Any) -> str:
    run_id: str = (await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada", **fields}))["run_id"]
    return run_id


async def _clean(world: World) -> None:
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


@pytest.mark.parametrize("key", ["cancelled:{}", "cancel:{}", "{}"])
async def test_a_user_cannot_keep_a_run_from_being_cancelled(key: str, world: World) -> None:
    own, victim = await _run(world), await _run(world, user="bob")
    taken = {"idempotency_key": key.format(victim)}
    await world.made(f"/v1/runs/{own}/cancel", taken, role=Role.USER)
    for body in ({}, taken, {"idempotency_key": f"cancel:{victim}"}):
        assert (await world.made(f"/v1/runs/{victim}/cancel", body))["state"] == "cancelled"
    await _clean(world)


@pytest.mark.parametrize("verb", ["release", "force-release"])
async def test_no_key_keeps_a_hold_from_being_ended(verb: str, world: World) -> None:
    mine, victim = [(await world.made("/v1/reservations", reservation()))["reservation_id"] for _ in range(2)]
    body: dict[str, Any] = {"idempotency_key": f"release:{victim}", "reason": "x"}
    await world.made(f"/v1/reservations/{mine}/{verb}", body, role=Role.ADMIN)
    first = await world.made(f"/v1/reservations/{victim}/{verb}", body)
    assert first["replayed"] is False
    assert await world.made(f"/v1/reservations/{victim}/{verb}", {**body, "idempotency_key": fresh()}) == {
        **first, "replayed": True,
    }  # fmt: skip
    await _clean(world)


async def test_a_settle_of_another_hold_cannot_take_the_key_of_a_hold(world: World) -> None:
    mine, victim = [(await world.made("/v1/reservations", reservation()))["reservation_id"] for _ in range(2)]
    taken = {"idempotency_key": f"settle:{victim}", "usage": {"input_tokens": 1, "output_tokens": 1}}
    await world.made(f"/v1/reservations/{mine}/settle", taken, role=Role.AGENT)
    settled = await world.made(f"/v1/reservations/{victim}/settle", {"usage": USAGE}, role=Role.AGENT)
    assert (settled["tokens"], settled["replayed"]) == (1_000, False)
    named = {"usage": USAGE, "idempotency_key": f"settle:{victim}"}
    assert (await world.made(f"/v1/reservations/{victim}/settle", named))["replayed"] is True
    reversed_ = await world.made("/v1/reversals", {"key": f"settle:{victim}", "reason": "it was a test"})
    assert reversed_["tokens"] == -1_000
    await _clean(world)


_AGENTS_VERBS = ("reserve", "lease", "settle", "extend", "run", "step", "rebalance", "increase")


@pytest.mark.parametrize("name", [name for name in _AGENTS_VERBS if name in BY_NAME])
async def test_an_agent_cannot_use_up_the_key_of_an_administrator(name: str, world: World) -> None:
    verb, key = BY_NAME[name], fresh()
    for role in (Role.AGENT, Role.ADMIN):
        # The ids in the paths differ, or the bodies do, so under one key the second would be a conflict.
        ids = await _ids(world)
        body = {**verb.fresh_body(), "idempotency_key": key}
        if name in ("reserve", "lease", "run"):
            body["user"] = fresh("user")
        first = await world.made(verb.path.format(**ids), body, role=role)
        again = await world.made(verb.path.format(**ids), body, role=role)
        assert (first["replayed"], again["replayed"]) == (False, True)
    await _clean(world)


async def _ids(world: World) -> dict[str, str]:
    run = await _run(world, limits={"tokens": 10_000})
    hold = await world.made("/v1/reservations", reservation())
    name = fresh("user")
    made = await world.made("/v1/budgets", budget(name, limits={"tokens": 10_000, "cost": "9", "calls": 9}))
    await world.made("/v1/reservations", reservation(user=name))
    [account] = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    return {"run_id": run, "reservation_id": hold["reservation_id"], "account_id": account["account_id"]}


async def test_a_tenant_cannot_keep_an_operator_from_stopping_it(own_world: World) -> None:
    world, body = own_world, {"idempotency_key": "incident-7", "reason": "a leak"}
    await world.made("/v1/stop", body)
    await world.made("/v1/resume", {"idempotency_key": "resume"})
    path = f"/v1/tenants/{world.tenants['acme']}/stop"
    assert (await world.made(path, body, tenant="operator", role=Role.OPERATOR))["stopped"] == "a leak"
    assert (await world.get("/v1/stop")).json() == {"stopped": "a leak"}
    await _clean(world)
