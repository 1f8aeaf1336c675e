"""Budgets over HTTP: what selectors choose, overrides, calls without a cost center, and null that removes."""

from typing import Any

import httpx2
import pytest

from tests.api.verbs import budget, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.proof.verify import verify_database


async def patch(world: World, path: str, **fields: Any) -> httpx2.Response:
    return await world.client.patch(path, json={"idempotency_key": fresh(), **fields}, headers=world.headers())


async def changed(world: World, made: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await patch(world, f"/v1/budgets/{made['budget_id']}", **fields)
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


async def call(world: World, tokens: int, **fields: Any) -> int:
    """Reserve a call and, if it is admitted, settle all of it; return the status of the reserve."""
    answer = await world.post("/v1/reservations", reservation(input_tokens=tokens, max_output_tokens=0, **fields))
    if answer.status_code == 201:
        used = {"usage": {"input_tokens": tokens, "output_tokens": 0}}
        await world.made(f"/v1/reservations/{answer.json()['reservation_id']}/settle", used)
    return answer.status_code


async def accounts(world: World, made: dict[str, Any]) -> dict[str, int]:
    """Return what is settled, in tokens, by subject."""
    found = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    return {str(each["subject"]): each["balance"]["settled"]["tokens"] for each in found}


@pytest.mark.parametrize(
    ("selector", "means", "chosen", "other", "subjects"),
    [
        ({"user": ["{}b", "{}a"]}, {"user": ["{}a", "{}b"]}, ["{}a", "{}b"], "{}c", 1),
        ({"user": ["{}a"]}, {"user": "{}a"}, ["{}a"], "{}b", 1),
        ({"user": "{}a-*"}, {"user": "{}a-*"}, ["{}a-1", "{}a-2"], "{}b", 1),
        ({"user": "{}a-*", "provider": "openai"}, None, ["{}a-1"], "{}b", 1),
        ({"user": "{}a-*", "provider": "*"}, None, ["{}a-1"], "{}b", 1),
        ({"user": "{}a-*", "provider": "anthropic"}, None, [], "{}a-1", 0),
    ],
)
async def test_a_selector_chooses_what_it_says(
    selector: dict[str, Any], means: Any, chosen: list[str], other: str, subjects: int, world: World
) -> None:
    prefix = fresh("u")

    def named(value: Any) -> Any:
        return [each.format(prefix) for each in value] if isinstance(value, list) else value.format(prefix)

    given = {dimension: named(value) for dimension, value in selector.items()}
    made = await world.made("/v1/budgets", budget(fresh("b"), selector=given, limits={"tokens": 100}))
    assert made["selector"] == ({name: named(value) for name, value in means.items()} if means else given)
    for user in chosen:
        assert await call(world, 40, user=named(user)) == 201
        assert await call(world, 101, user=named(user)) == 402
    assert await call(world, 101, user=named(other)) == 201
    assert list((await accounts(world, made)).values()) == [40 * len(chosen)] * subjects


@pytest.mark.parametrize("value", ["**", "*@corp.com", " *", "a*b", "*a*"])
async def test_a_star_that_means_nothing_is_refused(value: str, world: World) -> None:
    refused = await world.post("/v1/budgets", budget(fresh("b"), selector={"user": value}))
    detail = check_problem(refused, 422, "invalid_request", "selector")["detail"]
    assert repr(value) in detail
    assert "a prefix such as" in detail


async def test_a_budget_for_everybody_has_other_limits_for_some(own_world: World) -> None:
    world = own_world
    overrides = [
        {"subject": {"user": "bob"}, "limits": None}, {"subject": {"user": "ada"}, "limits": {"tokens": 100_000}},
    ]  # fmt: skip
    made = await world.made(
        "/v1/budgets", budget("user day", selector={"user": "*"}, limits={"tokens": 50_000}, overrides=overrides)
    )
    shown = [(each["subject"]["user"], each["limits"]) for each in made["overrides"]]
    assert shown == [("ada", {"tokens": 100_000, "cost": None, "calls": None}), ("bob", None)]
    assert made in (await world.get("/v1/budgets")).json()["budgets"]
    for user, first, second in (("ada", 201, 402), ("bob", 201, 201), ("eve", 402, 402)):
        assert await call(world, 100_000, user=user) == first
        assert await call(world, 1, user=user) == second if user != "eve" else 201
    assert (await changed(world, made, overrides=[]))["overrides"] == []
    assert await call(world, 1, user="bob") == 402
    assert (await changed(world, made, overrides=overrides[:1]))["overrides"] == [overrides[0]]
    assert await call(world, 10**6, user="bob") == 201
    assert (await verify_database(world.url)).clean


@pytest.mark.parametrize(("unassigned", "second"), [("shared", 402), ("per_user", 201)])
async def test_users_without_a_cost_center_share_an_account_or_have_their_own(
    unassigned: str, second: int, own_world: World
) -> None:
    world = own_world
    made = await world.made(
        "/v1/budgets",
        budget("center", selector={"cost_center": "*"}, limits={"tokens": 1_000}, unassigned=unassigned),
    )
    assert made["unassigned"] == unassigned
    assert await call(world, 900, user="ada") == 201
    assert await call(world, 900, user="bob") == second
    assert await call(world, 900, user="bob") == 402
    assert await call(world, 900, user="ada", cost_center="lab") == 201
    per_user = {"{'cost_center': 'unassigned', 'user': 'ada'}", "{'cost_center': 'unassigned', 'user': 'bob'}"}
    wanted = per_user if unassigned == "per_user" else {"{'cost_center': 'unassigned'}"}
    assert set(await accounts(world, made)) == {"{'cost_center': 'lab'}", *wanted}
    assert (await verify_database(world.url)).clean


async def test_the_longest_names_fit_every_budget_that_is_made(own_world: World) -> None:
    world = own_world
    worst = '"' * 100 + "\\" * 100
    selector = dict.fromkeys(("user", "agent_type", "request_type", "tool"), "*")
    made = await world.made("/v1/budgets", budget("widest", selector=selector, limits={"tokens": 5_000}, window="run"))
    run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": worst})
    names = {"agent_type": worst, "request_type": worst, "tool": worst}
    assert await call(world, 10, run_id=run["run_id"], user=None, **names) == 201
    assert list((await accounts(world, made)).values()) == [10]
    wider = budget("wider", selector={**selector, "cost_center": "*"})
    problem = check_problem(await world.post("/v1/budgets", wider), 422, "invalid_request", "selector")
    assert "at most 4 of these can be open" in str(problem)


async def test_null_takes_a_limit_away_and_spent_units_stay(own_world: World) -> None:
    world = own_world
    made = await world.made("/v1/budgets", budget("cap", selector={}, limits={"tokens": 5_000, "cost": "0.01"}))
    assert await call(world, 3_000) == 201
    assert await call(world, 1_500) == 402
    assert (await changed(world, made, limits={"cost": None}))["limits"]["cost"] is None
    assert await call(world, 1_500) == 201
    assert await call(world, 501) == 402
    assert await accounts(world, made) == {"{}": 4_500}
    assert (await changed(world, made, limits={"cost": "0.001"}))["limits"] == {
        "tokens": 5_000, "cost": "0.001000000", "calls": None,
    }  # fmt: skip
    assert await call(world, 1) == 402
    for fields in ({"limits": None}, {"limits": {"tokens": None, "cost": None}}):
        refused = await patch(world, f"/v1/budgets/{made['budget_id']}", **fields)
        assert "archive" in str(check_problem(refused, 422, "invalid_request", "limits"))
    assert (await verify_database(world.url)).clean


async def test_null_gives_every_field_what_a_budget_has_without_it(world: World) -> None:
    fields = {
        "selector": {"cost_center": "*"}, "window": "day", "limits": {"calls": 9, "tokens": 5}, "enforcement": "soft",
        "thresholds": [7], "rollover": {"calls": 1, "tokens": 2}, "unassigned": "per_user",
        "overrides": [{"subject": {"cost_center": "lab"}, "limits": None}],
    }  # fmt: skip
    made = await world.made("/v1/budgets", budget(fresh("b"), **fields))
    nothing = await changed(world, made)
    assert nothing == made
    assert (await changed(world, made, rollover={"tokens": None}))["rollover"] == {
        "tokens": None, "cost": None, "calls": 1,
    }  # fmt: skip
    last = await changed(
        world, made, limits={"tokens": None}, **dict.fromkeys(
            ("enforcement", "thresholds", "rollover", "unassigned", "overrides")
        ),
    )  # fmt: skip
    plain = await world.made(
        "/v1/budgets", budget(fresh("b"), selector={"cost_center": "*"}, window="day", limits={"calls": 9})
    )
    assert {**last, "budget_id": "", "name": ""} == {**plain, "budget_id": "", "name": ""}


async def test_a_change_with_null_and_one_without_are_two_requests(world: World) -> None:
    made = await world.made("/v1/budgets", budget(fresh("b"), limits={"calls": 9, "tokens": 5}))
    key, path = fresh(), f"/v1/budgets/{made['budget_id']}"
    assert (await patch(world, path, idempotency_key=key, limits={"tokens": None})).status_code == 200
    assert (await patch(world, path, idempotency_key=key, limits={"tokens": None})).json()["replayed"] is True
    check_problem(await patch(world, path, idempotency_key=key, limits={}), 409, "idempotency_conflict")


async def test_a_run_loses_its_limits_with_null(world: World) -> None:
    run = await world.made(
        "/v1/runs", {"idempotency_key": fresh(), "user": fresh("u"), "limits": {"tokens": 100}, "iterations": 1}
    )
    path = f"/v1/runs/{run['run_id']}"
    assert await call(world, 500, run_id=run["run_id"], user=None) == 402
    answer = await patch(world, path, reason="open end", limits={"tokens": None}, iterations=None)
    assert answer.status_code == 200, answer.text
    assert await call(world, 500, run_id=run["run_id"], user=None) == 201
    for label in ("one", "two"):
        await world.made(f"{path}/steps", {"idempotency_key": fresh(), "label": label})
    check_problem(await patch(world, path, reason="nothing"), 422, "invalid_request", "limits")


async def test_a_user_sees_a_budget_that_lists_nobody_else(world: World) -> None:
    user = fresh("u")
    made = await world.made("/v1/budgets", budget(fresh("b"), selector={"user": [user]}))
    shared = await world.made("/v1/budgets", budget(fresh("b"), selector={"user": [user, fresh("u")]}))
    prefix = await world.made("/v1/budgets", budget(fresh("b"), selector={"user": f"{user}*"}))
    assert await call(world, 10, user=user) == 201
    answer = await world.client.get("/v1/me", headers={"Authorization": f"Bearer {world.token('acme', user=user)}"})
    assert answer.status_code == 200, answer.text
    seen = str(answer.json())
    assert [made["name"] in seen, shared["name"] in seen, prefix["name"] in seen] == [True, False, False]


async def test_thresholds_that_an_account_no_longer_has_are_withdrawn(world: World) -> None:
    user = fresh("u")
    made = await world.made("/v1/budgets", budget(user, limits={"tokens": 1_000}, thresholds=[10, 50]))
    assert await call(world, 300, user=user) == 201
    await changed(world, made, thresholds=[20, 50])
    assert await call(world, 1, user=user) == 201
    [account] = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    assert account["thresholds"] == [20, 50]
    events = (await world.get(f"/v1/accounts/{account['account_id']}")).json()["threshold_events"]
    assert [(each["percent"], each["fired"], each["withdrawn"]) for each in events] == [
        (10, True, False), (10, False, True), (20, True, False),
    ]  # fmt: skip
