"""Spend that can't be booked, for a reason that is not in its report, is kept or asked for again, and never dropped."""

from typing import Any

import pytest

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.proof.verify import verify_database

BAD = "refused"
"""The response id of calls that the database of these tests does not take."""
RULES = {
    "a check": f"alter table usage_events add constraint unforeseen check (response_id is distinct from '{BAD}')",
    "a unique index": (
        "do $$ begin execute (select string_agg(format('create unique index on %s (response_id)',"
        " inhrelid::regclass), ';') from pg_inherits where inhparent = 'usage_events'::regclass); end $$"
    ),
    "a trigger": (
        "create function refuse() returns trigger language plpgsql as"
        f" $$ begin if new.response_id = '{BAD}' then raise 'not this one'; end if; return new; end $$;"
        " create trigger refuse before insert on usage_events for each row execute function refuse()"
    ),
    "a trigger with an error of its own": (
        "create function refuse() returns trigger language plpgsql as"
        f" $$ begin if new.response_id = '{BAD}' then perform 1 / 0; end if; return new; end $$;"
        " create trigger refuse before insert on usage_events for each row execute function refuse()"
    ),
}
USAGE = {"usage": {"input_tokens": 70, "output_tokens": 7}}
REPORTS = (
    "settle",
    "draw",
    "lease's last settle",
    "event",
    "event of a list",
    "settle of a list",
    "event of /v1/operations",
)


async def _report(world: World, how: str, response_id: str) -> dict[str, Any]:
    """Report spend in one of the ways there are; return its problem or result."""
    if "event" in how:
        body = event(response_id=response_id, **USAGE)
        if how == "event of /v1/operations":
            answer = await world.made("/v1/operations", {"operations": [{"op": "event", **body}]})
            result: dict[str, Any] = answer["results"][0]["body"]
            return result
        beside = [event() for _ in range(20)] if how == "event of a list" else []
        answer = await world.made("/v1/events", {"events": [*beside, body]})
        assert {each["status"] for each in answer["results"][:-1]} <= {"booked"}
        return {**answer["results"][-1]}
    lease = "lease" in how or how == "draw"
    held = (
        await world.made("/v1/leases", {**reservation(), "calls": 3})
        if lease
        else await world.made("/v1/reservations", reservation())
    )
    body = {"response_id": response_id, **USAGE}
    if how == "draw":
        body |= {"part": True, "idempotency_key": fresh()}
    hold = held["lease_id" if lease else "reservation_id"]
    if how == "settle of a list":
        settle = {"op": "settle", "reservation_id": hold, **body}
        answer = await world.made("/v1/operations", {"operations": [settle]})
        return {**answer["results"][0]["body"], "status": answer["results"][0]["status"]}
    settled = await world.post(f"/v1/reservations/{hold}/settle", body)
    return {**settled.json(), "status": settled.status_code}


@pytest.mark.parametrize("rule", RULES)
async def test_what_a_rule_of_the_database_refuses_is_kept_and_its_neighbours_are_booked(
    rule: str, own_world: World
) -> None:
    world = own_world
    await world.owner.execute(RULES[rule])
    if rule == "a unique index":
        assert (await _report(world, "event", BAD))["status"] == "booked"
    kept = {}
    for how in REPORTS:
        found = await _report(world, how, BAD)
        assert found["status"] in (409, "quarantined"), (how, found)
        assert found["code"] == "not_bookable", (how, found)
        kept[found["quarantine_id"]] = how
    assert len(kept) == len(REPORTS)
    listed = (await world.get("/v1/quarantine")).json()["quarantine"]
    assert {item["quarantine_id"]: item["code"] for item in listed} == dict.fromkeys(kept, "not_bookable")
    for item in listed:
        assert (item["body"]["response_id"], item["body"]["usage"]["input_tokens"]) == (BAD, 70), item
    for how in REPORTS:
        assert (await _report(world, how, fresh()))["status"] in (200, "booked", None), how
    report = await verify_database(world.url)
    assert report.clean, report.findings


async def test_a_repetition_is_kept_once_and_a_hold_whose_settle_was_kept_expires(own_world: World) -> None:
    world = own_world
    await world.owner.execute(RULES["a trigger"])
    held = await world.made("/v1/reservations", reservation())
    path, body = f"/v1/reservations/{held['reservation_id']}/settle", {"response_id": BAD, **USAGE}
    problems = [check_problem(await world.post(path, body), 409, "not_bookable") for _ in range(3)]
    assert [problem["replayed"] for problem in problems] == [False, True, True]
    assert len({problem["quarantine_id"] for problem in problems}) == 1
    assert (await world.get(f"/v1/reservations/{held['reservation_id']}")).json()["state"] == "held"


async def test_a_missing_partition_is_made_when_it_is_missed(own_world: World) -> None:
    world = own_world
    held = await world.made("/v1/reservations", reservation())
    await world.owner.execute(
        "do $$ begin execute (select string_agg(format('drop table %s', inhrelid::regclass), ';') from pg_inherits"
        " where inhparent = 'usage_events'::regclass); end $$"
    )
    settled = await world.made(f"/v1/reservations/{held['reservation_id']}/settle", USAGE)
    [row] = await world.rows("select event_id from usage_events")
    assert str(row["event_id"]) == settled["event_id"]
    report = await verify_database(world.url)
    assert report.clean, report.findings


async def test_a_detached_partition_is_503_until_it_is_back_and_the_spend_is_booked_then(own_world: World) -> None:
    world = own_world
    held = await world.made("/v1/reservations", reservation())
    first = event()
    await world.made("/v1/events", {"events": [first]})
    [[name, bounds]] = await world.rows(
        "select distinct e.tableoid::regclass::text, pg_get_expr(c.relpartbound, c.oid)"
        " from usage_events as e join pg_class as c on c.oid = e.tableoid"
    )
    await world.owner.execute(f"alter table usage_events detach partition {name}")
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    for answer in (
        await world.post(path, USAGE),
        await world.post("/v1/events", {"events": [event()]}),
        await world.post("/v1/events", {"events": [first]}),  # its key leads to a row that is not there
    ):
        check_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
    await world.made("/v1/reservations", reservation())
    assert (await world.get("/v1/quarantine")).json()["quarantine"] == [], "it will be booked"
    await world.owner.execute(f"alter table usage_events attach partition {name} {bounds}")
    await world.made(path, USAGE)
    [result] = (await world.made("/v1/events", {"events": [first]}))["results"]
    assert (result["status"], result["replayed"]) == ("booked", True)
    report = await verify_database(world.url)
    assert report.clean, report.findings
