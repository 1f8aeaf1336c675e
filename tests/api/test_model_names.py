"""A model has one name in the books, whatever callers call it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.proof.verify import verify_database

NAMES = (
    {"model": "GPT-5.4"},
    {"model": "gpt-5.4-2026-03-05"},
    {"model": "openai/gpt-5.4"},
    {"model": "openai/gpt-5.4", "provider": "openrouter"},
    {"model": "gpt-5.4", "provider": "azure.ai.openai"},
    {"model": " gpt-5.4 "},
)


async def test_no_name_of_a_model_evades_its_budget(world: World) -> None:
    user = fresh("user")
    terms = {"selector": {"model": "gpt-5.4", "user": user}, "limits": {"cost": "0.02"}, "window": "day"}
    await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": user, **terms})
    for _ in range(2):
        await world.made("/v1/reservations", reservation(user=user))
    for names in ({}, *NAMES):
        check_problem(await world.post("/v1/reservations", reservation(user=user, **names)), 402, "budget_exceeded")


async def test_what_was_asked_for_stays_on_the_hold_and_the_books_have_one_name(world: World) -> None:
    user = fresh("user")
    held = await world.made("/v1/reservations", reservation(user=user, model="GPT-5.4"))
    assert (held["model"], held["directive"]["model"]) == ("GPT-5.4", "GPT-5.4")
    assert held["booked_model"] == {"provider": "openai", "model": "gpt-5.4"}
    used = {"usage": {"input_tokens": 10, "output_tokens": 5}, "model": "gpt-5.4-2026-03-05"}
    await world.made(f"/v1/reservations/{held['reservation_id']}/settle", used)
    [row] = await world.rows("select * from usage_events where user_id = $1", user)
    assert (row["model"], row["requested_model"], row["served_model"]) == ("gpt-5.4", "GPT-5.4", "gpt-5.4-2026-03-05")


async def test_one_account_and_one_line_of_a_report_for_all_names(world: World) -> None:
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    terms = {"selector": {"model": "*"}, "limits": {"tokens": 10**9}, "window": "total"}
    made = await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": "each", **terms}, tenant=tenant)
    unknown = ({"model": "Foo-1", "provider": "Nobody"}, {"model": "foo-1", "provider": "nobody"})
    events = [event(**names) for names in (*NAMES, *unknown)]
    answer = await world.made("/v1/events", {"events": events}, tenant=tenant)
    assert [each["status"] for each in answer["results"]] == ["booked"] * len(events)
    accounts = (await world.get("/v1/accounts", tenant=tenant, budget_id=made["budget_id"])).json()["accounts"]
    assert {a["subject"]["model"]: a["balance"]["settled"]["calls"] for a in accounts} == {"gpt-5.4": 6, "foo-1": 2}
    span: dict[str, Any] = {"from": (datetime.now(UTC) - timedelta(days=2)).isoformat()}
    report = (await world.get("/v1/reports/spend", tenant=tenant, group_by="model", **span)).json()
    assert {row["by"]["model"]: row["calls"] for row in report["rows"]} == {"gpt-5.4": 6, "foo-1": 2}
    assert (await verify_database(world.url, tenant)).clean


SELECTORS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"model": "GPT-5.4"}, {"model": "gpt-5.4"}),
    ({"model": "gpt-5.4-2026-03-05"}, {"model": "gpt-5.4"}),
    ({"model": "openai/gpt-5.4", "provider": "OpenAI"}, {"model": "gpt-5.4", "provider": "openai"}),
    ({"model": ["GPT-5.4", "openai/gpt-5.4"]}, {"model": "gpt-5.4"}),
    ({"model": ["GPT-5.4-mini", "gpt-5.4"]}, {"model": ["gpt-5.4", "gpt-5.4-mini"]}),
    ({"model": "Made-Up"}, {"model": "made-up"}),
)


@pytest.mark.parametrize(("given", "booked"), SELECTORS)
async def test_a_budget_made_with_another_name_says_what_it_is_in_the_books(
    given: dict[str, Any], booked: dict[str, Any], world: World
) -> None:
    name = fresh("budget")
    terms = {"selector": {**given, "user": name}, "limits": {"calls": 0}, "window": "day"}
    made = await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": name, **terms})
    assert made["selector"] == {**booked, "user": name}
    assert made["named"] == {dimension: value for dimension, value in given.items() if booked[dimension] != value}
    if "Made-Up" not in str(given):
        check_problem(await world.post("/v1/reservations", reservation(user=name)), 402, "budget_exceeded")


async def test_a_grant_and_an_increase_for_another_name_of_a_model_are_for_its_account(world: World) -> None:
    selector = {"model": "*", "provider": "*", "user": fresh("user")}
    terms = {"selector": selector, "limits": {"tokens": 1_000}, "window": "total"}
    made = await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": fresh("budget"), **terms})
    path = f"/v1/budgets/{made['budget_id']}"
    more: dict[str, Any] = {"tokens": 500, "reason": "a deadline"}
    for names in ({"model": "GPT-5.4", "provider": "OpenAI"}, {"model": "gpt-5.4-2026-03-05", "provider": "openai"}):
        await world.made(f"{path}/grants", {**more, "subject": names, "idempotency_key": fresh()})
        asked = await world.made(f"{path}/increases", {**more, "subject": names, "idempotency_key": fresh()})
        await world.made(f"/v1/increases/{asked['increase_id']}/approve", {"idempotency_key": fresh()})
    [account] = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    assert account["subject"] == {"model": "gpt-5.4", "provider": "openai"}
    assert account["balance"]["limit"]["tokens"] == 3_000


async def test_accounts_are_found_by_every_name_of_their_model_and_of_those_it_had(world: World) -> None:
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    for name, selector in {
        "both": {"model": "*", "provider": "*"}, "model": {"model": "*"}, "open": {"model": "*", "provider": "openai"},
        "provider": {"provider": "*"}, "tag": {"tag.te\u0301am": "*", "model": "*"},
    }.items():  # fmt: skip
        terms = {"selector": selector, "limits": {"tokens": 10_000}, "window": "day"}
        await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": name, **terms}, tenant=tenant)

    async def found(**subject: str) -> set[tuple[str, str]]:
        answer = await world.get("/v1/accounts", tenant=tenant, subject=json.dumps(subject))
        assert answer.status_code == 200, answer.text
        return {(each["budget"], "/".join(each["subject"].values())) for each in answer.json()["accounts"]}

    await world.made("/v1/reservations", reservation(tags={"t\u00e9am": "core"}), tenant=tenant)
    for names in ({"model": "gpt-5.4"}, *NAMES):
        both = {"provider": "openai", **names}
        if "provider" not in names:  # others that offer the model are providers of their own
            assert await found(**both) == {("both", "gpt-5.4/openai")}, names
        assert await found(model=both["model"]) == {("model", "gpt-5.4"), ("open", "gpt-5.4")}, names
    assert await found(provider="OpenAI") == {("provider", "openai")}
    assert await found(**{"model": "GPT-5.4", "tag.te\u0301am": "core"}) == {("tag", "gpt-5.4/core")}
    assert await found(model="gpt-5.4-mini") == set()
    old, new = ({"provider": "openai", "model": model} for model in ("gpt-5.4", "gpt-5.4-mini"))
    renaming = {"idempotency_key": fresh(), "asked": old, "becomes": new, "reason": "one model"}
    await world.made("/v1/model-names", renaming, tenant=tenant)
    before_and_now = {(budget, model) for budget in ("model", "open") for model in ("gpt-5.4", "gpt-5.4-mini")}
    assert await found(model="gpt-5.4") == before_and_now
    assert await found(model="GPT-5.4-mini") == {(budget, "gpt-5.4-mini") for budget in ("model", "open")}


async def test_an_override_for_another_name_of_a_model_is_for_the_model(world: World) -> None:
    user = fresh("user")
    none = {"calls": 0}
    terms = {"selector": {"model": "*", "user": user}, "limits": {"calls": 9}, "window": "day"}
    override = {"subject": {"model": "gpt-5.4-2026-03-05"}, "limits": none}
    body = {"idempotency_key": fresh(), "name": user, **terms}
    made = await world.made("/v1/budgets", {**body, "overrides": [override]})
    assert made["overrides"][0]["subject"] == {"model": "gpt-5.4"}
    check_problem(await world.post("/v1/reservations", reservation(user=user)), 402, "budget_exceeded")
    await world.made("/v1/reservations", reservation(user=user, model="gpt-5.4-mini"))
    mini = {"subject": {"model": "GPT-5.4-mini"}, "limits": none}
    path = f"/v1/budgets/{made['budget_id']}"
    changed = await world.made(path, {"idempotency_key": fresh(), "overrides": [mini]}, method="PATCH")
    assert changed["overrides"][0]["subject"] == {"model": "gpt-5.4-mini"}
    refused = reservation(user=user, model="gpt-5.4-mini")
    check_problem(await world.post("/v1/reservations", refused), 402, "budget_exceeded")
    await world.made("/v1/reservations", reservation(user=user))
    twice = {"idempotency_key": fresh(), "overrides": [mini, {**mini, "subject": {"model": "gpt-5.4-mini"}}]}
    check_problem(await world.post(path, twice, method="PATCH"), 422, "invalid_request", "overrides")


@pytest.mark.parametrize("prefix", ["gpt-5*", "GPT-5*"])
async def test_a_prefix_of_a_model_is_read_in_any_case(prefix: str, world: World) -> None:
    name = fresh("budget")
    terms = {"selector": {"model": prefix, "user": name}, "limits": {"calls": 0}, "window": "day"}
    await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": name, **terms})
    check_problem(await world.post("/v1/reservations", reservation(user=name)), 402, "budget_exceeded")
