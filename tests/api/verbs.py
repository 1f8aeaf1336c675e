"""Every mutating verb of the API with a complete, valid body and what kind of value each of its fields takes."""

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from tests.api.world import World, fresh
from token_ledger.api import wire

MODEL = {"provider": "openai", "model": "gpt-5.4"}
CALL = {"agent_type": "data_agent", **MODEL}


def reservation(**fields: Any) -> dict[str, Any]:
    """Return a small valid reservation without a run; `fields` replace or add, None takes a field away."""
    body = {"idempotency_key": fresh(), "user": "ada", **CALL, "input_tokens": 1_000, "max_output_tokens": 500}
    return {name: value for name, value in {**body, **fields}.items() if value is not None}


def event(**fields: Any) -> dict[str, Any]:
    """Return a small valid event."""
    usage = {"input_tokens": 1_000, "output_tokens": 500}
    return {"source": "batch", "idempotency_key": fresh(), "user": "ada", **CALL, "usage": usage, **fields}


def budget(name: str, **fields: Any) -> dict[str, Any]:
    """Return a valid budget that selects one user of its own name."""
    return {
        "idempotency_key": fresh(), "name": name, "selector": {"user": name}, "limits": {"tokens": 10_000},
        "window": "total", **fields,
    }  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """A route that changes something. `kinds` has a kind for every field, those of inner objects by dotted path."""

    name: str
    method: str
    path: str
    model: type[BaseModel] | None = None
    body: dict[str, Any] | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @property
    def hot(self) -> bool:
        """Whether the route reads its body itself, outside FastAPI."""
        return self.path.startswith("/v1/reservations")

    def fresh_body(self) -> dict[str, Any]:
        """Return a complete valid body under a key of its own."""
        body = deepcopy(self.body or {})
        if "idempotency_key" in self.kinds:
            body["idempotency_key"] = fresh()
        if self.name in ("budget", "tenant"):
            body["name"] = fresh("name")
        return body

    def raw_body(self, path: str, raw: str) -> bytes:
        """Return a body whose field at a dotted path is `raw` text, which need not be JSON."""
        body = self.fresh_body()
        *outer, last = path.split(".")
        inner = body
        for name in outer:
            inner = inner[name]
        inner[last] = "@here@"
        return json.dumps(body).replace('"@here@"', raw).encode()


_USAGE = {
    f"usage.{kind}_tokens": "tokens"
    for kind in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
}
_LIMITS = {"limits.tokens": "limit", "limits.cost": "money", "limits.calls": "limit"}

