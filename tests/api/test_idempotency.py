"""A repeated key gets the stored answer and changes nothing; with another body it is 409 and names the field."""

import asyncio
from typing import Any

import pytest

from tests.api import verbs
from tests.api.world import World, check_problem, fresh

KEYED = [verb.name for verb in verbs.VERBS if "idempotency_key" in verb.kinds]


@pytest.mark.parametrize("name", KEYED)
async def test_a_repeated_request_gets_the_stored_answer_and_changes_nothing(name: str, world: World) -> None:
    verb = verbs.BY_NAME[name]
    path, body = verb.path.format(**await verbs.named_ids(world)), verb.fresh_body()
    tenant, role = verb.who
    first = await world.made(path, body, tenant=tenant, role=role, method=verb.method)
    assert first["replayed"] is False
    before = await world.state()
    for _ in range(2):
        again = await world.post(path, body, tenant=tenant, role=role, method=verb.method)
        assert again.status_code == verb.status
        assert _without_replay(again.json()) == _without_replay(first)
        assert again.json()["replayed"] is True
    assert await world.state() == before


def _without_replay(answer: dict[str, Any]) -> dict[str, Any]:
    # The answer to closing or cancelling a run shows its current balance, so it is not compared here.
    # A replayed lease cannot say how many seconds are left.
    return {name: value for name, value in answer.items() if name not in ("replayed", "seconds_left")}


@pytest.mark.parametrize("name", ["settle", "release", "cancel", "close"])
async def test_without_a_key_the_id_in_the_path_is_the_key(name: str, world: World) -> None:
    verb = verbs.BY_NAME[name]
    path = verb.path.format(**await verbs.named_ids(world))
    first = await world.made(path, verb.body)
    before = await world.state()
    again = await world.made(path, verb.body)
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert await world.state() == before


async def test_a_repeated_denial_is_the_same_denial(world: World) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", verbs.budget(user, limits={"tokens": 10}))
    body = verbs.reservation(user=user)
    first = check_problem(await world.post("/v1/reservations", body), 402, "budget_exceeded")
    before = await world.state()
    again = check_problem(await world.post("/v1/reservations", body), 402, "budget_exceeded")
    assert (first.pop("replayed"), again.pop("replayed")) == (False, True)
    assert again == first
    assert await world.state() == before


async def test_a_repeated_archive_is_the_same_archive(world: World) -> None:
    ids = await verbs.named_ids(world)
    first = await world.delete(f"/v1/budgets/{ids['budget_id']}")
    again = await world.delete(f"/v1/budgets/{ids['budget_id']}")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == {**first.json(), "replayed": True}


async def test_a_replayed_hold_shows_its_current_state(world: World) -> None:
    body = verbs.reservation()
    held = await world.made("/v1/reservations", body)
    await world.made(f"/v1/reservations/{held['reservation_id']}/release")
    again = await world.made("/v1/reservations", body)
    assert again == {
        **held, "state": "released", "replayed": True, "directive": {**held["directive"], "stop": True}
    }  # fmt: skip


USAGE = {"input_tokens": 900, "output_tokens": 100}
LIMITS = {"tokens": 1_000, "cost": "1.50", "calls": 10}
CHANGES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("run", {"user": "bob"}, "user"),
    ("run", {"cost_center": "sales"}, "cost_center"),
    ("run", {"external_id": "chat-2"}, "external_id"),
    ("run", {"strict": True}, "strict"),
    ("run", {"limits": {**LIMITS, "tokens": 1_001}}, "limits.tokens"),
    ("run", {"limits": {**LIMITS, "cost": "1.51"}}, "limits.cost"),
    ("run", {"limits": {**LIMITS, "calls": 11}}, "limits.calls"),
    ("reserve", {"user": "bob"}, "user"),
    ("reserve", {"cost_center": "sales"}, "cost_center"),
    ("reserve", {"agent_type": "chart_agent"}, "agent_type"),
    ("reserve", {"provider": "azure"}, "provider"),
    ("reserve", {"model": "gpt-5.4-mini"}, "model"),
    ("reserve", {"request_type": "report"}, "request_type"),
    ("reserve", {"input_tokens": 1_001}, "input_tokens"),
    ("reserve", {"max_output_tokens": 501}, "max_output_tokens"),
    ("reserve", {"cached_input_tokens": 101}, "cached_input_tokens"),
    ("reserve", {"ttl_seconds": 61}, "ttl_seconds"),
    ("reserve", {"tool": "browse"}, "tool"),
    ("reserve", {"tags": {"team": "edge"}}, "tags"),
    ("settle", {"usage": {**USAGE, "input_tokens": 901}}, "usage.input_tokens"),
    ("settle", {"usage": {**USAGE, "output_tokens": 101}}, "usage.output_tokens"),
    ("settle", {"usage": {**USAGE, "cache_read_tokens": 11}}, "usage.cache_read_tokens"),
    ("settle", {"provider": "azure"}, "provider"),
    ("settle", {"model": "gpt-5.4-mini"}, "model"),
    ("settle", {"outcome": "error"}, "outcome"),
    ("settle", {"estimated": True}, "estimated"),
    ("settle", {"response_id": "resp-2"}, "response_id"),
    ("settle", {"original_input_tokens": 2_001}, "original_input_tokens"),
    ("budget", {"name": "another name"}, "name"),
    ("budget", {"selector": {"user": "bob"}}, "selector"),
    ("budget", {"limits": {**LIMITS, "cost": "1.51"}}, "limits.cost"),
    ("budget", {"window": "month"}, "window"),
    ("budget", {"enforcement": "soft"}, "enforcement"),
    ("budget", {"counts": "uncached"}, "counts"),
    ("trigger", {"kind": "high_token_usage"}, "kind"),
    ("trigger", {"at_percent": 91}, "at_percent"),
    ("trigger", {"mode": "off"}, "mode"),
    ("trigger", {"per_call_tokens": 1_001}, "per_call_tokens"),
    ("trigger", {"per_call_cost": "1.51"}, "per_call_cost"),
    ("trigger", {"downgrades": []}, "downgrades"),
    ("settle", {"occurred_at": "2026-11-21T10:00:01Z"}, "occurred_at"),
    # The stored row no longer has the field that differs, so the key itself is named.
    ("run", {"allocation": []}, "idempotency_key"),
    ("reserve", {"requires": ["vision"]}, "idempotency_key"),
    ("reserve", {"apply": []}, "idempotency_key"),
    ("reserve", {"cache_write": "1h"}, "idempotency_key"),
)


