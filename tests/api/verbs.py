"""Every mutating route with a complete, valid body and the kind of value that each field takes."""

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from tests.api.world import World, fresh
from token_ledger.core.model.principal import Role
from token_ledger.wire.bodies import (
    accounts,
    api_keys,
    budgets,
    events,
    imports,
    model_names,
    operations,
    preflight,
    prices,
    quarantine,
    reconciliations,
    recostings,
    reservations,
    reversals,
    runs,
    tenants,
    triggers,
    users,
)

MODEL = {"provider": "openai", "model": "gpt-5.4"}
REVERSED = "to be reversed"
"""The key of an event that `named_ids` records."""
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
    status: int = 201

    @property
    def who(self) -> tuple[str, Role]:
        """The tenant and role of a key that may call it."""
        return ("operator", Role.OPERATOR) if self.path.startswith("/v1/tenants") else ("acme", Role.ADMIN)

    @property
    def hot(self) -> bool:
        """Whether the route reads its body itself, outside FastAPI."""
        return self.path.startswith(("/v1/reservations", "/v1/leases")) and "force" not in self.path

    def fresh_body(self) -> dict[str, Any]:
        """Return a complete valid body under a key of its own."""
        body = deepcopy(self.body or {})
        if "idempotency_key" in self.kinds:
            body["idempotency_key"] = fresh()
        if self.name in ("budget", "tenant"):
            body["name"] = fresh("name")
        if self.name == "renaming":
            body["asked"]["model"] = fresh("model")
        if self.name == "identity provider":
            body["audience"] = fresh("app")
        if self.name == "operations":
            body["operations"] = [{"op": "reserve", **reservation()}]
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
    f"usage.{kind}_tokens": "used"
    for kind in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
}
_LIMITS = {"limits.tokens": "limit", "limits.cost": "money", "limits.calls": "limit"}

_MANY = {
    "note": "a clock was wrong", "code": "time_out_of_range", "source": "batch", "before": "2026-11-21T10:00:00Z",
    "quarantine_ids": ["1"],
}  # fmt: skip
_MANY_KINDS = {
    "idempotency_key": "text", "note": "text", "code": "text", "source": "text", "before": "instant",
    "quarantine_ids": "some_ids",
}  # fmt: skip