VERBS = (
    Verb(
        "run", "POST", "/v1/runs", wire.RunBody,
        {
            "user": "ada", "cost_center": "research", "external_id": "chat-1", "strict": False,
            "limits": {"tokens": 1_000, "cost": "1.50", "calls": 10},
            "allocation": [{"agent_type": "data_agent", "weight": 1, "minimum_tokens": 10}],
        },
        {
            "idempotency_key": "text", "user": "text", "cost_center": "text", "external_id": "text", "strict": "flag",
            "limits": "limits", "allocation": "shares", **_LIMITS,
        },
        ("idempotency_key", "user"),
    ),
    Verb("cancel", "POST", "/v1/runs/{run_id}/cancel", wire.RunEndBody, {}, {"idempotency_key": "text"}),
    Verb("close", "POST", "/v1/runs/{run_id}/close", wire.RunEndBody, {}, {"idempotency_key": "text"}),
    Verb(
        "reserve", "POST", "/v1/reservations", wire.ReservationBody,
        {
            "user": "ada", "cost_center": "research", **CALL, "request_type": "chat", "input_tokens": 1_000,
            "max_output_tokens": 500, "cached_input_tokens": 100, "ttl_seconds": 60, "tool": "search",
            "requires": ["tools"], "tags": {"team": "core"}, "apply": ["model_downgrade"],
            "cache_write": "5m",
        },
        {
            "idempotency_key": "text", "agent_type": "text", "provider": "text", "model": "text",
            "input_tokens": "tokens", "max_output_tokens": "tokens", "run_id": "id", "user": "text",
            "cost_center": "text", "request_type": "text", "cached_input_tokens": "tokens", "ttl_seconds": "seconds",
            "tool": "text", "requires": "names", "tags": "tags", "apply": "choices", "cache_write": "choice_or_none",
        },
        ("idempotency_key", "agent_type", "provider", "model", "input_tokens", "max_output_tokens"),
    ),
    Verb(
        "settle", "POST", "/v1/reservations/{reservation_id}/settle", wire.SettlementBody,
        {
            "usage": {
                "input_tokens": 900, "output_tokens": 100, "cache_read_tokens": 10, "cache_write_5m_tokens": 10,
                "cache_write_1h_tokens": 10, "reasoning_tokens": 10,
            },
            **MODEL, "occurred_at": "2026-11-21T10:00:00Z", "outcome": "ok", "estimated": False,
            "response_id": "resp-1", "original_input_tokens": 2_000,
        },
        {
            "idempotency_key": "text", "usage": "usage", "provider": "text", "model": "text", "occurred_at": "instant",
            "outcome": "choice", "estimated": "flag", "response_id": "text", "original_input_tokens": "tokens",
            **_USAGE,
        },
        ("usage", "usage.input_tokens", "usage.output_tokens"),
    ),
    Verb(
        "release", "POST", "/v1/reservations/{reservation_id}/release", wire.ReleaseBody,
        {"reason": "not sent"}, {"idempotency_key": "text", "reason": "text"},
    ),
    Verb("events", "POST", "/v1/events", wire.EventsBody, {"events": [event()]}, {"events": "list"}, ("events",)),
    Verb(
        "budget", "POST", "/v1/budgets", wire.BudgetBody,
        {
            "selector": {"user": "nobody", "tag.team": "*"}, "limits": {"tokens": 1_000, "cost": "1.50", "calls": 10},
            "window": "day",
            "enforcement": "hard", "counts": "all",
        },
        {
            "idempotency_key": "text", "name": "text", "selector": "selector", "limits": "limits", "window": "choice",
            "enforcement": "choice", "counts": "choice", **_LIMITS,
        },
        ("idempotency_key", "name", "selector", "limits", "window"),
    ),
    Verb("archive", "DELETE", "/v1/budgets/{budget_id}"),
    Verb(
        "trigger", "POST", "/v1/triggers", wire.TriggerBody,
        {
            "kind": "high_cost", "at_percent": 90, "mode": "observe", "per_call_tokens": 1_000,
            "per_call_cost": "1.50",
            "downgrades": [
                {
                    **MODEL, "to_provider": "openai", "to_model": "gpt-5.4-mini", "capabilities": ["tools"],
                    "context_tokens": 100_000,
                }
            ],
        },
        {
            "idempotency_key": "text", "kind": "choice", "at_percent": "percent", "mode": "choice",
            "per_call_tokens": "threshold", "per_call_cost": "money", "downgrades": "steps",
        },
        ("idempotency_key", "kind", "at_percent", "mode"),
    ),
    Verb(
        "api key", "POST", "/v1/api-keys", wire.ApiKeyBody, {"role": "agent", "name": "ci"},
        {"role": "choice", "name": "text"}, ("role", "name"),
    ),
    Verb("revoke", "DELETE", "/v1/api-keys/{key_id}"),
    Verb(
        "tenant", "POST", "/v1/tenants", wire.TenantBody, {"time_zone": "Europe/Berlin"},
        {"name": "text", "time_zone": "zone"}, ("name",),
    ),
)  # fmt: skip
BY_NAME = {verb.name: verb for verb in VERBS}


async def named_ids(world: World, tenant: str = "acme") -> dict[str, str]:
    """Make one of everything that a path can name and return the ids by the names of the path's parameters."""
    run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada"}, tenant=tenant)
    hold = await world.made("/v1/reservations", reservation(ttl_seconds=86_400), tenant=tenant)
    made = await world.made("/v1/budgets", budget(fresh("budget")), tenant=tenant)
    key = await world.made("/v1/api-keys", {"role": "agent", "name": fresh("spare")}, tenant=tenant)
    return {
        "run_id": run["run_id"],
        "reservation_id": hold["reservation_id"],
        "budget_id": made["budget_id"],
        "key_id": key["key_id"],
    }
