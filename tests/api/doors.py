"""Every column of the schema, by what guards it at the door: which of them callers' values reach, and through what.

A column that is missing here makes a test fail. Whoever adds one says which guard holds for it, or that its values are
the service's own, and lists its field in `verbs.py` or in `FIELDS`.
"""

from tests.api.verbs import VERBS

GUARDS = {
    "name": "`wire.fields.Name`: one spelling, 200 characters, 256 bytes, so that every index takes it",
    "words": "`wire.fields.Words`: 200 characters, no control characters, no half of a surrogate pair",
    "names": "JSON of names and words, each checked as above, and bounded in number",
    "count": "a whole number with bounds of its own in the body, at most 10^15",
    "money": "`core.model.money.parse_money`: at most 2^63 - 1 nano-dollars",
    "use": "what a call has used: above `LARGEST_USE` it is kept in quarantine",
    "sum": "sums and derived amounts: `Books` keeps them at or below 2^63 - 1",
    "instant": "`wire.fields.Instant`: from 2000 to 2999",
    "claimed": "`wire.fields.ClaimedInstant`: any, but the core books only the last 35 days",
    "id": "an id that was looked up, below 2^63",
    "kept": "`wire.kept_events.kept_body`: JSON that PostgreSQL can store, 64 levels, 20,000 characters",
    "choice": "one of a few values, or a flag",
    "ours": "made by the service: ids, instants of the database's clock, states, prices, hashes",
}
TEXT_GUARDS = ("name", "words", "names", "kept")
"""Guards of columns in which a caller's own text stands."""

_FACTS = {
    "name": "user_id cost_center agent_type request_type provider model tool",
    "id": "run_id",
    "names": "tags",
}
_FIGURES = "calls input_tokens output_tokens cache_read_tokens cache_write_tokens reasoning_tokens cost_nanos"
_LIMITS = {"count": "limit_tokens limit_calls", "money": "limit_nanos"}


def _of(*parts: dict[str, str], **more: str) -> dict[str, str]:
    """Return columns by guard, of several parts together."""
    guards: dict[str, str] = {}
    for part in (*parts, more):
        for guard, columns in part.items():
            guards[guard] = f"{guards.get(guard, '')} {columns}".strip()
    return guards


