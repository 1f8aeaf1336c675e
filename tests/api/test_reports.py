"""Reports over HTTP: spans that begin and end anywhere, dates, and parameters that no route knows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.api.routes import ALLOWED
from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role

DIMENSIONS = ("user", "agent_type", "model", "cost_center", "request_type", "provider", "user,day,hour")


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
    told = check_problem(answer, 422, "invalid_request", "groupby")["detail"]
    assert (
        "it takes after, agent_type, compare, cost_center, estimated, format, from, group_by, kind, kinds, model"
        in told
    )
    answer = await world.client.post("/v1/reservations?dry_run=1", headers=world.headers(), json=reservation())
    assert "it takes none" in check_problem(answer, 422, "invalid_request", "dry_run")["detail"]


@pytest.mark.parametrize("query", ["period=today&period=today", "from=2026-11-01&to=2026-11-02&from=2026-11-01"])
async def test_a_repeated_parameter_is_refused(query: str, world: World) -> None:
    answer = await world.client.get(f"/v1/reports/spend?{query}", headers=world.headers())
    check_problem(answer, 422, "invalid_request", query.split("=")[0])


async def test_calls_are_chosen_and_grouped_by_anything_that_they_have(own_world: World) -> None:
    world = own_world
    shapes: list[dict[str, Any]] = [
        {"user": "ada", "model": "gpt-5.4", "tags": {"team": "search", "a,b": "1"}},
        {"user": "ada", "model": "gpt-5.4-mini", "tags": {"team": "ads"}},
        {"user": "bob", "model": "gpt-5.4"},
    ]
    at = datetime(2026, 11, 5, 12, tzinfo=UTC)
    events = [event(source=str(number), occurred_at=at.isoformat(), **each) for number, each in enumerate(shapes)]
    booked = await world.made("/v1/events", {"events": events})
    costs = [each["cost"] for each in booked["results"]]

    async def rows(query: str) -> list[tuple[Any, ...]]:
        report = (await world.client.get(f"/v1/reports/spend?{query}", headers=world.headers())).json()
        assert sum(Decimal(row["cost"]) for row in [*report["rows"], report["rest"]]) == Decimal(
            report["total"]["cost"]
        )
        return [(*row["by"].values(), row["cost"]) for row in report["rows"]]

    month = "period=2026-11&sort=key"
    assert await rows(f"{month}&group_by=tag:team") == [("ads", costs[1]), ("search", costs[0]), (None, costs[2])]
    assert await rows(f"{month}&group_by=user&group_by=model&model=gpt-5.4") == [
        ("ada", "gpt-5.4", costs[0]), ("bob", "gpt-5.4", costs[2]),
    ]  # fmt: skip
    assert await rows(f"{month}&group_by=month,user&tag=team=search&tag=team=ads&tag=a,b=1") == [
        ("2026-11", "ada", costs[0])
    ]
    assert await rows(f"{month}&group_by=model&user=bob&user=ada&top=1") == [
        ("gpt-5.4", str(Decimal(costs[0]) + Decimal(costs[2])))
    ]


async def test_the_span_before_is_told_beside(own_world: World) -> None:
    world = own_world
    for number, day in enumerate(("2026-10-31", "2026-11-01", "2026-11-30")):
        events = [event(source=f"{day}-{each}", occurred_at=f"{day}T12:00:00Z") for each in range(number + 1)]
        await world.made("/v1/events", {"events": events})
    report = (await world.get("/v1/reports/spend", period="2026-11", compare="previous")).json()
    assert (report["compared"]["from"], report["compared"]["to"]) == (
        "2026-10-01T00:00:00+00:00", "2026-11-01T00:00:00+00:00",
    )  # fmt: skip
    [row] = report["rows"]
    assert (row["calls"], row["compared"]["calls"], report["compared"]["total"]["calls"]) == (5, 1, 1)
    days: dict[str, Any] = {"from": "2026-11-29", "to": "2026-12-01", "compare": "previous"}
    assert (await world.get("/v1/reports/spend", **days)).json()["compared"]["from"] == "2026-11-27T00:00:00+00:00"


@pytest.mark.parametrize(
    ("query", "field", "told"),
    [
        ("group_by=user,colour", "group_by", "there is no dimension 'colour'; use one of user,"),
        ("group_by=user,user", "group_by", "named twice"),
        ("group_by=user,model,run,tool,day,hour", "group_by", "name 5 at most"),
        ("group_by=tag:", "group_by", "there is no dimension 'tag:'"),
        ("period=recently", "period", "use today, yesterday"),
        ("period=today&from=2026-11-01", "period", "either a period, or from and to"),
        ("tag=team", "tag", "write its name, = and its value"),
        ("compare=previous&group_by=day", "compare", "group by something else"),
        ("estimated=perhaps", "estimated.0", "Input should be 'true' or 'false'"),
        ("top=100000", "top", "less than or equal to 10000"),
    ],
)
async def test_what_a_report_can_not_say_is_refused(query: str, field: str, told: str, world: World) -> None:
    answer = await world.client.get(f"/v1/reports/spend?{query}", headers=world.headers())
    assert told in check_problem(answer, 422, "invalid_request", field)["detail"]


async def test_routes_of_the_process_take_whatever_scrapers_add(world: World) -> None:
    for path in ("/healthz?probe=1", "/docs?a=1", "/openapi.json?v=2"):
        assert (await world.client.get(path)).status_code == 200


async def test_a_plus_that_became_a_space_is_explained(world: World) -> None:
    answer = await world.client.get("/v1/reports/spend?from=2026-11-01T00:00:00+01:00", headers=world.headers())
    assert "%2B" in check_problem(answer, 422, "invalid_request", "from")["detail"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/reports/models", "/v1/reports/tools"])
async def test_what_reads_all_events_is_refused_where_some_are_no_longer_kept(path: str, own_world: World) -> None:
    world, now = own_world, datetime.now(UTC)
    kept = now - timedelta(days=10)
    await world.rows("insert into checkpoints values ($1, 1, $2, $3)", world.tenants["acme"], kept, now)
    before: dict[str, Any] = {"from": (kept - timedelta(days=1)).isoformat()}
    told = check_problem(await world.get(path, **before), 422, "time_out_of_range", "from")["detail"]
    assert "are kept as sums only; begin there or later" in told
    since: dict[str, Any] = {"from": (kept + timedelta(days=1)).isoformat()}
    assert (await world.get(path, **since)).status_code == 200
