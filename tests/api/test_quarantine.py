"""Quarantine over HTTP: the list of items, and decisions, which are in the audit log."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database
from token_ledger.storage.quarantine import _CHOOSE


async def _kept(world: World, items: int) -> list[str]:
    """Have so many events quarantined; return their ids, newest first."""
    results = (await world.made("/v1/events", {"events": [event(agent_type=5) for _ in range(items)]}))["results"]
    return sorted((each["quarantine_id"] for each in results), key=int, reverse=True)


async def _listed(world: World, **params: Any) -> list[str]:
    answer = await world.get("/v1/quarantine", role=Role.FINANCE, **params)
    return [each["quarantine_id"] for each in answer.json()["quarantine"]]


async def test_a_decided_item_is_no_longer_open_and_is_in_the_audit_log(own_world: World) -> None:
    world = own_world
    first, second, third = await _kept(world, 3)
    note = {"note": "sent again as 17"}
    resolved = await world.made(f"/v1/quarantine/{second}/resolve", note)
    assert (resolved["state"], resolved["note"]) == ("resolved", "sent again as 17")
    assert resolved["decided_by"].startswith("key:")
    assert resolved["decided_at"] > resolved["kept_at"]
    await world.made(f"/v1/quarantine/{third}/dismiss", {"note": "a test"})
    assert await _listed(world) == await _listed(world, state="open") == [first]
    assert (await _listed(world, state="resolved"), await _listed(world, state="dismissed")) == ([second], [third])
    assert await world.made(f"/v1/quarantine/{second}/resolve", note) == resolved
    for verdict, why in (("dismiss", "sent again as 17"), ("resolve", "for another reason")):
        again = await world.post(f"/v1/quarantine/{second}/{verdict}", {"note": why})
        check_problem(again, 409, "quarantine_decided")
    audit = (await world.get("/v1/audit")).json()["audit"]
    [entry] = [each for each in audit if each["target"] == second]
    assert (entry["action"], entry["before"]) == ("quarantine.resolve", {"state": "open"})
    assert entry["after"] == {"state": "resolved", "note": "sent again as 17"}
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_the_list_can_be_paged_to_its_end(own_world: World) -> None:
    world = own_world
    ids = await _kept(world, 5)
    first = await _listed(world, limit=2)
    second = await _listed(world, limit=2, after=first[-1])
    third = await _listed(world, limit=2, after=second[-1])
    assert first + second + third == ids
    assert await _listed(world, limit=2, after=third[-1]) == []


async def test_only_administrators_decide_and_only_on_existing_items(world: World) -> None:
    [item] = await _kept(world, 1)
    refused = await world.post(f"/v1/quarantine/{item}/dismiss", {"note": fresh()}, role=Role.FINANCE)
    check_problem(refused, 403, "forbidden")
    check_problem(await world.post("/v1/quarantine/7/dismiss", {"note": "what?"}), 404, "not_found")
    assert item in await _listed(world)


async def test_of_a_hundred_settles_of_one_hold_one_is_booked_and_every_other_usage_is_kept(own_world: World) -> None:
    world = own_world
    held = await world.made("/v1/reservations", reservation())
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    bodies = [{"usage": {"input_tokens": number, "output_tokens": 1}} for number in range(100)]
    answers = await asyncio.gather(*(world.post(path, body) for body in bodies))
    again = await asyncio.gather(*(world.post(path, body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 99
    shown = {answer.json().get("quarantine_id") for answer in answers} - {None}
    assert len(shown) == 99
    for first, second in zip(answers, again, strict=True):
        assert second.json()["replayed"] is True
        assert first.json().get("quarantine_id") == second.json().get("quarantine_id")
        if first.status_code == 409:
            check_problem(first, 409, "idempotency_conflict", "usage.input_tokens")
    items = (await world.get("/v1/quarantine", limit=1_000)).json()["quarantine"]
    assert {item["quarantine_id"] for item in items} == shown
    assert {item["code"] for item in items} == {"idempotency_conflict"}
    [booked] = await world.rows("select input_tokens from usage_events")
    kept = {item["body"]["usage"]["input_tokens"] for item in items}
    assert kept == set(range(100)) - {booked["input_tokens"]}
    assert {item["body"]["reservation_id"] for item in items} == {held["reservation_id"]}
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_whatever_contradicts_what_was_reported_is_kept_and_what_reports_nothing_is_not(world: World) -> None:
    usage, other = ({"usage": {"input_tokens": 10, "output_tokens": count}} for count in (1, 2))
    settled = await world.made("/v1/reservations", reservation())
    path = f"/v1/reservations/{settled['reservation_id']}"
    await world.made(f"{path}/settle", usage)
    lease = await world.made("/v1/leases", {**reservation(), "calls": 3})
    drawn_on = f"/v1/reservations/{lease['lease_id']}"
    part = {"part": True, "idempotency_key": fresh()}
    await world.made(f"{drawn_on}/settle", {**usage, **part})
    first = event()
    await world.made("/v1/events", {"events": [first]})
    before = len(await _listed(world, limit=1_000))
    kept = [
        (await world.post(f"{path}/settle", other)).json(),
        (await world.post(f"{path}/settle", {**other, "idempotency_key": fresh()})).json(),
        (await world.post(f"{drawn_on}/settle", {**other, **part})).json(),
        (await world.made("/v1/events", {"events": [{**first, **other}]}))["results"][0],
        (await world.made("/v1/events", {"events": [{**first, "agent_type": 5}]}))["results"][0],
    ]
    released = await world.made(f"{drawn_on}/release")
    assert released["state"] == "released"
    kept += [
        (await world.post(f"{drawn_on}/settle", other)).json(),
        (await world.post(f"{drawn_on}/settle", {**other, "part": True, "idempotency_key": fresh()})).json(),
    ]
    lists = [
        {"op": "settle", "reservation_id": settled["reservation_id"], **usage, "estimated": True},
        {"op": "event", **first, "estimated": True},
    ]
    results = (await world.made("/v1/operations", {"operations": lists}))["results"]
    assert [result["status"] for result in results] == [409, 409]
    kept += [result["body"] for result in results]
    assert len({each["quarantine_id"] for each in kept}) == len(kept)
    assert len(await _listed(world, limit=1_000)) == before + len(kept)
    # A release or an extension reports no spend, so there is nothing to keep.
    for verb, body in (("release", {}), ("extend", {"idempotency_key": fresh(), "ttl_seconds": 60})):
        check_problem(await world.post(f"{path}/{verb}", body), 409, "reservation_not_open")
    assert len(await _listed(world, limit=1_000)) == before + len(kept)


async def test_a_name_that_looks_like_that_of_contradictions_is_nobodys(own_world: World) -> None:
    """Whatever keys and sources a caller makes up, what contradicts a report is kept, and nothing is taken for it."""
    world = own_world
    held = await world.made("/v1/reservations", reservation())
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    await world.made(path, {"usage": {"input_tokens": 1, "output_tokens": 1}})
    other = {"usage": {"input_tokens": 2, "output_tokens": 1}}
    kept = check_problem(await world.post(path, other), 409, "idempotency_conflict")
    [key] = await world.rows("select source, key from operation_keys where answer = 'kept'")
    for source in (key["source"], "contradiction", f"contradiction:{key['source']}", "contradiction:event:x"):
        sent = {"events": [event(source=source, idempotency_key=key["key"][:200])]}
        [result] = (await world.made("/v1/events", sent))["results"]
        assert result["status"] == "booked"
    again = check_problem(await world.post(path, other), 409, "idempotency_conflict")
    assert (again["quarantine_id"], again["replayed"]) == (kept["quarantine_id"], True)


async def _decided(world: World, verdict: str, **fields: Any) -> dict[str, Any]:
    body = {"idempotency_key": fresh(), "note": "a test", **fields}
    return await world.made(f"/v1/quarantine/{verdict}", body)


async def test_items_are_decided_on_by_what_they_have_in_common(own_world: World) -> None:
    world = own_world
    first, second, third = sorted(await _kept(world, 3), key=int)
    late = {"occurred_at": "2020-01-01T00:00:00Z"}
    await world.made("/v1/events", {"events": [event(source=source, **late) for source in ("batch", "other", "other")]})
    [once] = await world.rows("select kept_at from quarantine where quarantine_id = $1", int(third))
    assert await _decided(world, "resolve", quarantine_ids=[first]) == {"decided": 1, "left": 0, "replayed": False}
    assert (await _decided(world, "dismiss", code="invalid_request", before=once[0].isoformat()))["decided"] == 0
    assert (await _decided(world, "dismiss", code="invalid_request"))["decided"] == 2
    assert (await _decided(world, "resolve", code="time_out_of_range", source="other"))["decided"] == 2
    assert len(await _listed(world)) == 1
    assert {*await _listed(world, state="dismissed")} == {second, third}
    audit = [each for each in (await world.get("/v1/audit")).json()["audit"] if "many" in each["action"]]
    assert [(each["action"], len(each["after"]["items"])) for each in audit] == [
        ("quarantine.resolve_many", 1), ("quarantine.dismiss_many", 0), ("quarantine.dismiss_many", 2),
        ("quarantine.resolve_many", 2),
    ]  # fmt: skip
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_a_request_decides_on_a_bounded_number_and_the_next_goes_on(
    own_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = own_world
    await _kept(world, 5)
    monkeypatch.setattr("token_ledger.storage.quarantine._CHOOSE", text(str(_CHOOSE).replace("limit 1000", "limit 2")))
    key = fresh()
    assert await _decided(world, "dismiss", idempotency_key=key, source="batch") == {
        "decided": 2, "left": 3, "replayed": False,
    }  # fmt: skip
    again = await _decided(world, "dismiss", idempotency_key=key, source="batch")
    assert again == {"decided": 2, "left": 3, "replayed": True}
    assert [(await _decided(world, "dismiss", source="batch"))["left"] for _ in range(3)] == [1, 0, 0]
    conflict = await world.post("/v1/quarantine/dismiss", {"idempotency_key": key, "note": "b", "source": "batch"})
    check_problem(conflict, 409, "idempotency_conflict", "idempotency_key")
    assert (await verify_database(world.url)).clean


async def test_deciding_on_many_needs_a_choice_and_the_role_of_an_administrator(world: World) -> None:
    await _kept(world, 1)
    body = {"idempotency_key": fresh(), "note": "a test"}
    check_problem(await world.post("/v1/quarantine/dismiss", body), 422, "invalid_request", "code")
    for role in (Role.AGENT, Role.FINANCE, Role.USER):
        check_problem(await world.post("/v1/quarantine/dismiss", {**body, "code": "x"}, role=role), 403, "forbidden")


async def test_one_tenant_decides_on_nothing_of_another(world: World) -> None:
    [item] = await _kept(world, 1)
    body = {"idempotency_key": fresh(), "note": "a test", "quarantine_ids": [item]}
    assert (await world.made("/v1/quarantine/dismiss", body, tenant="globex"))["decided"] == 0
    assert item in await _listed(world)
