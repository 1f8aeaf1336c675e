"""Quarantine over HTTP: the list of items, and decisions, which are in the audit log."""

from typing import Any

from tests.api.verbs import event
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database


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
