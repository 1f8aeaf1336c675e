"""Which roles may call which route. A route that is missing here makes a test fail."""

from token_ledger.core.model.principal import Role

Route = tuple[str, str]

_CALLERS = frozenset({Role.AGENT, Role.ADMIN})
_READERS = frozenset({Role.AGENT, Role.FINANCE, Role.ADMIN})
_FINANCE = frozenset({Role.FINANCE, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})
_OPERATORS = frozenset({Role.OPERATOR})
_USERS = frozenset({Role.USER})

ALLOWED: dict[Route, frozenset[Role]] = {
    ("POST", "/v1/runs"): _CALLERS,
    ("GET", "/v1/runs"): _READERS | _USERS,
    ("GET", "/v1/runs/{run_id}"): _READERS | _USERS,
    ("POST", "/v1/runs/{run_id}/cancel"): _CALLERS | _USERS,
    ("POST", "/v1/runs/{run_id}/close"): _CALLERS,
    ("POST", "/v1/runs/{run_id}/steps"): _CALLERS,
    ("POST", "/v1/runs/{run_id}/rebalance"): _CALLERS,
    ("PATCH", "/v1/runs/{run_id}"): _ADMINS,
    ("GET", "/v1/runs/{run_id}/usage"): _READERS,
    ("GET", "/v1/runs/{run_id}/events"): _READERS | _USERS,
    ("POST", "/v1/preflight"): _CALLERS,
    ("POST", "/v1/operations"): _CALLERS,
    ("POST", "/v1/leases"): _CALLERS,
    ("GET", "/v1/reservations"): _READERS,
    ("POST", "/v1/reservations/{reservation_id}/extend"): _CALLERS,
    ("POST", "/v1/reservations/{reservation_id}/force-release"): _ADMINS,
    ("POST", "/v1/reservations"): _CALLERS,
    ("GET", "/v1/reservations/{reservation_id}"): _READERS,
    ("POST", "/v1/reservations/{reservation_id}/settle"): _CALLERS,
    ("POST", "/v1/reservations/{reservation_id}/release"): _CALLERS,
    ("POST", "/v1/events"): _CALLERS,
    ("POST", "/v1/usage"): _CALLERS,
    ("POST", "/v1/imports"): _ADMINS,
    ("POST", "/v1/reconciliations"): _ADMINS,
    ("POST", "/v1/reversals"): _ADMINS,
    ("POST", "/v1/budgets"): _ADMINS,
    ("GET", "/v1/budgets"): _FINANCE,
    ("DELETE", "/v1/budgets/{budget_id}"): _ADMINS,
    ("PATCH", "/v1/budgets/{budget_id}"): _ADMINS,
    ("GET", "/v1/accounts"): _FINANCE,
    ("POST", "/v1/budgets/{budget_id}/grants"): _ADMINS,
    ("POST", "/v1/budgets/{budget_id}/increases"): _CALLERS | _USERS,
    ("GET", "/v1/accounts/{account_id}"): _FINANCE,
    ("POST", "/v1/accounts/{account_id}/grants"): _ADMINS,
    ("POST", "/v1/accounts/{account_id}/increases"): _CALLERS | _USERS,
    ("GET", "/v1/increases"): _FINANCE | _USERS,
    ("POST", "/v1/increases/{increase_id}/approve"): _ADMINS,
    ("POST", "/v1/increases/{increase_id}/refuse"): _ADMINS,
    ("GET", "/v1/thresholds"): _FINANCE,
    ("PUT", "/v1/users"): _ADMINS,
    ("GET", "/v1/users"): _FINANCE,
    ("POST", "/v1/users/{user}/erase"): _ADMINS,
    ("GET", "/v1/prices"): _READERS,
    ("PUT", "/v1/prices/{provider}/{model}"): _ADMINS,
    ("GET", "/v1/models"): _READERS,
    ("PUT", "/v1/models/{provider}/{model}"): _ADMINS,
    ("GET", "/v1/discounts"): _READERS,
    ("PUT", "/v1/discounts/{provider}/{model}"): _ADMINS,
    ("GET", "/v1/aliases"): _READERS,
    ("PUT", "/v1/aliases/{provider}/{model}"): _ADMINS,
    ("GET", "/v1/recostings"): _ADMINS,
    ("POST", "/v1/recostings"): _ADMINS,
    ("GET", "/v1/model-names"): _FINANCE,
    ("POST", "/v1/model-names"): _ADMINS,
    ("GET", "/v1/calendar"): _FINANCE,
    ("POST", "/v1/calendar"): _ADMINS,
    ("GET", "/v1/duplicates"): _FINANCE,
    ("POST", "/v1/duplicates"): _ADMINS,
    ("GET", "/v1/stop"): _FINANCE,
    ("POST", "/v1/stop"): _ADMINS,
    ("POST", "/v1/resume"): _ADMINS,
    ("POST", "/v1/tenants/{tenant_id}/stop"): _OPERATORS,
    ("POST", "/v1/tenants/{tenant_id}/resume"): _OPERATORS,
    ("POST", "/v1/tenants/{tenant_id}/identity-providers"): _OPERATORS,
    ("GET", "/v1/tenants/{tenant_id}/identity-providers"): _OPERATORS,
    ("DELETE", "/v1/tenants/{tenant_id}/identity-providers/{provider_id}"): _OPERATORS,
    ("GET", "/v1/audit"): _FINANCE | _OPERATORS,
    ("POST", "/v1/triggers"): _ADMINS,
    ("GET", "/v1/triggers"): _FINANCE,
    ("GET", "/v1/quarantine"): _FINANCE,
    ("POST", "/v1/quarantine/resolve"): _ADMINS,
    ("POST", "/v1/quarantine/dismiss"): _ADMINS,
    ("POST", "/v1/quarantine/{quarantine_id}/resolve"): _ADMINS,
    ("POST", "/v1/quarantine/{quarantine_id}/dismiss"): _ADMINS,
    ("POST", "/v1/api-keys"): _ADMINS,
    ("GET", "/v1/api-keys"): _ADMINS,
    ("POST", "/v1/api-keys/{key_id}/rotate"): _ADMINS,
    ("DELETE", "/v1/api-keys/{key_id}"): _ADMINS,
    ("POST", "/v1/tokens"): _CALLERS,
    ("GET", "/v1/me"): _USERS,
    ("POST", "/v1/tenants"): _OPERATORS,
    ("GET", "/v1/tenants"): _OPERATORS,
    ("GET", "/v1/reports/spend"): _FINANCE,
    ("GET", "/v1/reports/kinds"): _FINANCE,
    ("GET", "/v1/reports/denials"): _FINANCE,
    ("GET", "/v1/reports/triggers"): _FINANCE,
    ("GET", "/v1/reports/would-have-denied"): _FINANCE,
    ("GET", "/v1/live"): _FINANCE | _USERS,
}

PUBLIC: frozenset[Route] = frozenset({("GET", "/healthz"), ("GET", "/readyz")})
"""Routes without a key."""

DOCUMENTATION = frozenset({"/openapi.json", "/docs", "/docs/{name}"})
"""What is served about the service, and left out of the document."""