VERBS = (
    Verb(
        "run", "POST", "/v1/runs", runs.RunBody,
        {
            "user": "ada", "cost_center": "research", "external_id": "chat-1", "strict": False,
            "limits": {"tokens": 1_000, "cost": "1.50", "calls": 10}, "iterations": 5, "preset": "job",
            "allocation": [{"agent_type": "data_agent", "weight": 1, "minimum_tokens": 10}], "attach": False,
        },
        {
            "idempotency_key": "text", "user": "text", "cost_center": "text", "external_id": "text", "strict": "flag",
            "limits": "limits", "allocation": "shares", "iterations": "limit", "preset": "choice_or_none",
            "parent_run_id": "id", "attach": "flag", **_LIMITS,
        },
        ("idempotency_key",),
    ),
    Verb(
        "step", "POST", "/v1/runs/{run_id}/steps", runs.StepBody, {"label": "plan"},
        {"idempotency_key": "text", "label": "text"}, ("idempotency_key",),
    ),
    Verb(
        "rebalance", "POST", "/v1/runs/{run_id}/rebalance", runs.RebalanceBody,
        {"allocation": [{"agent_type": "data_agent", "weight": 1, "minimum_tokens": 10}]},
        {"idempotency_key": "text", "allocation": "some_shares"}, ("idempotency_key", "allocation"), 200,
    ),
    Verb(
        "change run", "PATCH", "/v1/runs/{run_id}", runs.RunChangeBody,
        {"limits": {"tokens": 900, "cost": "1.40", "calls": 9}, "iterations": 4, "reason": "less"},
        {"idempotency_key": "text", "limits": "some_limits", "iterations": "limit", "reason": "text", **_LIMITS},
        ("idempotency_key", "reason"), 200,
    ),
    Verb("cancel", "POST", "/v1/runs/{run_id}/cancel", runs.RunEndBody, {}, {"idempotency_key": "text"}, (), 200),
    Verb("close", "POST", "/v1/runs/{run_id}/close", runs.RunEndBody, {}, {"idempotency_key": "text"}, (), 200),
    Verb("preflight", "POST", "/v1/preflight", preflight.PreflightBody, {"calls": [{**CALL, "user": "ada", "count": 2,
         "input_tokens": 10, "max_output_tokens": 10}]}, {"calls": "planned"}, ("calls",), 200),
    Verb("operations", "POST", "/v1/operations", operations.OperationsBody, {"operations": [{"op": "reserve"}]},
         {"operations": "list"}, ("operations",), 200),
    Verb(
        "reserve", "POST", "/v1/reservations", reservations.ReservationBody,
        {
            "user": "ada", "cost_center": "research", **CALL, "request_type": "chat", "input_tokens": 1_000,
            "max_output_tokens": 500, "cached_input_tokens": 100, "ttl_seconds": 60, "tool": "search",
            "requires": ["tools"], "tags": {"team": "core"}, "apply": ["model_downgrade"],
            "cache_write": "5m", "max_usage": {"web_searches": 1}, "service_tier": "batch",
        },
        {
            "idempotency_key": "text", "agent_type": "text", "provider": "text", "model": "text",
            "input_tokens": "tokens", "max_output_tokens": "tokens", "run_id": "id", "user": "text",
            "cost_center": "text", "request_type": "text", "cached_input_tokens": "tokens", "ttl_seconds": "seconds",
            "tool": "text", "requires": "names", "tags": "tags", "apply": "choices", "cache_write": "choice_or_none",
            "max_usage": "announced", "service_tier": "choice",
        },
        ("idempotency_key", "agent_type", "provider", "model", "input_tokens", "max_output_tokens"),
    ),
    Verb(
        "lease", "POST", "/v1/leases", reservations.LeaseBody,
        {
            "user": "ada", "cost_center": "research", **CALL, "request_type": "chat", "input_tokens": 1_000,
            "max_output_tokens": 500, "cached_input_tokens": 100, "ttl_seconds": 60, "tool": "search",
            "requires": ["tools"], "tags": {"team": "core"}, "apply": ["model_downgrade"],
            "cache_write": "5m", "calls": 3, "max_usage": {"web_searches": 1}, "service_tier": "batch",
        },
        {
            "idempotency_key": "text", "agent_type": "text", "provider": "text", "model": "text",
            "input_tokens": "tokens", "max_output_tokens": "tokens", "run_id": "id", "user": "text",
            "cost_center": "text", "request_type": "text", "cached_input_tokens": "tokens", "ttl_seconds": "seconds",
            "tool": "text", "requires": "names", "tags": "tags", "apply": "choices", "cache_write": "choice_or_none",
            "calls": "lent", "max_usage": "announced", "service_tier": "choice",
        },
        ("idempotency_key", "agent_type", "provider", "model", "input_tokens", "max_output_tokens", "calls"),
    ),
    Verb(
        "settle", "POST", "/v1/reservations/{reservation_id}/settle", reservations.SettlementBody,
        {
            "usage": {
                "input_tokens": 900, "output_tokens": 100, "cache_read_tokens": 10, "cache_write_5m_tokens": 10,
                "cache_write_1h_tokens": 10, "reasoning_tokens": 10,
            },
            **MODEL, "occurred_at": "2026-11-21T10:00:00Z", "outcome": "ok", "estimated": False,
            "response_id": "resp-1", "original_input_tokens": 2_000, "part": False, "tool": "search",
            "service_tier": "batch", "measured": {"latency_ms": 5, "stages": {"first_chunk": 2}},
            "other_models": [{"model": "gpt-5.4-mini", "usage": {"input_tokens": 5, "output_tokens": 1}}],
        },
        {
            "idempotency_key": "text", "usage": "usage", "provider": "text", "model": "text",
            "occurred_at": "claimed_instant", "outcome": "choice", "estimated": "flag", "response_id": "foreign id",
            "other_models": "other_models", "service_tier": "choice", "original_input_tokens": "uncompressed",
            "part": "flag", "tool": "text",
            "measured": "measured", **_USAGE,
        },
        ("usage", "usage.input_tokens", "usage.output_tokens"), 200,
    ),
    Verb(
        "extend", "POST", "/v1/reservations/{reservation_id}/extend", reservations.ExtensionBody,
        {"ttl_seconds": 86_400},
        {"idempotency_key": "text", "ttl_seconds": "seconds"}, ("idempotency_key", "ttl_seconds"), 200,
    ),
    Verb(
        "force release", "POST", "/v1/reservations/{reservation_id}/force-release", reservations.ForceReleaseBody,
        {"reason": "dead"}, {"idempotency_key": "text", "reason": "text"}, ("idempotency_key", "reason"), 200,
    ),
    Verb(
        "release", "POST", "/v1/reservations/{reservation_id}/release", reservations.ReleaseBody,
        {"reason": "not sent"}, {"idempotency_key": "text", "reason": "text"}, (), 200,
    ),
    Verb(
        "events", "POST", "/v1/events", events.EventsBody, {"events": [event()]}, {"events": "list"}, ("events",), 200
    ),
    Verb(
        "usage", "POST", "/v1/usage", events.UsageEventsBody, {"events": [event()]}, {"events": "long list"},
        ("events",), 200,
    ),
    Verb(
        "import", "POST", "/v1/imports", imports.ImportBody,
        {
            **imports.AN_IMPORT, "dry_run": False, "user": "ada", "cost_center": "research", "agent_type": "data_agent",
            "provider": "openai", "time_zone": "Europe/Berlin",
        },
        {
            "kind": "choice", "files": "files", "mapping": "mapping", "dry_run": "flag", "user": "text",
            "cost_center": "text", "agent_type": "text", "provider": "text",
            "time_zone": "zone",
        },
        ("kind", "files"), 200,
    ),
    Verb(
        "reconcile", "POST", "/v1/reconciliations", reconciliations.ReconciliationBody,
        {
            **reconciliations.A_RECONCILIATION, "provider": "openai", "project_tag": "app", "by_cost_center": False,
            "reason": "bill of November",
        },
        {
            "kind": "choice", "files": "files", "provider": "text", "project_tag": "text", "by_cost_center": "flag",
            "reason": "text", "idempotency_key": "text",
        },
        ("kind", "files"), 200,
    ),
    Verb(
        "budget", "POST", "/v1/budgets", budgets.BudgetBody,
        {
            "selector": {"user": "nobody", "tag.team": "*"}, "limits": {"tokens": 1_000, "cost": "1.50", "calls": 10},
            "window": "day",
            "enforcement": "hard", "counts": "all", "thresholds": [10, 20], "rollover": {"tokens": 5},
            "overrides": [{"subject": {"tag.team": "core"}, "limits": {"tokens": 2_000}}],
        },
        {
            "idempotency_key": "text", "name": "text", "selector": "selector", "limits": "limits", "window": "choice",
            "enforcement": "choice", "counts": "choice", "thresholds": "percents", "rollover": "some_limits", **_LIMITS,
            "overrides": "overrides", "unassigned": "choice",
        },
        ("idempotency_key", "name", "selector", "limits", "window"),
    ),
    Verb(
        "change budget", "PATCH", "/v1/budgets/{budget_id}", budgets.BudgetChangeBody,
        {"limits": {"tokens": 5, "cost": "0.50", "calls": 1}, "enforcement": "soft", "thresholds": [30]},
        {
            "idempotency_key": "text", "limits": "some_limits", "enforcement": "choice_or_none",
            "thresholds": "some_percents", "rollover": "some_limits", "overrides": "some_overrides",
            "unassigned": "choice_or_none",
        },
        ("idempotency_key",), 200,
    ),
    Verb("archive", "DELETE", "/v1/budgets/{budget_id}", status=200),
    Verb(
        "grant", "POST", "/v1/accounts/{account_id}/grants", accounts.GrantBody,
        {"tokens": 5, "cost": "0.10", "calls": 1, "reason": "a deadline", "expires_at": "2999-01-01T00:00:00Z"},
        {
            "idempotency_key": "text", "tokens": "limit", "cost": "money", "calls": "limit", "reason": "text",
            "expires_at": "instant",
        },
        ("idempotency_key", "reason"),
    ),
    Verb(
        "increase", "POST", "/v1/accounts/{account_id}/increases", accounts.AmountsBody,
        {"tokens": 5, "cost": "0.10", "calls": 1, "reason": "a deadline"},
        {"idempotency_key": "text", "tokens": "limit", "cost": "money", "calls": "limit", "reason": "text"},
        ("idempotency_key", "reason"),
    ),
    Verb(
        "subject grant", "POST", "/v1/budgets/{budget_id}/grants", accounts.SubjectGrantBody,
        {"subject": {}, "tokens": 5, "cost": "0.10", "calls": 1, "reason": "a deadline",
         "expires_at": "2999-01-01T00:00:00Z"},
        {
            "idempotency_key": "text", "subject": "subject", "tokens": "limit", "cost": "money", "calls": "limit",
            "reason": "text", "expires_at": "instant",
        },
        ("idempotency_key", "reason", "subject"),
    ),
    Verb(
        "subject increase", "POST", "/v1/budgets/{budget_id}/increases", accounts.SubjectAmountsBody,
        {"subject": {}, "tokens": 5, "cost": "0.10", "calls": 1, "reason": "a deadline"},
        {"idempotency_key": "text", "subject": "subject", "tokens": "limit", "cost": "money", "calls": "limit",
         "reason": "text"},
        ("idempotency_key", "reason", "subject"),
    ),
    Verb(
        "approve", "POST", "/v1/increases/{increase_id}/approve", accounts.ApprovalBody,
        {"note": "fine", "expires_at": "2999-01-01T00:00:00Z"},
        {"idempotency_key": "text", "note": "text", "expires_at": "instant"}, ("idempotency_key",), 200,
    ),
    Verb(
        "refuse", "POST", "/v1/increases/{increase_id}/refuse", accounts.RefusalBody, {"note": "no"},
        {"idempotency_key": "text", "note": "text"}, ("idempotency_key",), 200,
    ),
    Verb(
        "reversal", "POST", "/v1/reversals", reversals.ReversalBody,
        {"source": "batch", "key": REVERSED, "reason": "a test"},
        {"source": "text", "key": "text", "reason": "text"}, ("key", "reason"),
    ),
    Verb(
        "resolve", "POST", "/v1/quarantine/{quarantine_id}/resolve", quarantine.VerdictBody, {"note": "sent again"},
        {"note": "text"}, ("note",), 200,
    ),
    Verb(
        "dismiss", "POST", "/v1/quarantine/{quarantine_id}/dismiss", quarantine.VerdictBody, {"note": "a test"},
        {"note": "text"}, ("note",), 200,
    ),
    Verb(
        "resolve many", "POST", "/v1/quarantine/resolve", quarantine.VerdictsBody, _MANY, _MANY_KINDS,
        ("idempotency_key", "note"), 200,
    ),
    Verb(
        "dismiss many", "POST", "/v1/quarantine/dismiss", quarantine.VerdictsBody, _MANY, _MANY_KINDS,
        ("idempotency_key", "note"), 200,
    ),
    Verb(
        "users", "PUT", "/v1/users", users.UsersBody,
        {"users": [{"user": "grace", "cost_centers": [{"cost_center": "lab"},
                                                      {"from": "2026-01-01T00:00:00Z", "cost_center": "ops"}]}]},
        {"idempotency_key": "text", "users": "users"}, ("idempotency_key", "users"), 200,
    ),
    Verb(
        "erase", "POST", "/v1/users/{user}/erase", tenants.KeyBody, {}, {"idempotency_key": "text"},
        ("idempotency_key",), 200,
    ),
    Verb(
        "renaming", "POST", "/v1/model-names", model_names.RenamingBody,
        {"asked": {"provider": "openai", "model": "a preview"}, "becomes": MODEL, "reason": "one model"},
        {
            "idempotency_key": "text", "asked": "model", "becomes": "model", "asked.provider": "text",
            "asked.model": "text", "becomes.provider": "text", "becomes.model": "text", "reason": "text",
        },
        (
            "idempotency_key", "asked", "becomes", "asked.provider", "asked.model", "becomes.provider",
            "becomes.model", "reason",
        ),
        200,
    ),
    Verb(
        "price", "PUT", "/v1/prices/{provider}/{model}", prices.PriceBody,
        {"rates": {"base": {"input": "2", "output": "8"}, "tiers": [{"above": 9, "rates": {"input": "4",
         "output": "9"}}]}, "valid_from": "2027-01-01T00:00:00Z"},
        {"idempotency_key": "text", "rates": "rates", "valid_from": "instant"}, ("idempotency_key", "rates"), 200,
    ),
    Verb(
        "discount", "PUT", "/v1/discounts/{provider}/{model}", prices.DiscountBody,
        {"factor": "0.85", "valid_from": "2027-01-01T00:00:00Z", "valid_until": "2028-01-01T00:00:00Z"},
        {"idempotency_key": "text", "factor": "factor", "valid_from": "instant", "valid_until": "instant"},
        ("idempotency_key", "factor"), 200,
    ),
    Verb(
        "model", "PUT", "/v1/models/{provider}/{model}", prices.ModelBody,
        {"context_tokens": 400_000, "max_output_tokens": 128_000, "capabilities": ["tools"], "deprecated": True,
         "end_of_life": "2027-03-01"},
        {
            "idempotency_key": "text", "context_tokens": "model_tokens", "max_output_tokens": "model_tokens",
            "capabilities": "capabilities", "deprecated": "flag_or_none", "end_of_life": "day",
        },
        ("idempotency_key",), 200,
    ),
    Verb(
        "alias", "PUT", "/v1/aliases/{provider}/{model}", prices.AliasBody, {"stands_for": MODEL},
        {"idempotency_key": "text", "stands_for": "model", "stands_for.provider": "text", "stands_for.model": "text"},
        ("idempotency_key", "stands_for"), 200,
    ),
    Verb(
        "recosting", "POST", "/v1/recostings", recostings.RecostingBody,
        {
            "provider": "house", "model": "sum*", "since": "2026-11-01T00:00:00Z", "until": "2999-12-01T00:00:00Z",
            "after": "0/a", "also_priced": False,
        },
        {"idempotency_key": "text", "provider": "text", "model": "text", "since": "instant", "until": "instant",
         "after": "place", "also_priced": "flag"},
        ("idempotency_key",),
    ),
    Verb(
        "calendar", "POST", "/v1/calendar", tenants.CalendarBody,
        {"time_zone": "Europe/Berlin", "week_start": 6, "fiscal_month": 4, "effective_from": None},
        {
            "idempotency_key": "text", "time_zone": "zone", "week_start": "weekday", "fiscal_month": "month",
            "effective_from": "instant",
        },
        ("idempotency_key", "time_zone"), 200,
    ),
    Verb(
        "duplicates", "POST", "/v1/duplicates", tenants.DuplicatesBody, {"found": True},
        {"idempotency_key": "text", "found": "flag"}, ("idempotency_key", "found"), 200,
    ),
    # Each stop is followed by a resume, so that tests which run through all verbs can continue.
    Verb(
        "stop", "POST", "/v1/stop", tenants.StopBody, {"reason": "runaway"},
        {"idempotency_key": "text", "reason": "text"}, ("idempotency_key", "reason"), 200,
    ),
    Verb("resume", "POST", "/v1/resume", tenants.KeyBody, {}, {"idempotency_key": "text"}, ("idempotency_key",),
         200),
    Verb(
        "stop tenant", "POST", "/v1/tenants/{tenant_id}/stop", tenants.StopBody, {"reason": "runaway"},
        {"idempotency_key": "text", "reason": "text"}, ("idempotency_key", "reason"), 200,
    ),
    Verb("resume tenant", "POST", "/v1/tenants/{tenant_id}/resume", tenants.KeyBody, {},
         {"idempotency_key": "text"}, ("idempotency_key",), 200),
    Verb(
        "trigger", "POST", "/v1/triggers", triggers.TriggerBody,
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
        "api key", "POST", "/v1/api-keys", api_keys.ApiKeyBody,
        {"role": "agent", "name": "ci", "expires_at": "2999-01-01T00:00:00Z"},
        {"role": "choice", "name": "text", "expires_at": "instant"}, ("role", "name"),
    ),
    Verb(
        "rotate", "POST", "/v1/api-keys/{key_id}/rotate", api_keys.RotationBody, {"overlap_seconds": 5},
        {"overlap_seconds": "overlap"},
    ),
    Verb(
        "token", "POST", "/v1/tokens", api_keys.TokenBody, {"user": "ada", "ttl_seconds": 60},
        {"user": "text", "run_id": "id", "ttl_seconds": "token_seconds"},
    ),
    Verb(
        "identity provider", "POST", "/v1/tenants/{tenant_id}/identity-providers", tenants.IdentityProviderBody,
        {
            "issuer": "https://id.acme.test", "jwks_url": "https://id.acme.test/keys", "role_claim": "groups",
            "roles": {"root": "admin"}, "default_role": "user",
        },
        {
            "issuer": "address", "audience": "text", "jwks_url": "address", "user_claim": "text", "role_claim": "text",
            "roles": "roles", "default_role": "choice_or_none",
        },
        ("issuer", "audience"),
    ),
    Verb(
        "remove identity provider", "DELETE", "/v1/tenants/{tenant_id}/identity-providers/{provider_id}", status=200,
    ),
    Verb("revoke", "DELETE", "/v1/api-keys/{key_id}", status=200),
    Verb(
        "tenant", "POST", "/v1/tenants", tenants.TenantBody, {"time_zone": "Europe/Berlin"},
        {"name": "text", "time_zone": "zone"}, ("name",),
    ),
)  # fmt: skip
BY_NAME = {verb.name: verb for verb in VERBS}


