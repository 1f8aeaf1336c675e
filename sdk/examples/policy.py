"""The demo's budgets and triggers, sized so that the replay reaches them, set over the admin API."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

import httpx2
from pricing import independent_cost
from traffic import Session

from token_ledger_sdk import Limits, Share

USER_DAY_PERCENT = 70
COST_CENTER_MONTH_PERCENT = 60

RUN_LIMITS = Limits(tokens=60_000_000, cost=Decimal(40), calls=250)
RUN_ALLOCATION = {
    "triage_agent": Share(1, minimum_tokens=1_000_000),
    "data_agent": Share(8),
    "optimization_agent": Share(4),
    "action_agent": Share(8),
    "reporting_agent": Share(1, minimum_tokens=1_000_000),
}

_EVERYTHING = ("tools", "vision", "json", "long_context")
# Model, cheaper model, what the cheaper one can do, its context in tokens. All are models of the sample.
LADDER = (
    ("anthropic", "claude-fable-5", "claude-opus-4-8", _EVERYTHING, 1_000_000),
    ("anthropic", "claude-opus-4-8", "claude-sonnet-4-6", _EVERYTHING, 1_000_000),
    ("anthropic", "claude-opus-4-7", "claude-sonnet-4-6", _EVERYTHING, 1_000_000),
    ("anthropic", "claude-opus-4-6", "claude-sonnet-4-6", _EVERYTHING, 1_000_000),
    ("anthropic", "claude-sonnet-4-6", "claude-haiku-4-5-20251001", ("tools", "vision", "json"), 200_000),
    ("openai", "gpt-5.6-sol", "gpt-5.6-terra", _EVERYTHING, 1_050_000),
    ("openai", "gpt-5.5", "gpt-5.4", _EVERYTHING, 1_050_000),
)

TRIGGERS: tuple[dict[str, Any], ...] = (
    {"kind": "high_token_usage", "at_percent": 80, "mode": "apply"},
    {
        "kind": "high_cost",
        "at_percent": 80,
        "mode": "apply",
        "per_call_cost": "1.50",
        "downgrades": [
            {
                "provider": provider,
                "model": model,
                "to_provider": provider,
                "to_model": to_model,
                "capabilities": list(capabilities),
                "context_tokens": context_tokens,
            }
            for provider, model, to_model, capabilities, context_tokens in LADDER
        ],
    },
)

RULES = f"""\
what is set up:
  user-day           hard    each user per day, tokens that did not come from a cache:
                             {USER_DAY_PERCENT} % of what the busiest user's calls take
  cost-center-month  hard    each cost center per month, money:
                             {COST_CENTER_MONTH_PERCENT} % of what the dearest cost center's calls cost
  agent-type-day     soft    each agent type per day, tokens: the average of the five
  model-day          shadow  each model per day, calls: the average of the models
  each run           hard    {RUN_LIMITS.tokens:,} tokens, ${RUN_LIMITS.cost}, {RUN_LIMITS.calls} calls; tokens allocated 1 triage_agent : 8 data_agent :
                             4 optimization_agent : 8 action_agent : 1 reporting_agent
  triggers, applied          high_token_usage at 80 % of any account: aggressive compression;
                             high_cost at 80 % or $1.50 a call: the next model down the ladder
"""  # noqa: E501  (the width is that of the filled-in text)


def budgets_for(sessions: Iterable[Session], at: datetime) -> Iterator[dict[str, Any]]:
    """Yield the bodies of budgets that are sized by what these sessions will ask for."""
    uncached: Counter[str] = Counter()
    cost: defaultdict[str, Decimal] = defaultdict(Decimal)
    tokens: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for session in sessions:
        for call in session.calls:
            uncached[session.user] += call.uncached_tokens
            cost[session.cost_center] += independent_cost(call.provider, call.model, call.usage, at)
            tokens[call.agent_type] += call.usage.input_tokens + call.usage.output_tokens
            calls[call.model] += 1
    most_money = (max(cost.values()) * COST_CENTER_MONTH_PERCENT / 100).quantize(Decimal("0.01"), ROUND_CEILING)
    most_tokens = max(uncached.values()) * USER_DAY_PERCENT // 100
    yield _budget("user-day", {"user": "*"}, {"tokens": most_tokens}, "day", counts="uncached")
    yield _budget("cost-center-month", {"cost_center": "*"}, {"cost": str(most_money)}, "month")
    yield _budget("agent-type-day", {"agent_type": "*"}, {"tokens": _average(tokens)}, "day", enforcement="soft")
    yield _budget("model-day", {"model": "*"}, {"calls": _average(calls)}, "day", enforcement="shadow")


async def set_up(admin: httpx2.AsyncClient, sessions: Iterable[Session], at: datetime) -> list[dict[str, Any]]:
    """Create budgets and triggers; return the budgets as the service answered them."""
    budgets = []
    for body in budgets_for(sessions, at):
        answer = await admin.post("/v1/budgets", json={"idempotency_key": f"demo:{body['name']}", **body})
        budgets.append(answer.raise_for_status().json())
    for trigger in TRIGGERS:
        answer = await admin.post("/v1/triggers", json={"idempotency_key": f"demo:{trigger['kind']}", **trigger})
        answer.raise_for_status()
    return budgets


def _budget(name: str, selector: dict[str, str], limits: dict[str, Any], window: str, **options: str) -> dict[str, Any]:
    return {"name": name, "selector": selector, "limits": limits, "window": window, **options}


def _average(counts: Counter[str]) -> int:
    return max(1, sum(counts.values()) // len(counts))
