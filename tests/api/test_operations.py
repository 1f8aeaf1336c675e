"""Several operations in one request: each has the answer of its own route, and a failure does not affect the others."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.ledger.waiting_room import WAITING_OF_TENANT, Room, WaitingRoom

USAGE = {"usage": {"input_tokens": 900, "output_tokens": 100}}


async def operate(world: World, *operations: Any) -> list[dict[str, Any]]:
    answer = await world.made("/v1/operations", {"operations": list(operations)})
    return list(answer["results"])


async def hold(world: World, **fields: Any) -> str:
    return str((await world.made("/v1/reservations", reservation(**fields)))["reservation_id"])


async def test_each_operation_has_the_answer_of_its_own_route(world: World) -> None:
    run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada", "iterations": 1})
    first, second, third = [await hold(world) for _ in range(3)]
    results = await operate(
        world,
        {"op": "reserve", **reservation()},
        {"op": "lease", **reservation(), "calls": 3},
        {"op": "settle", "reservation_id": first, **USAGE},
        {"op": "extend", "reservation_id": second, "idempotency_key": fresh(), "ttl_seconds": 900},
        {"op": "release", "reservation_id": third},
        {"op": "step", "run_id": run["run_id"], "idempotency_key": fresh()},
        {"op": "event", **event()},
    )
    assert [result["status"] for result in results] == [201, 201, 200, 200, 200, 201, 200]
    bodies = [result["body"] for result in results]
    assert [body.get("state") for body in bodies] == ["held", "held", "settled", "held", "released", None, None]
    assert (bodies[1]["calls"], bodies[5]["iteration"], bodies[6]["status"]) == (3, 1, "booked")


NOTHING = "9223372036854775807"
WRONG: list[tuple[Any, int, str, str | None]] = [
    (None, 422, "invalid_request", "operations.1"),
    (7, 422, "invalid_request", "operations.1"),
    ([], 422, "invalid_request", "operations.1"),
    ({}, 422, "invalid_request", "operations.1.op"),
    ({"op": "drop"}, 422, "invalid_request", "operations.1.op"),
    ({"op": ["settle"]}, 422, "invalid_request", "operations.1.op"),
    ({"op": "settle", **USAGE}, 422, "invalid_request", "operations.1.reservation_id"),
    ({"op": "settle", "reservation_id": 5, **USAGE}, 422, "invalid_request", "operations.1.reservation_id"),
    ({"op": "settle", "reservation_id": "x", **USAGE}, 422, "invalid_request", "operations.1.reservation_id"),
    ({"op": "settle", "reservation_id": NOTHING}, 422, "invalid_request", "operations.1.usage"),
    ({"op": "settle", "reservation_id": NOTHING, **USAGE, "a": 1}, 422, "invalid_request", "operations.1.a"),
    ({"op": "settle", "reservation_id": NOTHING, **USAGE}, 404, "reservation_not_found", None),
    ({"op": "release", "reservation_id": NOTHING}, 404, "reservation_not_found", None),
    ({"op": "step", "run_id": NOTHING, "idempotency_key": "s"}, 404, "run_not_found", None),
    ({"op": "reserve"}, 422, "invalid_request", "operations.1.agent_type"),
    ({"op": "reserve", "lambda": lambda: reservation(model="unheard-of")}, 422, "unknown_model", None),
    ({"op": "reserve", "lambda": lambda: reservation(user=None)}, 422, "invalid_request", None),
    ({"op": "lease", "lambda": lambda: {**reservation(), "calls": 0}}, 422, "invalid_request", "operations.1.calls"),
    ({"op": "event", "user": "ada"}, 422, "invalid_request", "operations.1.source"),
    ({"op": "event", "lambda": lambda: event(idempotency_key=None)}, 422, "invalid_request", None),
]


@pytest.mark.parametrize(("wrong", "status", "code", "field"), WRONG)
async def test_a_wrong_operation_does_not_affect_the_others(
    wrong: Any, status: int, code: str, field: str | None, world: World
) -> None:
    if isinstance(wrong, dict) and "lambda" in wrong:
        body: Callable[[], dict[str, Any]] = wrong["lambda"]
        wrong = {"op": wrong["op"], **body()}
    good = {"op": "reserve", **reservation()}
    before, bad, after = await operate(world, good, wrong, {"op": "reserve", **reservation()})
    assert (before["status"], after["status"]) == (201, 201)
    assert (bad["status"], bad["body"]["code"]) == (status, code), bad
    if field is not None:
        assert field in [error["field"] for error in bad["body"]["errors"]], bad


async def test_operations_are_decided_in_order(world: World) -> None:
    user = fresh("user")
    limit = {"idempotency_key": fresh(), "name": user, "selector": {"user": user}, "limits": {"calls": 2}}
    await world.made("/v1/budgets", {**limit, "window": "total"})
    calls = [{"op": "reserve", **reservation(user=user)} for _ in range(4)]
    assert [result["status"] for result in await operate(world, *calls)] == [201, 201, 402, 402]


async def test_the_same_key_twice_is_one_operation(world: World) -> None:
    call = {"op": "reserve", **reservation()}
    first, second = await operate(world, call, call)
    assert first["body"]["reservation_id"] == second["body"]["reservation_id"]
    assert (first["body"]["replayed"], second["body"]["replayed"]) == (False, True)
    other = {**call, "max_output_tokens": 7}
    again, conflict = await operate(world, call, other)
    assert again["body"]["replayed"] is True
    assert (conflict["status"], conflict["body"]["code"]) == (409, "idempotency_conflict")


async def test_too_many_operations_are_refused_as_a_whole(world: World) -> None:
    calls = [{"op": "reserve", **reservation()} for _ in range(257)]
    check_problem(await world.post("/v1/operations", {"operations": calls}), 422, "invalid_request", "operations")
    check_problem(await world.post("/v1/operations", {"operations": []}), 422, "invalid_request", "operations")


async def test_an_event_under_a_key_that_was_used_conflicts_as_any_other_operation(world: World) -> None:
    first = event()
    results = await operate(world, {"op": "event", **first}, {"op": "event", **first, "agent_type": "other"})
    assert [result["status"] for result in results] == [200, 409]
    problem = results[1]["body"]
    assert (problem["code"], problem["errors"][0]["field"]) == ("idempotency_conflict", "agent_type")
    assert problem["quarantine_id"]


async def test_events_among_other_operations_have_their_turn_and_their_results(world: World) -> None:
    user = fresh("user")
    limit = {"idempotency_key": fresh(), "name": user, "selector": {"user": user}, "limits": {"tokens": 80_000}}
    await world.made("/v1/budgets", {**limit, "window": "total"})
    asked = {"op": "reserve", **reservation(user=user)}
    usage = {"input_tokens": 1_000, "output_tokens": 1_000}
    used = [{"op": "event", **event(user=user, usage=usage)} for _ in range(40)]
    wrong = {"op": "event", **event(user=user, usage={"input_tokens": -1})}
    conflict = {**used[0], "agent_type": "other"}
    nameless = {"op": "event", "user": user}
    results = await operate(
        world, asked, *used[:34], wrong, conflict, nameless, used[1], *used[34:], {**asked, "idempotency_key": fresh()}
    )
    assert [result["status"] for result in results] == [201, *[200] * 34, 200, 409, 422, 200, *[200] * 6, 402]
    assert results[35]["body"]["status"] == "quarantined"
    assert results[37]["body"]["errors"][0]["field"].startswith("operations.37.")
    assert results[38]["body"] == {**results[2]["body"], "replayed": True}
    ids = [int(result["body"]["event_id"]) for result in [*results[1:35], *results[39:45]]]
    assert ids == sorted(ids)


async def test_where_there_is_no_room_reserves_are_shed_and_what_was_spent_is_booked(own_world: World) -> None:
    first, second, third = [await hold(own_world) for _ in range(3)]
    own_world.service._commits._room = WaitingRoom(Room(most_of_tenant=4))  # type: ignore[union-attr]
    results = await operate(
        own_world,
        *({"op": "reserve", **reservation()} for _ in range(2)),
        {"op": "reserve", **reservation()},
        {"op": "settle", "reservation_id": first, **USAGE},
        {"op": "reserve", **reservation()},
        {"op": "event", **event()},
    )
    assert [result["status"] for result in results] == [201, 201, 503, 200, 503, 200]
    assert results[2]["body"]["code"] == "unavailable"
    refused = await operate(own_world, *({"op": "release", "reservation_id": each} for each in (second, third)))
    assert [result["status"] for result in refused] == [200, 200]


async def test_a_list_of_reserves_is_refused_as_a_whole_where_there_is_no_room(own_world: World) -> None:
    own_world.service.room.enter(own_world.tenants["acme"], None, WAITING_OF_TENANT)
    operations = [{"op": "reserve", **reservation()} for _ in range(3)]
    response = await own_world.post("/v1/operations", {"operations": operations})
    check_problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"