async def named_ids(world: World, tenant: str = "acme") -> dict[str, str]:
    """Make one of everything that a path can name and return the ids by the names of the path parameters."""
    await world.made(
        "/v1/resume", {"idempotency_key": fresh()}, tenant=tenant
    )  # an earlier verb may have stopped the tenant
    limits = {"tokens": 1_000_000, "cost": "100", "calls": 100}
    run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada", "limits": limits}, tenant=tenant)
    [account] = await world.rows(
        "select account_id from accounts where tenant_id = $1 and subject = $2",
        world.tenants[tenant],
        json.dumps({"run": run["run_id"]}, separators=(",", ":")),
    )
    account_id = str(account["account_id"])
    asked = {"idempotency_key": fresh(), "reason": "more", "tokens": 5}
    increase = await world.made(f"/v1/accounts/{account_id}/increases", asked, tenant=tenant)
    hold = await world.made("/v1/reservations", reservation(ttl_seconds=86_400), tenant=tenant)
    made = await world.made("/v1/budgets", budget(fresh("budget"), limits=limits), tenant=tenant)
    key = await world.made("/v1/api-keys", {"role": "agent", "name": fresh("spare")}, tenant=tenant)
    believed = {"issuer": "https://id.acme.test", "audience": fresh("app"), "default_role": "user"}
    path = f"/v1/tenants/{world.tenants[tenant]}/identity-providers"
    provider = await world.made(path, believed, tenant="operator", role=Role.OPERATOR)
    await world.made("/v1/events", {"events": [event(idempotency_key=REVERSED)]}, tenant=tenant)
    [kept] = (await world.made("/v1/events", {"events": [event(agent_type=5)]}, tenant=tenant))["results"]
    deployment = fresh("deployment")
    rates = {"base": {"input": "1", "output": "4"}}
    await world.made(
        f"/v1/prices/azure/{deployment}", {"idempotency_key": fresh(), "rates": rates}, method="PUT", tenant=tenant
    )
    return {
        "quarantine_id": kept["quarantine_id"],
        "provider_id": provider["provider_id"],
        "run_id": run["run_id"],
        "reservation_id": hold["reservation_id"],
        "budget_id": made["budget_id"],
        "key_id": key["key_id"],
        "account_id": account_id,
        "increase_id": increase["increase_id"],
        "user": made["selector"]["user"],
        "provider": "azure",
        "model": deployment,
        "tenant_id": str(world.tenants[tenant]),
    }
