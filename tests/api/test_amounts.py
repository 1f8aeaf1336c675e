"""Amounts that nobody can pay, over HTTP: what was really used is booked or kept, and its neighbours are booked."""

import re
from typing import Any

import pytest

from tests.api.verbs import budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.proof.verify import verify_database
from token_ledger.worker.gauges import refresh_gauges

MOST = {"input_tokens": 10**12, "output_tokens": 10**12}
DEAREST = {"provider": "openai", "model": "o1-pro"}


async def test_events_that_would_outgrow_the_sums_of_a_tenant_are_kept_and_its_neighbours_are_booked(
    own_world: World,
) -> None:
    world = own_world
    sent = [event(**DEAREST, usage=MOST) for _ in range(18)]
    results = (await world.made("/v1/events", {"events": sent}))["results"]
    booked = [result for result in results if result["status"] == "booked"]
    kept = [result for result in results if result["status"] == "quarantined"]
    assert len(booked) + len(kept) == len(sent)
    assert len(booked) > 5
    assert kept
    assert all("9223372036.854775807" in result["detail"] for result in kept)
    assert {result["cost"] for result in booked} == {"750000000.000000000"}
    [plain] = (await world.made("/v1/events", {"events": [event()]}))["results"]
    assert plain["status"] == "booked"
    again = (await world.made("/v1/events", {"events": sent}))["results"]
    assert [(each["status"], each["replayed"]) for each in again] == [(each["status"], True) for each in results]
    for dimension in ("user", "model"):
        report = (await world.get("/v1/reports/spend", group_by=dimension)).json()
        assert report["total"]["calls"] == len(booked) + 1
    # Taking one back makes room for another.
    key = sent[results.index(booked[0])]["idempotency_key"]
    await world.made("/v1/reversals", {"source": "batch", "key": key, "reason": "nobody used that"})
    more = (await world.made("/v1/events", {"events": [event(**DEAREST, usage=MOST) for _ in range(2)]}))["results"]
    assert [each["status"] for each in more] == ["booked", "quarantined"]
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("tokens", [10**12 + 1, 2**63, 10**40])
async def test_a_settle_beyond_what_a_call_can_use_is_kept_and_its_hold_stays_open(
    tokens: int, part: bool, world: World
) -> None:
    held = await world.made("/v1/reservations", reservation(user=fresh("user")))
    path = f"/v1/reservations/{held['reservation_id']}"
    body: dict[str, Any] = {
        "idempotency_key": fresh(), "usage": {"input_tokens": 5, "output_tokens": tokens}, "part": part,
    }  # fmt: skip
    kept = check_problem(await world.post(f"{path}/settle", body), 422, "invalid_request")
    again = check_problem(await world.post(f"{path}/settle", body), 422, "invalid_request")
    assert (kept["replayed"], again["replayed"]) == (False, True)
    assert again["quarantine_id"] == kept["quarantine_id"]
    items = (await world.get("/v1/quarantine")).json()["quarantine"]
    [item] = [each for each in items if each["quarantine_id"] == kept["quarantine_id"]]
    assert item["body"]["usage"]["output_tokens"] == tokens
    assert item["body"]["reservation_id"] == held["reservation_id"]
    assert (await world.get(path)).json()["state"] == "held"
    usage = {"input_tokens": 5, "output_tokens": 5}
    await world.made(f"{path}/settle", {"idempotency_key": fresh(), "usage": usage})
    assert (await world.get(path)).json()["state"] == "settled"
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_an_event_beyond_what_a_call_can_use_is_kept(world: World) -> None:
    usage = {"input_tokens": 10**30, "output_tokens": 1}
    [kept] = (await world.made("/v1/events", {"events": [event(usage=usage)]}))["results"]
    assert (kept["status"], kept["code"]) == ("quarantined", "invalid_request")


async def test_a_rollover_beyond_the_largest_amount_refuses_no_call(own_world: World) -> None:
    world = own_world
    each = budget("each", selector={"user": "*"}, limits={"cost": "9000000000"}, rollover={"cost": "9000000000"},
                  window="day")  # fmt: skip
    made = await world.made("/v1/budgets", each)
    await world.made("/v1/events", {"events": [event()]})
    await world.let_pass("acme", 1)
    held = await world.made("/v1/reservations", reservation())
    await world.made(f"/v1/reservations/{held['reservation_id']}/settle", {"usage": MOST})
    await world.made("/v1/reservations", reservation())
    accounts = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    limits = [account["balance"]["limit"]["cost"] for account in accounts]
    assert limits == ["9000000000.000000000", "9223372036.854775807"]
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_leases_of_all_money_there_is_break_neither_their_tenant_nor_the_gauges(own_world: World) -> None:
    """Four such leases under a soft budget add up to more than the database can hold."""
    world = own_world
    await world.made("/v1/budgets", budget("soft", selector={}, limits={"cost": "1"}, enforcement="soft"))
    lease = reservation(**DEAREST, calls=100_000, input_tokens=10**8, max_output_tokens=10**8)
    leases = [await world.made("/v1/leases", {**lease, "idempotency_key": fresh()}) for _ in range(4)]
    assert leases[0]["calls"] == 100_000
    assert [each["calls"] < 100_000 for each in leases] == [False, True, True, True]
    for _ in range(64):  # until there is no room for even one call
        answer = await world.post("/v1/leases", {**lease, "idempotency_key": fresh()})
        if answer.status_code != 201:
            break
    refused = check_problem(answer, 422, "invalid_request")
    assert "settle or release holds first" in refused["detail"]
    await refresh_gauges(world.service.database, world.service.metrics)
    shown = await world.metrics()
    [used] = re.findall(r'token_ledger_budget_used_ratio\{.*budget="soft".*\} (.*)', shown)
    assert 9_000_000_000 < float(used) <= 9_223_372_036.854775807
    assert 'token_ledger_open_holds{tenant="acme"}' in shown
    # What is spent nevertheless is booked, beside what is held, and shown; and the leases end.
    await world.made("/v1/events", {"events": [event(**DEAREST, usage=MOST) for _ in range(3)]})
    for path in ("/v1/accounts", "/v1/reports/spend", "/v1/reservations?state=held&older_than_seconds=0"):
        assert (await world.get(path)).status_code == 200, path
    await refresh_gauges(world.service.database, world.service.metrics)
    assert (await verify_database(world.url)).clean
    for each in leases:
        await world.made(f"/v1/reservations/{each['lease_id']}/release", {"idempotency_key": fresh()})
    await world.made("/v1/reservations", reservation())
    report = await verify_database(world.url)
    assert report.clean, report.as_text()
