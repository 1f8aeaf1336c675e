"""The demo's own arithmetic: costs without the ledger, limits tight enough, and a wrong cent that is told."""

import io
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from token_ledger_sdk import Usage

AT = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "cost"),
    [
        # Dollars per million tokens, as published for that day: opus-4-8 5 in, 25 out, 0.5 read, 6.25 and 10 written.
        pytest.param("anthropic", "claude-opus-4-8", Usage(1_000, 100), "0.0075", id="input and output"),
        pytest.param("anthropic", "claude-opus-4-8", Usage(1_000, 0, 900), "0.00095", id="cache read"),
        pytest.param("anthropic", "claude-opus-4-8", Usage(1_000, 0, 0, 400, 600), "0.0085", id="both cache writes"),
        # gpt-5.5: 5 in, 30 out; twice the input and one and a half times the output above 272,000 input tokens.
        pytest.param("openai", "gpt-5.5", Usage(272_000, 1_000, 0, 0, 0, 400), "1.39", id="at the tier"),
        pytest.param("openai", "gpt-5.5", Usage(272_001, 1_000, 0, 0, 0, 400), "2.76501", id="above the tier"),
        pytest.param("openai-codex", "gpt-5.5", Usage(1_000, 0), "0.005", id="another name of a provider"),
        pytest.param("openai", "gpt-5.5", Usage(0, 0), "0", id="nothing"),
    ],
)
def test_a_call_costs_what_the_price_list_says(
    pricing: ModuleType, provider: str, model: str, usage: Usage, cost: str
) -> None:
    assert pricing.independent_cost(provider, model, usage, AT) == Decimal(cost)


def test_a_model_without_a_price_has_no_cost(pricing: ModuleType) -> None:
    with pytest.raises(LookupError):
        pricing.independent_cost("openai", "no-such-model", Usage(1, 1), AT)


def test_the_busiest_user_and_the_dearest_cost_center_do_not_fit(
    traffic: ModuleType, policy: ModuleType, pricing: ModuleType
) -> None:
    sessions = traffic.read_sessions(traffic.SAMPLE, 300)
    budgets = {budget["name"]: budget for budget in policy.budgets_for(sessions, AT)}
    taken: dict[str, int] = {}
    cost: dict[str, Decimal] = {}
    for session in sessions:
        for call in session.calls:
            taken[session.user] = taken.get(session.user, 0) + call.uncached_tokens
            spent = pricing.independent_cost(call.provider, call.model, call.usage, AT)
            cost[session.cost_center] = cost.get(session.cost_center, Decimal(0)) + spent
    assert budgets["user-day"]["limits"]["tokens"] < max(taken.values())
    assert Decimal(budgets["cost-center-month"]["limits"]["cost"]) < max(cost.values())
    assert [budget.get("enforcement", "hard") for budget in budgets.values()] == ["hard", "hard", "soft", "shadow"]


def test_the_ladder_leads_to_cheaper_models_of_the_sample(
    traffic: ModuleType, policy: ModuleType, pricing: ModuleType
) -> None:
    used = {(call.provider, call.model) for session in traffic.read_sessions(traffic.SAMPLE) for call in session.calls}
    usage = Usage(10_000, 1_000, 5_000)
    for provider, model, to_model, _, _ in policy.LADDER:
        assert {(provider, model), (provider, to_model)} <= used
        there = pricing.independent_cost(provider, to_model, usage, AT)
        assert there < pricing.independent_cost(provider, model, usage, AT)


@pytest.fixture
def booked(replay: ModuleType, traffic: ModuleType) -> Any:
    call = traffic.RealCall("s", 0, "codex", "data_agent", "openai", "gpt-5.5", Usage(1_000, 0), 0)
    return lambda cost: replay.Booked(call, "openai", "gpt-5.5", Decimal(cost), False, False, AT)


@pytest.mark.parametrize(
    ("costs", "reported", "calls", "is_equal"),
    [
        pytest.param(["0.005", "0.005"], "0.010000000", 2, True, id="all equal"),
        pytest.param(["0.005", "0.005"], "0.010000001", 2, False, id="a report with a nano-dollar too much"),
        pytest.param(["0.005", "0.005"], "0.009999999", 2, False, id="a report with a nano-dollar too little"),
        pytest.param(["0.005", "0.005"], "0.010000000", 3, False, id="a report with a call too many"),
        pytest.param(["0.004", "0.006"], "0.010000000", 2, False, id="two errors that cancel out"),
    ],
)
def test_costs_that_differ_are_told(
    report: ModuleType, booked: Any, costs: list[str], reported: str, calls: int, is_equal: bool
) -> None:
    console = Console(file=io.StringIO(), width=400)
    right = {"cost": "0.010000000", "calls": 2}
    totals = [right, {"cost": reported, "calls": calls}]
    assert report.costs_are_equal(console, totals, [booked(cost) for cost in costs]) is is_equal


@pytest.mark.parametrize(("percent", "milliseconds"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_latencies_are_nearest_ranks(replay: ModuleType, percent: int, milliseconds: int) -> None:
    done = replay.Replay(reserve_seconds=[n / 1000 for n in range(100, 0, -1)])
    assert done.reserve_milliseconds(percent) == pytest.approx(milliseconds)
