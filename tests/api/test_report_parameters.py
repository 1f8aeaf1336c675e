"""Parameters of reports over HTTP: whatever they say, it is answered or refused, and each filter chooses."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.verbs import event
from tests.api.world import World, check_problem, fresh

ZONES = ("UTC", "Pacific/Kiritimati", "Pacific/Niue", "Asia/Kathmandu", "America/Havana")
"""Those furthest from UTC on both sides, one with minutes, and one whose midnight comes twice."""
TEXTS = (
    "", " ", "%00", "a%00b", "tag:a%00b", "a%00=b", "a=b%00", "%ed%a0%80", "tag:%ed%a0%80", "%ed%a0%80=%ed%b0%80",
    "%ff", "%F0%9F%98%80", "tag:%F0%9F%98%80", quote("tag:é:o'brien\"\\;--"), quote("é'\"\\=:x::y"), "tag:", "=", "-",
    "-1", "-0", "9" * 19, "-" + "9" * 19, "9" * 5_000, "x" * 5_000, "tag:" + "x" * 5_000, "x" * 250 + "=" + "y" * 250,
    ",", "user,", "1e9", "NaN", "%EF%BC%91", "true", "null",
)  # fmt: skip
DATES = (
    "0001-01", "0001-01-01", "0001-12-31", "1999-12", "1999-12-31", "2000-01", "2000-01-01", "2000-01-31", "2000-02-29",
    "2026-03-31", "2026-11-01", "2026-12-31", "2028-02-29", "2999-12", "2999-12-31", "3000-01", "3000-01-01", "9999-12",
    "9999-12-31", "0000-01-01", "10000-01-01", "FY0000", "FY0001", "FY0002-Q1", "FY1999", "FY2000", "FY2000-Q1",
    "FY2999", "FY2999-Q4", "FY3000", "FY9999", "FY9999-Q4", "2000-01-01T00:00:00Z", "2000-01-01T00:00:00%2B14:00",
    "2999-12-31T23:59:59.999999Z", "2999-12-31T23:59:59.999999-12:00", "0001-01-01T00:00:00%2B23:59",
    "9999-12-31T23:59:59-23:59", "today", "this_year", "last_quarter",
)  # fmt: skip


def _parameters(world: World) -> list[tuple[str, str]]:
    """Return every parameter of every report, as the description of the service lists them."""
    paths = world.app.openapi()["paths"]
    found = [
        (path, parameter["name"])
        for path in paths
        if path.startswith("/v1/reports/")
        for parameter in paths[path]["get"].get("parameters", ())
        if parameter["in"] == "query"
    ]
    assert len(found) > 20
    return found


async def _is_answered(world: World, address: str, tenant: str = "acme") -> None:
    answer = await world.client.get(address, headers=world.headers(tenant))
    if answer.status_code != 200:
        assert answer.status_code == 422, (address, answer.text)
        check_problem(answer, 422, answer.json()["code"])


async def test_whatever_a_parameter_says_is_answered_or_refused(own_world: World) -> None:
    for path, name in _parameters(own_world):
        for text in (*TEXTS, *DATES):
            await _is_answered(own_world, f"{path}?{name}={text}")


@pytest.mark.parametrize("zone", ZONES)
async def test_whatever_date_is_asked_for_is_answered_or_refused(zone: str, world: World) -> None:
    tenant = zone.lower()
    await world.add_tenant(tenant, zone)
    await world.rows("update tenants set fiscal_month = 10 where name = $1", tenant)
    spend = "/v1/reports/spend?group_by=user"
    for date in DATES:
        for query in (
            f"period={date}&compare=previous", f"from={date}&compare=previous", f"to={date}&compare=previous",
            f"from={date}&to=2999-12-31&compare=previous", f"from=2999-12-31&to={date}&compare=previous",
        ):  # fmt: skip
            await _is_answered(world, f"{spend}&{query}", tenant)
        for path in ("/v1/reports/spend?group_by=fiscal_period,week,hour&", "/v1/reports/would-have-denied?"):
            await _is_answered(world, f"{path}from={date}&to=2999-12-31", tenant)
            await _is_answered(world, f"{path}from=2000-01-01&to={date}", tenant)


@pytest.mark.parametrize(
    ("query", "field", "told"),
    [
        ("period=0001-01", "period", "from 2000 to 2999"),
        ("period=0001-01-01", "period", "from 2000 to 2999"),
        ("period=1999-12-31", "period", "from 2000 to 2999"),
        ("period=3000-01", "period", "from 2000 to 2999"),
        ("period=FY3000", "period", "from 2000 to 2999"),
        ("group_by=tag:a%00b", "group_by", "character 2"),
        ("group_by=tag:" + "x" * 201, "group_by", "at most 200 characters"),
        ("tag=a%00b=c", "tag", "character 2"),
        ("tag=a=b%00c", "tag", "character 2"),
        ("tag=a=" + "x" * 201, "tag", "at most 200 characters"),
    ],
)
async def test_what_a_parameter_can_not_say_is_refused(query: str, field: str, told: str, world: World) -> None:
    answer = await world.client.get(f"/v1/reports/spend?{query}", headers=world.headers())
    assert told in check_problem(answer, 422, "invalid_request", field)["detail"]


NO_FILTERS = {"from", "to", "period", "group_by", "compare", "sort", "top", "after", "kinds", "format"}


async def test_each_filter_chooses_the_calls_that_have_its_value(own_world: World) -> None:
    world = own_world
    rates = {"base": {"input": "2", "output": "8"}}
    own = await world.made("/v1/prices/own/own-model", {"idempotency_key": fresh(), "rates": rates}, method="PUT")
    run = {"idempotency_key": fresh(), "user": "zoe", "cost_center": "research"}
    run_id = (await world.made("/v1/runs", run))["run_id"]
    other = event(
        run_id=run_id, agent_type="planner", provider="own", model="own-model",
        request_type="embedding", tool="search", outcome="error", estimated=True, tags={"team": "search"},
    )  # fmt: skip
    other.pop("user")
    tool_call = {
        "type": "tool_call", "source": "batch", "idempotency_key": fresh(), "user": "ada", "agent_type": "data_agent",
        "tool": "search", "cost": "0.005",
    }  # fmt: skip
    for path, events in (("/v1/events", [event(), other]), ("/v1/usage", [tool_call])):
        answer = await world.made(path, {"events": events})
        assert [each["status"] for each in answer["results"]] == ["booked"] * len(events), answer

    async def report(query: str) -> dict[str, Any]:
        answer = await world.client.get(f"/v1/reports/spend?{query}", headers=world.headers())
        assert answer.status_code == 200, answer.text
        value: dict[str, Any] = answer.json()
        return value

    everything = (await report("group_by=user"))["total"]
    assert own["after"]["price_id"].startswith("-")
    filters = [name for path, name in _parameters(world) if path == "/v1/reports/spend" and name not in NO_FILTERS]
    assert len(filters) == 13
    for name in filters:
        dimension = "tag:team" if name == "tag" else name
        rows = (await report(f"group_by={dimension}"))["rows"]
        assert len(rows) > 1, name
        for row in rows:
            if (value := row["by"].pop(dimension)) is None:
                continue
            chosen = await report(f"group_by=user&{name}={'team=' if name == 'tag' else ''}{quote(value)}")
            assert chosen["total"] == {key: row[key] for key in chosen["total"]}, (name, value)
            assert chosen["total"] != everything, (name, value)
    assert (await report(f"group_by=user&price_entry={own['after']['price_id']}&run=00{run_id}"))["total"]["calls"] == 1