COLUMNS: dict[str, dict[str, str]] = {
    "account_checkpoints": _of(ours="tenant_id account_id", sum="settled_tokens settled_nanos settled_calls"),
    "accounts": _of(
        _LIMITS,
        ours="tenant_id account_id budget_id window_start window_end grants_until closed_at leases earns moved_to"
        " fired_tokens fired_nanos fired_calls subject_run",
        name="budget subject_user", names="subject", choice="enforcement counts", count="thresholds",
        sum="settled_tokens settled_nanos settled_calls held_tokens held_nanos held_calls"
        " base_tokens base_nanos base_calls",
    ),
    "api_keys": _of(
        ours="tenant_id key_id secret_hash created_at revoked_at", words="name", choice="role", instant="expires_at"
    ),
    "audit_log": _of(ours="tenant_id audit_id action booked_at", words="actor target", names="before after"),
    "budget_terms": _of(
        _LIMITS, ours="tenant_id budget_id terms_id since", count="rollover_tokens rollover_calls",
        money="rollover_nanos", names="overrides",
    ),
    "budgets": _of(
        _LIMITS, ours="tenant_id budget_id created_at archived_at", name="name", names="selector overrides named",
        choice="window enforcement counts unassigned", count="thresholds rollover_tokens rollover_calls",
        money="rollover_nanos",
    ),
    "calendar_changes": _of(
        ours="tenant_id change_id", instant="effective_from", choice="time_zone", count="week_start fiscal_month"
    ),
    "checkpoints": _of(ours="tenant_id last_id booked_at made_at"),
    "daily_checkpoints": _of(ours="tenant_id day", name="user_id agent_type model request_type", sum=_FIGURES),
    "daily_tag_checkpoints": _of(ours="tenant_id day", name="tag value", sum=_FIGURES),
    "daily_tag_usage": _of(ours="tenant_id day segment", name="tag value", sum=_FIGURES),
    "daily_usage": _of(ours="tenant_id day segment", name="user_id agent_type model request_type", sum=_FIGURES),
    "denials": _of(
        _FACTS, ours="tenant_id denial_id created_at", choice="code enforced", names="refusals",
        count="input_tokens max_output_tokens calls", sum="fits_output_tokens",
    ),
    "erasures": _of(ours="tenant_id pseudonym last_id segment began_at journal reached", name="user_id"),
    "grants": _of(
        ours="tenant_id grant_id account_id given_at lapsed_at", count="tokens calls", money="nanos",
        sum="left_tokens left_nanos left_calls mark", instant="expires_at", words="reason actor",
    ),
    "hourly_checkpoints": _of(ours="tenant_id hour", name="cost_center agent_type model", sum=_FIGURES),
    "hourly_usage": _of(ours="tenant_id hour segment", name="cost_center agent_type model", sum=_FIGURES),
    "identity_providers": _of(
        ours="provider_id added_at removed_at", id="tenant_id",
        words="issuer audience jwks_url user_claim role_claim", names="roles", choice="default_role",
    ),
    "increases": _of(
        ours="tenant_id increase_id asked_at decided_at grant_id", id="account_id", count="tokens calls",
        money="nanos", words="reason asked_by decided_by note", choice="state",
    ),
    "limit_entries": _of(
        ours="tenant_id account_id entry_id booked_at hard bound_tokens bound_nanos bound_calls", choice="kind",
        sum="tokens nanos calls", words="reason actor",
    ),
    "model_names": _of(
        ours="tenant_id decided_id since change_id", name="asked_provider asked_model provider model"
    ),
    "operation_keys": _of(ours="tenant_id fingerprint answer target_id booked_at", words="source key"),
    "prices": _of(
        ours="price_id provider model ordinal rates valid_from daily_from daily_until context_tokens source added_at"
    ),
    "price_aliases": _of(ours="alias_id added_at provider model to_provider to_model"),
    "tenant_aliases": _of(ours="tenant_id alias_id set_at", name="provider model to_provider to_model"),
    "tenant_discounts": _of(
        ours="tenant_id discount_id set_at", name="provider model", instant="valid_from valid_until", count="factor"
    ),
    "tenant_models": _of(ours="tenant_id facts_id set_at", name="provider model", names="facts"),
    "tenant_prices": _of(ours="tenant_id price_id set_at", name="provider model", instant="valid_from", count="rates"),
    "quarantine": _of(ours="tenant_id quarantine_id code kept_at", words="source key detail", kept="body"),
    "quarantine_decisions": _of(ours="tenant_id audit_id", id="quarantine_id", choice="state"),
    "reservations": _of(
        _FACTS, name="requested_model requested_provider", words="end_reason",
        ours="tenant_id reservation_id state price_id path created_at expires_at ended_at ended_id event_id changes"
        " discount_id",
        count="input_tokens cached_input_tokens max_output_tokens ttl_seconds held_calls",
        sum="held_tokens held_uncached_tokens held_nanos drawn_tokens drawn_uncached_tokens drawn_nanos drawn_calls",
        names="advice warnings drawn_use", use="announced", choice="lease",
    ),
    "run_checkpoints": _of(ours="tenant_id", id="run_id", name="agent_type tool model", sum=_FIGURES),
    "run_steps": _of(ours="tenant_id step_id iteration booked_at", id="run_id", words="label"),
    "run_usage": _of(ours="tenant_id segment", id="run_id", name="agent_type tool model", sum=_FIGURES),
    "runs": _of(
        _LIMITS, ours="tenant_id run_id state created_at ended_at ancestors iterations", words="external_id",
        name="user_id cost_center", choice="strict", names="allocated", count="limit_iterations",
    ),
    "step_checkpoints": _of(ours="tenant_id steps", id="run_id"),
    "tenant_ledgers": _of(
        ours="tenant_id sequence config_version booked_at batch_stamp", words="stopped_reason",
        sum="booked_tokens booked_nanos", choice="finds_duplicates",
    ),
    "tenants": _of(
        ours="tenant_id created_at", name="name", choice="time_zone", count="week_start fiscal_month"
    ),
    "threshold_events": _of(
        ours="tenant_id threshold_id account_id unit fired withdrawn booked_at", count="percent",
        sum="settled limit_amount",
    ),
    "transfers": _of(
        ours="tenant_id transfer_id from_account to_account booked_at",
        sum="settled_tokens settled_nanos settled_calls held_tokens held_nanos held_calls",
    ),
    "trigger_firings": _of(
        ours="tenant_id reservation_id technique applied fired_at", choice="trigger", names="evidence"
    ),
    "triggers": _of(
        ours="tenant_id trigger_id set_at", choice="kind mode", count="at_percent per_call_tokens",
        money="per_call_nanos", names="downgrades",
    ),
    "usage_events": _of(
        _FACTS, name="requested_provider requested_model served_provider served_model", words="response_id",
        ours="tenant_id event_id booked_at posted_at reservation_id price_id path overrun late unpriced clamped calls"
        " held_path held_at corrects recosts counts_since repetition earlier_event_id discount_id list_price_id",
        names="details",
        claimed="occurred_at", choice="estimated failed part service_tier kind", sum="cost_nanos list_cost_nanos",
        use="input_tokens output_tokens cache_read_tokens cache_write_5m_tokens cache_write_1h_tokens"
        " reasoning_tokens original_input_tokens others",
    ),
    "users": _of(ours="tenant_id set_at erased", name="user_id", names="cost_centers"),
    "write_probes": _of(ours="probed_at"),
}  # fmt: skip
"""For each table its columns, by guard."""