@pytest.mark.parametrize(
    ("name", "change", "field"), CHANGES, ids=[f"{name}-{field}-{n}" for n, (name, _, field) in enumerate(CHANGES)]
)
async def test_a_key_used_with_another_body_is_409_naming_the_field_and_changes_nothing(
    name: str, change: dict[str, Any], field: str, world: World
) -> None:
    verb = verbs.BY_NAME[name]
    path, body = verb.path.format(**await verbs.named_ids(world)), verb.fresh_body()
    if name == "settle":
        body["usage"] = {**body["usage"], **USAGE}
        change = {**change, "usage": {**body["usage"], **change["usage"]}} if "usage" in change else change
    await world.made(path, body)
    before = await world.state()
    problem = check_problem(await world.post(path, {**body, **change}), 409, "idempotency_conflict", field)
    assert ("quarantine_id" in problem) is (name == "settle"), "what may have been spent is kept"
    assert _but_kept(await world.state()) == _but_kept(before)


def _but_kept(state: dict[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
    """Return a state without what a report that contradicts another adds to it."""
    return {name: rows for name, rows in state.items() if name not in ("quarantine", "operation_keys")}


@pytest.mark.parametrize("name", ["settle", "extend"])
async def test_a_key_used_for_another_hold_is_409_and_changes_nothing(name: str, world: World) -> None:
    verb, body = verbs.BY_NAME[name], verbs.BY_NAME[name].fresh_body()
    await world.made(verb.path.format(**await verbs.named_ids(world)), body)
    other = verb.path.format(**await verbs.named_ids(world))
    before = await world.state()
    check_problem(await world.post(other, body), 409, "idempotency_conflict", "reservation_id")
    assert _but_kept(await world.state()) == _but_kept(before)


async def test_a_denied_key_with_another_body_is_409_not_a_hold(world: World) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", verbs.budget(user, limits={"tokens": 10}))
    body = verbs.reservation(user=user)
    check_problem(await world.post("/v1/reservations", body), 402, "budget_exceeded")
    smaller = {**body, "input_tokens": 1, "max_output_tokens": 1}
    check_problem(await world.post("/v1/reservations", smaller), 409, "idempotency_conflict", "input_tokens")


async def test_the_same_key_is_independent_for_another_verb(world: World) -> None:
    key = fresh()
    run = await world.made("/v1/runs", {"idempotency_key": key, "user": "ada"})
    held = await world.made("/v1/reservations", verbs.reservation(idempotency_key=key))
    settled = await world.made(
        f"/v1/reservations/{held['reservation_id']}/settle", {"idempotency_key": key, "usage": USAGE}
    )
    booked = await world.made("/v1/events", {"events": [verbs.event(idempotency_key=key)]})
    assert not any(answer["replayed"] for answer in (run, held, settled, *booked["results"]))


async def test_of_many_concurrent_requests_with_one_key_one_is_done_and_the_others_are_replays(world: World) -> None:
    body = verbs.reservation(input_tokens=777)
    answers = await asyncio.gather(*(world.made("/v1/reservations", body) for _ in range(40)))
    assert len({answer["reservation_id"] for answer in answers}) == 1
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 39
    rows = await world.rows("select count(*) from reservations where input_tokens = 777")
    assert rows[0][0] == 1


async def test_money_written_differently_is_another_body(world: World) -> None:
    # Bodies are compared as they were sent: a client that retries repeats its bytes.
    body = verbs.BY_NAME["budget"].fresh_body()
    await world.made("/v1/budgets", body)
    rewritten = {**body, "limits": {**body["limits"], "cost": "1.500"}}
    check_problem(await world.post("/v1/budgets", rewritten), 409, "idempotency_conflict", "idempotency_key")


async def test_a_default_that_is_spelled_out_is_the_same_body(world: World) -> None:
    body = verbs.reservation()
    held = await world.made("/v1/reservations", body)
    again = await world.made("/v1/reservations", {**body, "ttl_seconds": 300, "request_type": "chat", "tags": {}})
    assert again == {**held, "replayed": True}
