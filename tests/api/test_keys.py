"""API keys expire, are rotated and revoked; the audit log shows that, and which runs administrators ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database


async def _entries(world: World, target: str) -> list[dict[str, Any]]:
    audit = (await world.get("/v1/audit", limit=1000)).json()["audit"]
    return [each for each in audit if each["target"] == target]


def _in(**time: float) -> str:
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


async def test_a_key_that_would_expire_in_the_past_is_refused(world: World) -> None:
    body = {"role": "agent", "name": fresh(), "expires_at": _in(seconds=-1)}
    check_problem(await world.post("/v1/api-keys", body), 422, "time_out_of_range", "expires_at")
    listed = (await world.get("/v1/api-keys")).json()["api_keys"]
    assert body["name"] not in [each["name"] for each in listed]


@pytest.mark.parametrize("ends", [None, _in(hours=1), _in(days=90)], ids=["never", "soon", "late"])
async def test_a_rotated_key_expires_when_the_old_one_would_have(ends: str | None, world: World) -> None:
    made = await world.made("/v1/api-keys", {"role": "agent", "name": fresh(), "expires_at": ends})
    rotated = await world.made(f"/v1/api-keys/{made['key_id']}/rotate", {"overlap_seconds": 60})
    assert rotated["expires_at"] == ends
    listed = {each["key_id"]: each for each in (await world.get("/v1/api-keys")).json()["api_keys"]}
    shown = listed[rotated["key_id"]]["expires_at"]
    assert (shown and datetime.fromisoformat(shown)) == (ends and datetime.fromisoformat(ends))
    old = datetime.fromisoformat(listed[made["key_id"]]["expires_at"])
    assert old < datetime.now(UTC) + timedelta(seconds=61)


async def test_the_audit_log_shows_a_key_before_and_after(world: World) -> None:
    name = fresh()
    made = await world.made("/v1/api-keys", {"role": "agent", "name": name})
    rotated = await world.made(f"/v1/api-keys/{made['key_id']}/rotate", {"overlap_seconds": 60})
    await world.delete(f"/v1/api-keys/{made['key_id']}")
    state = {"name": name, "role": "agent", "expires_at": None}
    shortened = {**state, "expires_at": rotated["old_key_expires_at"]}
    created, turned, revoked = await _entries(world, made["key_id"])
    assert (created["action"], created["before"], created["after"]) == ("key.create", None, state)
    replaced = {**shortened, "replaced_by": rotated["key_id"]}
    assert (turned["action"], turned["before"], turned["after"]) == ("key.rotate", state, replaced)
    assert (revoked["action"], revoked["before"]) == ("key.revoke", {**shortened, "revoked_at": None})
    assert revoked["after"]["revoked_at"] is not None


async def test_operators_read_the_log_of_their_own_keys(world: World) -> None:
    answer = await world.get("/v1/audit", tenant="operator", role=Role.OPERATOR)
    entries = answer.json()["audit"]
    assert ("key.create", "operator") in [(each["action"], each["after"]["role"]) for each in entries]
    assert all(each["target"].startswith("0k") for each in entries)


@pytest.mark.parametrize(("ending", "state"), [("cancel", "cancelled"), ("close", "closed")])
async def test_a_run_that_an_administrator_ends_is_in_the_audit_log(ending: str, state: str, world: World) -> None:
    targets = {}
    for role in (Role.AGENT, Role.ADMIN):
        run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada"}, role=role)
        targets[role] = run["run_id"]
        for _ in range(2):
            await world.made(f"/v1/runs/{run['run_id']}/{ending}", role=role)
    assert await _entries(world, targets[Role.AGENT]) == []
    [entry] = await _entries(world, targets[Role.ADMIN])
    assert (entry["action"], entry["before"], entry["after"]) == (f"run.{ending}", {"state": "open"}, {"state": state})
    assert entry["actor"].startswith("key:")
    report = await verify_database(world.url)
    assert report.clean, report.as_text()
