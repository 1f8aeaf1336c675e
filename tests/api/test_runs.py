"""Runs over HTTP: balances, exact allocations, and what ending a run refuses and still books."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.api.verbs import BY_NAME, budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.wire.answers.runs import RunAnswer

USAGE = {"input_tokens": 900, "output_tokens": 100}


async def _run(world: World, **fields: Any) -> dict[str, Any]:
    return await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada", **fields})


def _in(run: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return reservation(user=None, run_id=run["run_id"], **fields)


@pytest.mark.parametrize(("end", "state"), [("cancel", "cancelled"), ("close", "closed")])
async def test_an_ended_run_refuses_reserves_and_still_books_settles(end: str, state: str, world: World) -> None:
    run = await _run(world, limits={"tokens": 10_000})
    held = [await world.made("/v1/reservations", _in(run)) for _ in range(2)]
    ended = await world.made(f"/v1/runs/{run['run_id']}/{end}")
    assert (ended["state"], ended["replayed"]) == (state, False)
    assert ended["ended_at"] is not None
    before = await world.state()
    problem = check_problem(await world.post("/v1/reservations", _in(run)), 409, "run_not_open", "run_id")
    assert problem["run_state"] == state
    assert await world.state() == before
    settled = await world.made(f"/v1/reservations/{held[0]['reservation_id']}/settle", {"usage": USAGE})
    assert (settled["state"], settled["tokens"], settled["late"]) == ("settled", 1_000, False)
    released = await world.made(f"/v1/reservations/{held[1]['reservation_id']}/release")
    assert released["state"] == "released"
    shown = (await world.get(f"/v1/runs/{run['run_id']}")).json()
    assert shown["state"] == state
    assert shown["balance"]["settled"] == {"tokens": 1_000, "cost": settled["cost"], "calls": 1}
    assert shown["balance"]["held"] == {"tokens": 0, "cost": "0.000000000", "calls": 0}


async def test_an_event_of_an_ended_run_is_booked_on_it(world: World) -> None:
    run = await _run(world)
    await world.made(f"/v1/runs/{run['run_id']}/cancel")
    sent = {name: value for name, value in event(run_id=run["run_id"]).items() if name != "user"}
    results = await world.made("/v1/events", {"events": [sent]})
    assert results["results"][0]["status"] == "booked"
    shown = (await world.get(f"/v1/runs/{run['run_id']}")).json()
    assert shown["balance"]["settled"]["tokens"] == 1_500


async def test_a_closed_run_can_be_cancelled_and_a_cancelled_one_stays_so(world: World) -> None:
    run = await _run(world)
    closed = await world.made(f"/v1/runs/{run['run_id']}/close")
    cancelled = await world.made(f"/v1/runs/{run['run_id']}/cancel")
    again = await world.made(f"/v1/runs/{run['run_id']}/close", {"idempotency_key": fresh()})
    assert [answer["state"] for answer in (closed, cancelled, again)] == ["closed", "cancelled", "cancelled"]
    assert closed["ended_at"] == cancelled["ended_at"] == again["ended_at"]


async def test_a_budget_per_run_counts_a_run_with_its_sub_runs(world: World) -> None:
    agent_type = fresh("agent")
    limits = {"limits": {"tokens": 5_000}, "selector": {"agent_type": agent_type}}
    await world.made("/v1/budgets", budget(fresh("per run"), window="run", **limits))
    run = await _run(world)
    for call in range(2):  # the account of the run is there already when the first call of a sub-run falls on it
        part = await _run(world, parent_run_id=run["run_id"], user=None)
        for each in (run, part)[call:]:
            await world.made("/v1/reservations", _in(each, agent_type=agent_type))
    for each in (run, part):
        refused = await world.post("/v1/reservations", _in(each, agent_type=agent_type))
        (refusal,) = check_problem(refused, 402, "budget_exceeded")["refusals"]
        assert (refusal["subject"], refusal["held"]) == ({"run": run["run_id"]}, 4_500)
    sent = event(run_id=part["run_id"], agent_type=agent_type)
    del sent["user"]
    await world.made("/v1/events", {"events": [sent]})
    rows = await world.rows("select settled_tokens from accounts where budget like 'per run%' order by account_id")
    assert [row["settled_tokens"] for row in rows] == [1_500, 0, 1_500]


async def test_ending_one_run_leaves_the_others_open(world: World) -> None:
    one, other = await _run(world), await _run(world)
    await world.made(f"/v1/runs/{one['run_id']}/cancel")
    await world.made("/v1/reservations", _in(other))


async def test_an_allocation_is_split_exactly_and_shown(world: World) -> None:
    shares = [{"agent_type": name, "weight": weight} for name, weight in (("a", 1), ("b", 1), ("c", 1))]
    run = await _run(world, limits={"tokens": 100}, allocation=shares)
    limits = {part["agent_type"]: part["balance"]["limit"]["tokens"] for part in run["allocations"]}
    assert limits == {"a": 34, "b": 33, "c": 33}
    assert (await world.get(f"/v1/runs/{run['run_id']}")).json()["allocations"] == run["allocations"]


@pytest.mark.parametrize("unit", ["tokens", "cost", "calls"])
async def test_a_limit_of_zero_denies_every_call(unit: str, world: World) -> None:
    run = await _run(world)
    body = {"idempotency_key": fresh(), "reason": "enough", "limits": {unit: "0" if unit == "cost" else 0}}
    changed = await world.made(f"/v1/runs/{run['run_id']}", body, method="PATCH")
    assert float(changed["balance"]["limit"][unit]) == 0
    denied = check_problem(await world.post("/v1/reservations", _in(run)), 402, "budget_exceeded")
    assert [(each["budget"], each["unit"]) for each in denied["refusals"]] == [("run", unit)]


async def test_every_answer_about_a_run_has_the_same_type(world: World) -> None:
    run = await _run(world, **{n: v for n, v in (BY_NAME["run"].body or {}).items() if n != "user"})
    listed = (await world.get("/v1/runs", limit=1)).json()["runs"][0]
    for answer in (
        run, listed, (await world.get(f"/v1/runs/{run['run_id']}")).json(),
        await world.made(f"/v1/runs/{run['run_id']}/close"), await world.made(f"/v1/runs/{run['run_id']}/cancel"),
    ):  # fmt: skip
        TypeAdapter(RunAnswer).validate_python(answer)
        assert answer["run_id"] == run["run_id"]


async def test_runs_are_found_by_user_state_and_external_id(world: World) -> None:
    name = fresh("chat")
    runs = [await _run(world, external_id=name, user=user) for user in ("ada", "bob")]
    await world.made(f"/v1/runs/{runs[0]['run_id']}/close")

    async def found(**filters: Any) -> list[str]:
        answer = await world.get("/v1/runs", external_id=name, **filters)
        return [run["run_id"] for run in answer.json()["runs"]]

    assert await found() == [runs[1]["run_id"], runs[0]["run_id"]]
    assert await found(user="ada") == [runs[0]["run_id"]]
    assert await found(state="open") == [runs[1]["run_id"]]
    assert await found(user="ada", state="open") == []


async def test_a_user_cannot_attach_to_the_run_of_another(world: World) -> None:
    thread = {"external_id": fresh("thread"), "attach": True}
    run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "q", "cost_center": "lab", **thread})
    same = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "q", **thread})
    assert (same["run_id"], same["user"]) == (run["run_id"], "q")
    for field, named in (("user", {"user": "evil"}), ("cost_center", {"user": "q", "cost_center": "sales"})):
        answer = await world.post("/v1/runs", {"idempotency_key": fresh(), **named, **thread})
        check_problem(answer, 409, "run_of_another", field)


async def test_runs_can_be_paged_to_the_oldest(world: World) -> None:
    user = fresh("user")
    runs = [(await world.made("/v1/runs", {"idempotency_key": fresh(), "user": user}))["run_id"] for _ in range(5)]
    pages = [await world.get("/v1/runs", user=user, limit=2)]
    while page := pages[-1].json()["runs"]:
        pages.append(await world.get("/v1/runs", user=user, limit=2, after=page[-1]["run_id"]))
    assert [run["run_id"] for page in pages for run in page.json()["runs"]] == runs[::-1]
