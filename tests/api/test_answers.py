"""Answers are built as plain dictionaries: they have exactly the fields that the OpenAPI document describes."""

import json
from datetime import datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.api.verbs import BY_NAME, budget, reservation
from tests.api.waiting import until
from tests.api.world import World, check_problem, fresh
from token_ledger.api.routes.operations import HOT
from token_ledger.wire.answers.budgets import BudgetAnswer
from token_ledger.wire.answers.events import EventResults
from token_ledger.wire.answers.reservations import ReservationAnswer, SettlementAnswer

USAGE = {"input_tokens": 900, "output_tokens": 100}


def _check(kind: Any, answer: dict[str, Any]) -> None:
    """Check that an answer has every field of its type, each of the documented type, and no other."""
    TypeAdapter(kind).validate_json(json.dumps(answer), strict=True)
    # All that is asked about here has a price, and nothing else that is left out of most answers.
    assert set(answer) == kind.__required_keys__ | (kind.__optional_keys__ & {"price_id"})


async def _held(world: World, **fields: Any) -> dict[str, Any]:
    return await world.made("/v1/reservations", reservation(**fields))


async def _expired(world: World) -> dict[str, Any]:
    """Return a hold of one second after the database's clock has passed its expiry."""
    held = await _held(world, ttl_seconds=1)

    async def past() -> bool:
        expiry = datetime.fromisoformat(held["expires_at"])
        return bool((await world.rows("select clock_timestamp() > $1", expiry))[0][0])

    await until(past)
    return held


@pytest.mark.parametrize("with_run", [False, True])
async def test_a_hold_matches_its_documented_type_in_every_state(with_run: bool, world: World) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"tokens": 1, "cost": "0"}, enforcement="soft"))
    fields: dict[str, Any] = {"user": user}
    if with_run:
        run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": user})
        fields = {"user": None, "run_id": run["run_id"]}
    held = await _held(world, **fields)
    _check(ReservationAnswer, held)
    assert held["warnings"], "the answer has to have a refusal in it to be checked"
    _check(ReservationAnswer, (await world.get(f"/v1/reservations/{held['reservation_id']}")).json())
    _check(ReservationAnswer, await world.made(f"/v1/reservations/{held['reservation_id']}/release"))
    body = reservation(**fields)
    await world.made("/v1/reservations", body)
    _check(ReservationAnswer, await world.made("/v1/reservations", body))


SETTLES: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({}, {"cost": "0.003750000", "tokens": 1_000}),
    ({"usage": {"input_tokens": 2_000, "output_tokens": 100}}, {"overrun": True, "tokens": 2_100}),
    ({"usage": {"input_tokens": 10, "output_tokens": 1, "cache_read_tokens": 11}}, {"clamped": True}),
    ({"model": "gpt-99"}, {"unpriced": True, "cost": "0.003750000"}),
    ({"model": "gpt-5.4-mini"}, {"cost": "0.001125000"}),
    ({"outcome": "error", "estimated": True}, {"overrun": False}),
)


@pytest.mark.parametrize(("change", "expected"), SETTLES)
async def test_a_settlement_matches_its_documented_type(
    change: dict[str, Any], expected: dict[str, Any], world: World
) -> None:
    held = await _held(world)
    path, body = f"/v1/reservations/{held['reservation_id']}/settle", {"usage": USAGE, **change}
    settled = await world.made(path, body)
    _check(SettlementAnswer, settled)
    usual = {"state": "settled", "overrun": False, "late": False, "unpriced": False, "clamped": False}
    assert settled.items() >= {**usual, "replayed": False, **expected}.items()
    assert settled["reservation_id"] == held["reservation_id"]
    _check(SettlementAnswer, await world.made(path, body))


async def test_a_settle_after_expiry_is_booked_late(world: World) -> None:
    held = await _expired(world)
    settled = await world.made(f"/v1/reservations/{held['reservation_id']}/settle", {"usage": USAGE})
    _check(SettlementAnswer, settled)
    assert (settled["late"], settled["cost"]) == (True, "0.003750000")
    assert (await world.get(f"/v1/reservations/{held['reservation_id']}")).json()["state"] == "settled"


async def test_a_released_hold_says_why_wherever_it_is_read(world: World) -> None:
    held = await _held(world, user=fresh("user"))
    path, reason = f"/v1/reservations/{held['reservation_id']}", "the provider answered 429"
    released = await world.made(f"{path}/release", {"reason": reason})
    assert (held.get("end_reason"), released["end_reason"]) == (None, reason)
    TypeAdapter(ReservationAnswer).validate_json(json.dumps(released), strict=True)
    again = await world.made(f"{path}/release", {"reason": "another", "idempotency_key": fresh()})
    assert (again["replayed"], again["end_reason"]) == (True, reason)
    assert (await world.get(path)).json()["end_reason"] == reason
    [listed] = [
        each
        for each in (await world.get("/v1/reservations", state="released", limit=1_000)).json()["reservations"]
        if each["reservation_id"] == held["reservation_id"]
    ]
    assert listed["end_reason"] == reason


async def test_an_expired_hold_cannot_be_released(world: World) -> None:
    held = await _expired(world)
    answer = await world.post(f"/v1/reservations/{held['reservation_id']}/release")
    assert check_problem(answer, 409, "reservation_not_open")["state"] == "expired"


async def test_a_second_settle_with_another_key_is_409_and_quarantined(world: World) -> None:
    held = await _held(world)
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    await world.made(path, {"usage": USAGE})
    before = await world.state()
    problem = check_problem(
        await world.post(path, {"usage": USAGE, "idempotency_key": fresh()}), 409, "reservation_not_open"
    )
    after = await world.state()
    changed = {table for table in after if after[table] != before[table]}
    assert changed == {"quarantine", "operation_keys"}
    listed = (await world.get("/v1/quarantine", limit=1)).json()["quarantine"][0]
    assert listed["quarantine_id"] == problem["quarantine_id"]
    assert listed["body"]["usage"]["input_tokens"] == 900


async def test_lists_of_events_and_budgets_match_their_documented_types(world: World) -> None:
    events = await world.made("/v1/events", BY_NAME["events"].fresh_body())
    _check(EventResults, events)
    made = await world.made("/v1/budgets", BY_NAME["budget"].fresh_body())
    _check(BudgetAnswer, made)
    listed = (await world.get("/v1/budgets")).json()["budgets"]
    assert made in listed


def test_the_hot_routes_name_their_types(world: World) -> None:
    paths = world.app.openapi()["paths"]
    for hot in HOT:
        operation = paths[hot.path]["post"]
        sent = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        answered = operation["responses"][str(hot.status)]["content"]["application/json"]["schema"]["$ref"]
        assert (sent.rsplit("/", 1)[1], answered.rsplit("/", 1)[1]) == (hot.body.__name__, hot.answer_type.__name__)
