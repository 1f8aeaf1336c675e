"""The tenant itself over HTTP: its emergency stop, its calendar, and who may read what was changed."""

from tests.api.verbs import reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.storage.api_keys import Role


async def test_a_stop_that_is_repeated_after_its_end_says_that_the_tenant_works(own_world: World) -> None:
    world = own_world
    stop = {"idempotency_key": fresh(), "reason": "runaway"}
    stopped = await world.made("/v1/stop", stop)
    assert (stopped["after"], stopped["stopped"]) == ({"stopped": "runaway"}, "runaway")
    assert (await world.get("/v1/stop", role=Role.FINANCE)).json() == {"stopped": "runaway"}
    check_problem(await world.post("/v1/reservations", reservation()), 402, "tenant_stopped")
    resumed = await world.made("/v1/resume", {"idempotency_key": fresh()})
    assert resumed["stopped"] is None
    again = await world.made("/v1/stop", stop)
    assert again == {**stopped, "stopped": None, "replayed": True}
    assert (await world.get("/v1/stop")).json() == {"stopped": None}
    await world.made("/v1/reservations", reservation())


async def test_operators_see_which_tenants_are_stopped(own_world: World) -> None:
    world = own_world
    path = f"/v1/tenants/{world.tenants['acme']}/stop"
    answer = await world.made(
        path, {"idempotency_key": fresh(), "reason": "unpaid"}, tenant="operator", role=Role.OPERATOR
    )
    assert answer["stopped"] == "unpaid"
    listed = (await world.get("/v1/tenants", tenant="operator", role=Role.OPERATOR)).json()["tenants"]
    assert {each["name"]: each["stopped"] for each in listed} == {"acme": "unpaid", "globex": None}
