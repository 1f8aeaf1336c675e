"""Accounts over HTTP: they are found by user, budget and subject, and given more before any call falls on them."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from tests.api.verbs import budget, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.core.model.subject import Subject
from token_ledger.proof.verify import verify_database
from token_ledger.storage.reads.accounts import Wanted, accounts_query


async def _found(world: World, **filters: Any) -> list[tuple[str, dict[str, str]]]:
    answer = await world.get("/v1/accounts", **filters)
    assert answer.status_code == 200, answer.text
    return [(account["budget"], account["subject"]) for account in answer.json()["accounts"]]


async def test_accounts_are_found_by_user_budget_and_subject(own_world: World) -> None:
    world = own_world
    for name, selector in (
        ("each", {"user": "*"}), ("ada alone", {"user": "ada"}), ("by model", {"model": "*", "user": "*"}), ("all", {}),
    ):  # fmt: skip
        made = await world.made("/v1/budgets", budget(name, selector=selector, limits={"tokens": 10**6}))
    await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada", "limits": {"tokens": 9_000}})
    for user in ("ada", "bob"):
        await world.made("/v1/reservations", reservation(user=user))
    of_ada = {"user": "ada"}
    both = {"model": "gpt-5.4", "user": "ada"}
    assert await _found(world, budget="each") == [("each", of_ada), ("each", {"user": "bob"})]
    assert await _found(world, budget="each", user="ada") == [("each", of_ada)]
    assert await _found(world, user="ada") == [("each", of_ada), ("ada alone", {}), ("by model", both)]
    assert await _found(world, user="ada", limit=1) == [("each", of_ada)]
    assert await _found(world, subject='{"user": "ada"}') == [("each", of_ada)]
    assert await _found(world, subject='{"user":"ada","model":"gpt-5.4"}') == [("by model", both)]
    assert await _found(world, subject="{}") == [("ada alone", {}), ("all", {})]
    assert await _found(world, subject="{}", budget_id=made["budget_id"]) == [("all", {})]
    assert await _found(world, subject="{}", budget_id=made["budget_id"], user="ada") == []
    assert await _found(world, budget="nobody's") == []
    [(name, subject)] = await _found(world, budget="run")
    assert (name, list(subject)) == ("run", ["run"])
    assert await _found(world, subject=json.dumps(subject)) == [("run", subject)]


@pytest.mark.parametrize("subject", ["", "ada", "[]", '{"user": 5}', '{"user": "a\\u200b"}', "{", "null"])
async def test_a_subject_is_a_json_object_of_names(subject: str, world: World) -> None:
    check_problem(await world.get("/v1/accounts", subject=subject), 422, "invalid_request", "subject")


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(user="user-4711"),
        Wanted(subjects=(Subject({"user": "user-4711"}),)),
        Wanted(budget="each", subjects=(Subject({"user": "user-4711"}),)),
        Wanted(budget_id=1, user="user-4711"),
        Wanted(budget_id=1, subjects=(Subject({"user": "user-4711"}),)),
    ],
)
async def test_accounts_are_found_by_an_index(wanted: Wanted, own_world: World) -> None:
    world = own_world
    made = [await world.made("/v1/budgets", budget(name, selector={"user": "*"})) for name in ("each", "other")]
    await world.made("/v1/reservations", reservation(user="user-4711"))
    await world.owner.execute(
        "insert into accounts (tenant_id, account_id, budget_id, budget, subject, window_start, enforcement, counts)"
        " select tenant_id, account_id + 1000 + n, budget_id, budget, json_build_object('user', 'u' || n)::text,"
        " window_start, enforcement, counts from accounts, generate_series(1, 20000) as n where budget_id = $1",
        int(made[0]["budget_id"]),
    )
    await world.owner.execute("vacuum analyze accounts, budgets")
    tenant = world.tenants["acme"]
    subjects = [subject.text for subject in wanted.subjects or ()]
    values = {"tenant": tenant, "after": 0, "limit": 10, "budget": wanted.budget, "user": wanted.user,
              "subjects": subjects, "budget_id": int(made[0]["budget_id"])}  # fmt: skip
    statement = f"explain (analyze, buffers, format json) {accounts_query(wanted)}"
    async with world.service.database.reading(tenant) as connection:
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        root = (await connection.execute(text(statement), used)).scalar_one()[0]["Plan"]
    assert root["Actual Rows"] in (1, 2)
    assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] < 60


def _more(**fields: Any) -> dict[str, Any]:
    return {"idempotency_key": fresh(), "tokens": 5_000, "reason": "a deadline", **fields}


async def test_a_grant_for_a_subject_makes_its_account_if_there_is_none(world: World) -> None:
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(fresh("each"), selector={"user": "*"}, limits={"tokens": 10_000}))
    path = f"/v1/budgets/{made['budget_id']}/grants"
    body = _more(subject={"user": user})
    grant = await world.made(path, body)
    assert (await world.made(path, body)) == {**grant, "replayed": True}
    again = await world.made(path, _more(subject={"user": user}, tokens=2_000))
    assert again["account_id"] == grant["account_id"]
    [account] = (await world.get("/v1/accounts", budget_id=made["budget_id"], user=user)).json()["accounts"]
    assert (account["account_id"], account["balance"]["limit"]["tokens"]) == (grant["account_id"], 17_000)
    large = reservation(user=user, input_tokens=17_001, max_output_tokens=0)
    check_problem(await world.post("/v1/reservations", large), 402, "budget_exceeded")
    held = reservation(user=user, input_tokens=17_000, max_output_tokens=0)
    assert (await world.post("/v1/reservations", held)).status_code == 201
    check_problem(await world.post(path, {**body, "tokens": 4}), 409, "idempotency_conflict")
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_an_account_made_by_a_grant_gets_its_rollover(world: World) -> None:
    user = fresh("user")
    limits = {"tokens": 10_000}
    body = budget(fresh("each"), selector={"user": "*"}, window="hour", limits=limits, rollover={"tokens": 5_000})
    made = await world.made("/v1/budgets", body)
    await world.rows("update budgets set created_at = created_at - interval '2 days' where budget_id = $1",
                     int(made["budget_id"]))  # fmt: skip
    first = fresh("user")
    called, granted = user, first
    await world.made("/v1/reservations", reservation(user=called))
    grant = await world.made(f"/v1/budgets/{made['budget_id']}/grants", _more(subject={"user": granted}, tokens=1))
    accounts = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    limit = {account["subject"]["user"]: account["balance"]["limit"]["tokens"] for account in accounts}
    assert limit[granted] == limit[called] + grant["amounts"]["tokens"]


async def test_a_subject_must_fit_its_budget_and_nothing_is_made_for_what_is_refused(world: World) -> None:
    made = await world.made("/v1/budgets", budget(fresh("each"), selector={"user": "*", "agent_type": "coder"}))
    path = f"/v1/budgets/{made['budget_id']}/grants"
    for subject in ({}, {"user": "ada", "agent_type": "coder"}, {"agent_type": "coder"}, {"run": "5"}):
        problem = check_problem(await world.post(path, _more(subject=subject)), 422, "invalid_request", "subject")
        assert "user" in problem["detail"]
    no_limit = _more(subject={"user": "ada"}, calls=1)
    check_problem(await world.post(path, no_limit), 422, "no_limit", "calls")
    gone = _more(subject={"user": "ada"})
    check_problem(await world.post("/v1/budgets/1/grants", gone), 404, "budget_not_found", "budget_id")
    assert (await world.get("/v1/accounts", budget_id=made["budget_id"])).json() == {"accounts": []}


async def test_a_user_asks_for_more_before_their_first_call_and_for_nobody_else(world: World) -> None:
    ada, eve = fresh("ada"), fresh("eve")
    made = await world.made("/v1/budgets", budget(fresh("each"), selector={"user": "*"}))
    own = await world.made("/v1/budgets", budget(fresh("own"), selector={"user": ada}))
    world.keys["acme", Role.USER] = world.token("acme", user=ada)
    path = f"/v1/budgets/{made['budget_id']}/increases"
    asked = await world.made(path, _more(subject={"user": ada}), role=Role.USER)
    assert (asked["asked_by"], asked["state"]) == (ada, "asked")
    await world.made(f"/v1/budgets/{own['budget_id']}/increases", _more(subject={}), role=Role.USER)
    approved = await world.made(f"/v1/increases/{asked['increase_id']}/approve", {"idempotency_key": fresh()})
    [account] = (await world.get("/v1/accounts", subject=json.dumps({"user": ada}))).json()["accounts"]
    assert account["account_id"] == approved["account_id"]
    world.keys["acme", Role.USER] = world.token("acme", user=eve)
    for refused, subject in ((made, {"user": ada}), (own, {})):
        answer = await world.post(f"/v1/budgets/{refused['budget_id']}/increases", _more(subject=subject),
                                  role=Role.USER)  # fmt: skip
        check_problem(answer, 404, "not_found", "budget_id")
    run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": ada})
    world.keys["acme", Role.USER] = world.token("acme", run_id=int(run["run_id"]))
    check_problem(await world.post(path, _more(subject={"user": ada}), role=Role.USER), 404, "not_found")
