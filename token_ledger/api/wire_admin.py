"""Owns the wire format of administrators: budgets, grants, increases, users, calendar, triggers, keys, tenants."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictInt

from token_ledger.api.wire import (
    LARGEST_LIMIT,
    LARGEST_TOKENS,
    Body,
    Id,
    Instant,
    Key,
    LimitsBody,
    Money,
    Name,
)  # fmt: skip
from token_ledger.core.budget import check_selector


def _ascend(percents: tuple[int, ...]) -> tuple[int, ...]:
    if list(percents) != sorted(set(percents)):
        raise ValueError("thresholds ascend, each once")
    return percents


Thresholds = Annotated[
    tuple[Annotated[StrictInt, Field(ge=1, le=1_000)], ...], Field(max_length=16), AfterValidator(_ascend)
]
"""Percent of a limit."""


class BudgetTerms(Body):
    """A limit for a selector per window."""

    name: Name
    selector: Annotated[dict[Name, Name], Field(max_length=12), AfterValidator(lambda s: (check_selector(s), s)[1])]
    limits: LimitsBody
    window: Literal["hour", "day", "week", "month", "quarter", "year", "run", "total"]
    enforcement: Literal["hard", "soft", "shadow"] = "hard"
    counts: Literal["all", "uncached"] = "all"
    thresholds: Thresholds = (50, 75, 90, 100)
    rollover: LimitsBody | None = None


class BudgetBody(BudgetTerms):
    """Set a limit for a selector per window."""

    idempotency_key: Key


class BudgetChangeBody(Body):
    """Change what a budget allows; what is left out stays."""

    idempotency_key: Key
    limits: LimitsBody | None = None
    enforcement: Literal["hard", "soft", "shadow"] | None = None
    thresholds: Thresholds | None = None
    rollover: LimitsBody | None = None


class AmountsBody(LimitsBody):
    """More of what an account may hold and settle, in the units that it has a limit in."""

    idempotency_key: Key
    reason: Name


class GrantBody(AmountsBody):
    """Extra limit until an instant, or to the end of the account's window."""

    expires_at: Instant | None = None


class ApprovalBody(Body):
    """Approve an increase; with `expires_at` it is a grant."""

    idempotency_key: Key
    note: Name | None = None
    expires_at: Instant | None = None


class RefusalBody(Body):
    """Refuse an increase."""

    idempotency_key: Key
    note: Name | None = None


class CostCenterBody(Body):
    """A user's cost center from an instant on; left out, always."""

    cost_center: Name
    since: Annotated[Instant | None, Field(alias="from")] = None


class UserBody(Body):
    """Someone for whom agents run."""

    user: Name
    cost_centers: Annotated[tuple[CostCenterBody, ...], Field(max_length=64)] = ()


class UsersBody(Body):
    """Make users known, or replace what is known of them."""

    idempotency_key: Key
    users: Annotated[tuple[UserBody, ...], Field(min_length=1, max_length=1_000)]


class KeyBody(Body):
    """Nothing but the key of the request."""

    idempotency_key: Key


class StopBody(Body):
    """Stop every call of the tenant."""

    idempotency_key: Key
    reason: Name


class VerdictBody(Body):
    """Why an item of quarantine needs nobody's attention any more."""

    note: Name


class CalendarBody(Body):
    """Change the calendar from an instant on."""

    idempotency_key: Key
    time_zone: Name
    week_start: Annotated[StrictInt, Field(ge=0, le=6)] = 0
    fiscal_month: Annotated[StrictInt, Field(ge=1, le=12)] = 1
    effective_from: Instant | None = None


class DowngradeBody(Body):
    """One step down: which model may stand in for which, and what it can do."""

    provider: Name
    model: Name
    to_provider: Name
    to_model: Name
    capabilities: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    context_tokens: Annotated[StrictInt, Field(ge=1, le=LARGEST_TOKENS)]


class TriggerTerms(Body):
    """A condition, and what follows from it."""

    kind: Literal["high_token_usage", "high_cost"]
    at_percent: Annotated[StrictInt, Field(ge=1, le=100)]
    mode: Literal["off", "observe", "apply"]
    per_call_tokens: Annotated[StrictInt, Field(ge=1, le=LARGEST_LIMIT)] | None = None
    per_call_cost: Money | None = None
    downgrades: Annotated[tuple[DowngradeBody, ...], Field(max_length=64)] = ()


class TriggerBody(TriggerTerms):
    """Set the trigger of a kind."""

    idempotency_key: Key


class ApiKeyBody(Body):
    """Make an API key."""

    role: Literal["agent", "finance", "admin"]
    name: Name
    expires_at: Instant | None = None


class RotationBody(Body):
    """Put a new key in the place of one, which goes on for so long."""

    overlap_seconds: Annotated[StrictInt, Field(ge=0, le=604_800)] = 86_400


class TenantBody(Body):
    """Make a tenant."""

    name: Name
    time_zone: Name = "UTC"


PeoplesRole = Literal["admin", "finance", "agent", "user"]


class IdentityProviderBody(Body):
    """Take an issuer's word, for an audience, for who people of a tenant are, and give them roles by their claims."""

    issuer: Name
    audience: Name
    jwks_url: Name | None = None
    user_claim: Name = "sub"
    role_claim: Name | None = None
    roles: Annotated[dict[Name, PeoplesRole], Field(max_length=64)] = {}
    default_role: PeoplesRole | None = None


class TokenBody(Body):
    """Make a short-lived token, for one user or for one run."""

    user: Name | None = None
    run_id: Id | None = None
    ttl_seconds: Annotated[StrictInt, Field(ge=60, le=3_600)] = 900
