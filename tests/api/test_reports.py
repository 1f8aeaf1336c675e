"""Reports over HTTP: spans that begin and end anywhere, dates, and parameters that no route knows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.routes import ALLOWED
from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role

DIMENSIONS = ("user", "agent_type", "model", "cost_center", "request_type")


async def _total(world: World, dimension: str, span: dict[str, Any]) -> dict[str, Any]:
    answer = await world.get("/v1/reports/spend", group_by=dimension, **span)
    assert answer.status_code == 200, answer.text
    total: dict[str, Any] = answer.json()["total"]
    return total


async def test_every_grouping_of_a_span_has_the_same_total(own_world: World) -> None:
    world = own_world
    now = datetime.now(UTC)
    instants = [now - timedelta(minutes=7 * number) for number in range(200)]
    events = [event(source="days", user=fresh("user"), occurred_at=at.isoformat()) for at in instants]
    await world.made("/v1/events", {"events": events})
    for first, last in ((0, 163), (12, 31), (3, 4), (0, 199)):
        # From within one hour and day to within another.
        span = {"from": instants[last].isoformat(), "to": (instants[first] + timedelta(microseconds=1)).isoformat()}
        totals = [await _total(world, dimension, span) for dimension in DIMENSIONS]
        assert totals == [totals[0]] * len(DIMENSIONS)
        assert totals[0]["calls"] == last - first + 1


async def test_a_date_is_a_day_of_the_tenants_calendar_and_the_end_is_excluded(own_world: World) -> None:
    world = own_world
    await world.add_tenant("abroad", "Asia/Kathmandu")
    month: dict[str, Any] = {"from": "2026-11-01", "to": "2026-12-01"}
    shown = (await world.get("/v1/reports/spend", tenant="abroad", **month)).json()
    assert datetime.fromisoformat(shown["from"]) == datetime(2026, 10, 31, 18, 15, tzinfo=UTC)
    assert datetime.fromisoformat(shown["to"]) == datetime(2026, 11, 30, 18, 15, tzinfo=UTC)
    both: dict[str, Any] = {"from": "2026-11-01", "to": "2026-11-02T09:30:00Z"}
    assert (await world.get("/v1/reports/would-have-denied", tenant="abroad", **both)).json() == {"rows": []}


@pytest.mark.parametrize("route", sorted(ALLOWED), ids=lambda route: f"{route[0]}-{route[1]}")
async def test_a_parameter_that_a_route_does_not_know_is_named(route: tuple[str, str], world: World) -> None:
    method, path = route
    role = sorted(ALLOWED[route])[0]
    if role is Role.USER:
        world.keys["acme", role] = world.token("acme", user="ada")
    tenant = "operator" if role is Role.OPERATOR else "acme"
    path = path.replace("{", "").replace("}", "")  # no id, but the parameter is looked at first
    before = await world.state()
    answer = await world.client.request(
        method, path, headers=world.headers(tenant, role), params={"Group-By": "user"}, json={}
    )
    problem = check_problem(answer, 422, "invalid_request", "Group-By")
    assert "it takes" in problem["detail"]
    assert await world.state() == before


async def test_what_a_route_takes_is_said(world: World) -> None:
    answer = await world.get("/v1/reports/spend", groupby="user")
    assert "it takes from, group_by, kinds, to" in check_problem(answer, 422, "invalid_request", "groupby")["detail"]
    answer = await world.client.post("/v1/reservations?dry_run=1", headers=world.headers(), json=reservation())
    assert "it takes none" in check_problem(answer, 422, "invalid_request", "dry_run")["detail"]


@pytest.mark.parametrize("query", ["group_by=user&group_by=model", "from=2026-11-01&to=2026-11-02&from=2026-11-01"])
async def test_a_repeated_parameter_is_refused(query: str, world: World) -> None:
    answer = await world.client.get(f"/v1/reports/spend?{query}", headers=world.headers())
    check_problem(answer, 422, "invalid_request", query.split("=")[0])


async def test_routes_of_the_process_take_whatever_scrapers_add(world: World) -> None:
    for path in ("/healthz?probe=1", "/docs?a=1", "/openapi.json?v=2"):
        assert (await world.client.get(path)).status_code == 200


async def test_a_plus_that_became_a_space_is_explained(world: World) -> None:
    answer = await world.client.get("/v1/reports/spend?from=2026-11-01T00:00:00+01:00", headers=world.headers())
    assert "%2B" in check_problem(answer, 422, "invalid_request", "from")["detail"]
