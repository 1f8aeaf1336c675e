"""The tenant over HTTP: its emergency stop, its calendar, and who may read the changes."""

from datetime import UTC, datetime, timedelta

from tests.api.verbs import reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database


async def test_a_stop_repeated_after_a_resume_shows_that_the_tenant_is_not_stopped(own_world: World) -> None:
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


def _change(zone: str, *, days: int | None = None) -> dict[str, object]:
    at = None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()
    return {"idempotency_key": fresh(), "time_zone": zone, "effective_from": at}


async def _zones(world: World) -> list[str]:
    return [each["time_zone"] for each in (await world.get("/v1/calendar")).json()["calendar"]]


async def test_a_calendar_change_replaces_those_planned_for_its_instant_or_later(own_world: World) -> None:
    world = own_world
    for zone, days in (("Asia/Tokyo", 10), ("Asia/Kathmandu", 700), ("Europe/Berlin", 20)):
        await world.made("/v1/calendar", _change(zone, days=days))
    assert await _zones(world) == ["UTC", "Asia/Tokyo", "Europe/Berlin"]
    withdrawn = await world.made("/v1/calendar", _change("UTC"))
    assert [each["time_zone"] for each in withdrawn["before"]["replaced"]] == ["Asia/Tokyo", "Europe/Berlin"]
    assert await _zones(world) == ["UTC", "UTC"]
    await world.made("/v1/reservations", reservation())
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_a_planned_instant_can_be_planned_again(own_world: World) -> None:
    world = own_world
    body = _change("Asia/Tokyo", days=10)
    for zone in ("Asia/Tokyo", "Asia/Kathmandu", "Asia/Tokyo"):
        await world.made("/v1/calendar", {**body, "idempotency_key": fresh(), "time_zone": zone})
        assert await _zones(world) == ["UTC", zone]


async def test_a_calendar_change_is_planned_at_most_two_years_ahead(world: World) -> None:
    far = {**_change("UTC"), "effective_from": "2999-01-01T00:00:00Z"}
    check_problem(await world.post("/v1/calendar", far), 422, "time_out_of_range", "effective_from")
    assert await _zones(world) == ["UTC"]
