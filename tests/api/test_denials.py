"""A denial is 402 and says which account refused, its figures, when its window ends, and what would fit."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.api.verbs import MODEL, budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.wire.answers.denial_problem import RefusalAnswer

REFUSALS = TypeAdapter(list[RefusalAnswer])


async def _denied(world: World, **fields: Any) -> dict[str, Any]:
    problem = check_problem(await world.post("/v1/reservations", reservation(**fields)), 402, "budget_exceeded")
    REFUSALS.validate_python(problem["refusals"])
    return problem


async def test_a_denial_names_the_account_and_all_its_figures(world: World) -> None:
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(user, selector={"user": "*"}, limits={"tokens": 4_000}, window="day"))
    await world.made("/v1/events", {"events": [event(user=user)]})
    await world.made("/v1/reservations", reservation(user=user))
    problem = await _denied(world, user=user, max_output_tokens=1_000)
    accounts = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    [account] = [account for account in accounts if account["subject"] == {"user": user}]
    [refusal] = problem["refusals"]
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert refusal == {
        "account_id": account["account_id"],
        "budget": user,
        "enforcement": "hard",
        "subject": {"user": user},
        "unit": "tokens",
        "limit": 4_000,
        "settled": 1_500,
        "held": 1_500,
        "available": 1_000,
        "requested": 2_000,
        "window_start": account["window_start"],
        "window_end": account["window_end"],
    }
    assert datetime.fromisoformat(refusal["window_end"]) - today in (timedelta(days=0), timedelta(days=1))
    assert datetime.fromisoformat(refusal["window_end"]) - datetime.fromisoformat(refusal["window_start"]) == timedelta(
        days=1
    )
    assert problem["directive"] == {"stop": True}
    assert problem["replayed"] is False
    assert int(problem["denial_id"]) > 0
    assert user in problem["detail"]
    assert problem["fits"] is None  # 1,000 are left and the input alone takes them
    await _archive(world, made)


async def _archive(world: World, made: dict[str, Any]) -> None:
    """Archive a budget that selects every user, so that it does not affect other tests."""
    assert (await world.delete(f"/v1/budgets/{made['budget_id']}")).status_code == 200


UNITS: tuple[tuple[str, dict[str, Any], Any, Any, Any], ...] = (
    ("tokens", {"tokens": 1_499}, 1_499, 1_500, 499),
    ("cost", {"cost": "0.009999999"}, "0.009999999", "0.010000000", 499),
    ("calls", {"calls": 0}, 0, 1, None),
    ("tokens", {"tokens": 0, "cost": "0", "calls": 0}, 0, 1_500, None),
    ("cost", {"tokens": 1_500, "cost": "0.0075"}, "0.007500000", "0.010000000", 333),
    ("tokens", {"tokens": 1_200, "cost": "0.0075"}, 1_200, 1_500, 200),
)


@pytest.mark.parametrize(("unit", "limits", "limit", "requested", "fits"), UNITS)
async def test_a_denial_in_each_unit_has_its_figures_and_says_what_fits(
    unit: str, limits: dict[str, Any], limit: Any, requested: Any, fits: int | None, world: World
) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits=limits))
    problem = await _denied(world, user=user)
    [refusal] = problem["refusals"]
    figures = [refusal[name] for name in ("unit", "limit", "available", "requested")]
    assert figures == [unit, limit, limit, requested]
    assert problem["fits"] == (None if fits is None else {"max_output_tokens": fits})
    assert refusal["window_end"] is None


async def test_a_denial_names_every_account_that_refused_and_changes_none(world: World) -> None:
    user = fresh("user")
    roomy = await world.made("/v1/budgets", budget(user, limits={"tokens": 10_000}))
    for name, limits in (("tight", {"tokens": 100}), ("poor", {"cost": "0.001"}), ("rare", {"calls": 0})):
        await world.made("/v1/budgets", budget(f"{name} {user}", selector={"user": user}, limits=limits))
    problem = await _denied(world, user=user)
    assert [(refusal["budget"].split()[0], refusal["unit"]) for refusal in problem["refusals"]] == [
        ("tight", "tokens"),
        ("poor", "cost"),
        ("rare", "calls"),
    ]
    accounts = (await world.get("/v1/accounts", budget_id=roomy["budget_id"])).json()["accounts"]
    assert [account["balance"]["held"]["tokens"] for account in accounts] == [0]


FITS: tuple[tuple[dict[str, Any], dict[str, Any], dict[str, Any]], ...] = (
    ({"tokens": 5_000}, {}, {}),
    ({"tokens": 5_000}, {"cached_input_tokens": 600}, {}),
    ({"tokens": 5_000}, {"cached_input_tokens": 600}, {"counts": "uncached"}),
    ({"tokens": 2_502}, {}, {}),
    ({"cost": "0.05"}, {}, {}),
    ({"cost": "0.05"}, {"cached_input_tokens": 700}, {}),
    ({"cost": "0.012345678", "tokens": 100_000}, {}, {}),
    ({"cost": "0.02", "tokens": 3_000, "calls": 3}, {}, {}),
    ({"cost": "0.05"}, {"provider": "anthropic", "model": "claude-sonnet-4-6"}, {}),
)


@pytest.mark.parametrize(("limits", "fields", "more"), FITS)
async def test_what_fits_is_granted_and_one_more_token_is_not(
    limits: dict[str, Any], fields: dict[str, Any], more: dict[str, Any], world: World
) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits=limits, **more))
    held = reservation(user=user, input_tokens=900, max_output_tokens=100, **MODEL)
    await world.post("/v1/reservations", held)  # something is held already, where it fits
    body = {"user": user, "max_output_tokens": 1_000_000, **fields}
    fits = (await _denied(world, **body))["fits"]["max_output_tokens"]
    await _denied(world, **{**body, "max_output_tokens": fits + 1})
    granted = await world.made("/v1/reservations", reservation(**{**body, "max_output_tokens": fits}))
    assert granted["directive"]["max_output_tokens"] == fits


@pytest.mark.parametrize("tokens", range(1_001, 1_006))
@pytest.mark.parametrize("cached", [0, 333])
async def test_a_limit_equal_to_the_cost_of_a_call_admits_it_however_the_cost_is_rounded(
    tokens: int, cached: int, world: World
) -> None:
    """Output of this model costs 343.2 nano-dollars a token, so its costs are rounded up, down and not at all."""
    call = {"provider": "deepseek", "model": "deepseek-v3.2", "cached_input_tokens": cached}
    held = await world.made("/v1/reservations", reservation(**call, max_output_tokens=tokens))
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"cost": held["held"]["cost"]}))
    problem = await _denied(world, user=user, **call, max_output_tokens=2 * tokens)
    assert problem["fits"] == {"max_output_tokens": tokens}
    await _denied(world, user=user, **call, max_output_tokens=tokens + 1)
    await world.made("/v1/reservations", reservation(user=user, **call, max_output_tokens=tokens))


async def test_what_fits_is_the_minimum_over_all_accounts(world: World) -> None:
    user = fresh("user")
    for tokens in (9_000, 5_000, 7_000):
        await world.made("/v1/budgets", budget(f"{user} {tokens}", selector={"user": user}, limits={"tokens": tokens}))
    soft = budget(f"{user} soft", selector={"user": user}, limits={"tokens": 2_000}, enforcement="soft")
    await world.made("/v1/budgets", soft)
    assert (await _denied(world, user=user, max_output_tokens=20_000))["fits"] == {"max_output_tokens": 4_000}


async def test_a_run_and_its_allocation_are_named_in_a_denial(world: World) -> None:
    run = await world.made(
        "/v1/runs",
        {
            "idempotency_key": fresh(), "user": "ada", "limits": {"tokens": 2_000},
            "allocation": [{"agent_type": "data_agent", "weight": 1}, {"agent_type": "chart_agent", "weight": 3}],
        },
    )  # fmt: skip
    in_run = {"user": None, "run_id": run["run_id"]}
    problem = await _denied(world, **in_run, input_tokens=501, max_output_tokens=0)
    assert [(r["budget"], r["limit"]) for r in problem["refusals"]] == [("allocation", 500)]
    assert problem["refusals"][0]["subject"] == {"agent_type": "data_agent", "run": run["run_id"]}
    problem = await _denied(world, **in_run, input_tokens=2_001, max_output_tokens=0)
    assert [(r["budget"], r["limit"]) for r in problem["refusals"]] == [("run", 2_000), ("allocation", 500)]
    await world.made("/v1/reservations", reservation(**in_run, input_tokens=500, max_output_tokens=0))


async def test_a_strict_run_denies_agent_types_without_a_share(world: World) -> None:
    run = await world.made(
        "/v1/runs",
        {
            "idempotency_key": fresh(), "user": "ada", "strict": True, "limits": {"tokens": 5_000},
            "allocation": [{"agent_type": "chart_agent", "weight": 1}],
        },
    )  # fmt: skip
    body = reservation(user=None, run_id=run["run_id"])
    problem = check_problem(await world.post("/v1/reservations", body), 402, "not_allocated")
    assert (problem["refusals"], problem["fits"], problem["directive"]) == ([], None, {"stop": True})
    await world.made("/v1/reservations", {**body, "idempotency_key": fresh(), "agent_type": "chart_agent"})


async def test_an_unknown_model_is_refused_not_free(world: World) -> None:
    before = await world.state()
    for fields in ({"model": "gpt-99"}, {"provider": "nobody"}, {"model": "gpt-5.4-"}):
        check_problem(await world.post("/v1/reservations", reservation(**fields)), 422, "unknown_model", "model")
    assert await world.state() == before


@pytest.mark.parametrize("enforcement", ["soft", "shadow"])
async def test_a_soft_or_shadow_budget_grants_and_is_counted(enforcement: str, world: World) -> None:
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(user, limits={"tokens": 1_000}, enforcement=enforcement))
    labels = {"tenant": "acme", "budget": user, "unit": "tokens", "enforcement": enforcement}
    for times in (1, 2):
        granted = await world.made("/v1/reservations", reservation(user=user))
        [warning] = granted["warnings"]
        REFUSALS.validate_python([warning])
        assert (warning["budget"], warning["enforcement"], warning["requested"]) == (user, enforcement, 1_500)
        assert warning["available"] == 1_000 - 1_500 * (times - 1)
        assert world.service.registry.get_sample_value("token_ledger_denials_total", labels) == times
        [row] = [r for r in (await world.get("/v1/reports/denials")).json()["rows"] if r["budget"] == user]
        assert (row["enforcement"], row["unit"], row["denials"]) == (enforcement, "tokens", times)
    shown = await world.get(f"/v1/reservations/{granted['reservation_id']}")
    assert shown.json() == granted
    [account] = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    assert account["balance"]["held"] == {"tokens": 3_000, "cost": "0.020000000", "calls": 2}
    assert account["balance"]["available"]["tokens"] == -2_000


async def test_hard_denials_are_reported_and_counted(world: World) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"cost": "0.001"}))
    for _ in range(3):
        await _denied(world, user=user)
    labels = {"tenant": "acme", "budget": user, "unit": "cost", "enforcement": "hard"}
    assert world.service.registry.get_sample_value("token_ledger_denials_total", labels) == 3
    [row] = [r for r in (await world.get("/v1/reports/denials")).json()["rows"] if r["budget"] == user]
    assert (row["denials"], row["unit"], row["subject"]) == (3, "cost", {})


async def test_a_denied_call_leaves_room_for_one_that_fits(world: World) -> None:
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(user, limits={"tokens": 3_000}))
    await world.made("/v1/reservations", reservation(user=user))
    await _denied(world, user=user, max_output_tokens=501)
    await world.made("/v1/reservations", reservation(user=user))
    [account] = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    assert account["balance"]["available"] == {"tokens": 0, "cost": None, "calls": None}
    assert Decimal(account["balance"]["held"]["cost"]) == Decimal("0.02")