WITHOUT_CALLERS_TEXT = frozenset(
    {"trigger_firings.evidence", "audit_log.actor", "grants.actor", "limit_entries.actor", "increases.decided_by"}
)
"""Columns with text of callers that a request can't choose: how a key or a person is called, or which account fired."""

FIELDS: dict[str, tuple[str, ...]] = {
    "run": ("allocation.0.agent_type", "allocation.0.weight", "allocation.0.minimum_tokens"),
    "rebalance": ("allocation.0.agent_type", "allocation.0.weight", "allocation.0.minimum_tokens"),
    "preflight": tuple(
        f"calls.0.{field}"
        for field in (
            "user", "agent_type", "provider", "model", "count", "input_tokens", "max_output_tokens", "cost_center",
            "request_type", "run_id", "tool", "tags",
        )
    ),
    "operations": tuple(
        f"operations.0.{field}"
        for field in (
            "op", "idempotency_key", "user", "agent_type", "provider", "model", "input_tokens", "max_output_tokens",
            "cost_center", "request_type", "run_id", "tool", "tags", "ttl_seconds",
        )
    ),
    "events": tuple(
        f"events.0.{field}"
        for field in (
            "source", "idempotency_key", "user", "agent_type", "provider", "model", "usage", "usage.input_tokens",
            "usage.output_tokens", "usage.reasoning_tokens", "cost_center", "request_type", "run_id", "tool", "tags",
            "occurred_at", "response_id", "outcome", "estimated", "unknown",
        )
    ),
    "budget": (
        "selector.user", "rollover.tokens", "rollover.cost", "overrides.0.subject", "overrides.0.subject.tag~team",
        "overrides.0.limits", "overrides.0.limits.cost",
    ),
    "change budget": ("rollover", "overrides"),
    "price": (
        "rates.base", "rates.base.input", "rates.base.output", "rates.tiers", "rates.tiers.0.above",
        "rates.tiers.0.rates", "rates.tiers.0.rates.output", "rates.tier_mode",
    ),
    "users": ("users.0.user", "users.0.cost_centers.0.cost_center", "users.0.cost_centers.1.from"),
    "trigger": (
        "downgrades.0.provider", "downgrades.0.model", "downgrades.0.to_provider", "downgrades.0.to_model",
        "downgrades.0.capabilities", "downgrades.0.context_tokens",
    ),
    "reserve": ("requires.0", "tags.team"),
    "lease": ("requires.0", "tags.team"),
    "identity provider": ("roles.root",),
}  # fmt: skip
"""Fields inside lists and objects, which `verbs.py` does not list; `~` stands for a dot in a name."""

EVERY_FIELD = tuple(
    (verb.name, path)
    for verb in VERBS
    if verb.model
    for path in dict.fromkeys((*verb.kinds, *FIELDS.get(verb.name, ())))
)
