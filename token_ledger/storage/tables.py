"""Owns the schema, as SQLAlchemy tables that the migrations are checked against (design D9 to D15).

Every key starts with tenant_id; the exceptions are `tenants`, the identity providers and the global price book. No
foreign key points to usage_events, which is partitioned by month of booking. Ids come from the ledger (sequence and
ordinal), not from database sequences, so that their order is the order of decisions.
"""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    text,
)  # fmt: skip
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)

Instant = DateTime(timezone=True)


def _big(name: str, *, null: bool = False, default: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=null, server_default=text(default) if default else None)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _at(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, Instant, nullable=null)


def _small(name: str, *, default: str | None = "0") -> Column[int]:
    return Column(name, SmallInteger, nullable=False, server_default=text(default) if default else None)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def _figures() -> list[Column[int]]:
    names = (
        "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
        "cost_nanos",
    )  # fmt: skip
    return [_big(name) for name in names]


def _facts() -> list[Column[Any]]:
    return [
        _text("user_id"), _text("cost_center"), _text("agent_type"), _text("request_type"), _text("provider"),
        _text("model"), _big("run_id", null=True), _text("tool", null=True), Column("tags", JSONB),
    ]  # fmt: skip


tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("time_zone", Text, nullable=False, server_default=text("'UTC'")),
    Column("created_at", Instant, nullable=False, server_default=text("now()")),
    _small("week_start"),
    _small("fiscal_month", default="1"),
)
"""With the calendar that a tenant began with; changes to it are in calendar_changes."""

calendar_changes = Table(
    "calendar_changes",
    metadata,
    _big("tenant_id"),
    _at("effective_from"),
    _text("time_zone"),
    _small("week_start", default=None),
    _small("fiscal_month", default=None),
    PrimaryKeyConstraint("tenant_id", "effective_from"),
)

tenant_ledgers = Table(
    "tenant_ledgers",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey(tenants.c.tenant_id), primary_key=True, autoincrement=False),
    _big("sequence", default="0"),
    _big("config_version", default="1"),
    Column("booked_at", Instant, nullable=False, server_default=text("'epoch'")),
    _text("stopped_reason", null=True),
    postgresql_with={"fillfactor": "10"},
)
"""The row that a batch locks: one per tenant, the hottest of all."""

api_keys = Table(
    "api_keys",
    metadata,
    _big("tenant_id"),
    _text("key_id"),
    _text("name"),
    _text("role"),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=text("now()")),
    _at("expires_at", null=True),
    _at("revoked_at", null=True),
    PrimaryKeyConstraint("tenant_id", "key_id"),
    CheckConstraint("role in ('agent', 'finance', 'admin', 'operator')", name="role"),
)

identity_providers = Table(
    "identity_providers",
    metadata,
    Column("provider_id", BigInteger, Identity(always=True), primary_key=True),
    _big("tenant_id"),
    _text("issuer"),
    _text("audience"),
    _text("jwks_url", null=True),
    _text("user_claim"),
    _text("role_claim", null=True),
    Column("roles", JSONB, nullable=False),
    _text("default_role", null=True),
    Column("added_at", Instant, nullable=False, server_default=text("now()")),
    _at("removed_at", null=True),
    Index(
        "identity_providers_in_force", "issuer", "audience", unique=True, postgresql_where=text("removed_at is null")
    ),
    Index("identity_providers_of_tenant", "tenant_id"),
)
"""Whose word a tenant takes for who people are. A person's token names no tenant: issuer and audience do."""

budgets = Table(
    "budgets",
    metadata,
    _big("tenant_id"),
    _big("budget_id"),
    _text("name"),
    Column("selector", JSONB, nullable=False),
    _text("window"),
    _text("enforcement"),
    _text("counts"),
    _big("limit_tokens", null=True),
    _big("limit_nanos", null=True),
    _big("limit_calls", null=True),
    _at("created_at"),
    _at("archived_at", null=True),
    Column("thresholds", ARRAY(SmallInteger), nullable=False, server_default=text("'{50,75,90,100}'")),
    _big("rollover_tokens", null=True),
    _big("rollover_nanos", null=True),
    _big("rollover_calls", null=True),
    PrimaryKeyConstraint("tenant_id", "budget_id"),
    Index("budgets_name_in_use", "tenant_id", "name", unique=True, postgresql_where=text("archived_at is null")),
    CheckConstraint("limit_tokens >= 0 and limit_nanos >= 0 and limit_calls >= 0", name="limits"),
)

triggers = Table(
    "triggers",
    metadata,
    _big("tenant_id"),
    _big("trigger_id"),
    _text("kind"),
    Column("at_percent", SmallInteger, nullable=False),
    _text("mode"),
    _big("per_call_tokens", null=True),
    _big("per_call_nanos", null=True),
    Column("downgrades", JSONB, nullable=False, server_default=text("'[]'")),
    _at("set_at"),
    PrimaryKeyConstraint("tenant_id", "kind"),
)

runs = Table(
    "runs",
    metadata,
    _big("tenant_id"),
    _big("run_id"),
    _text("external_id", null=True),
    _text("user_id"),
    _text("cost_center"),
    _text("state"),
    _flag("strict"),
    _big("limit_tokens", null=True),
    _big("limit_nanos", null=True),
    _big("limit_calls", null=True),
    Column("allocated", JSONB, nullable=False, server_default=text("'{}'")),
    _at("created_at"),
    _at("ended_at", null=True),
    Column("ancestors", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
    _big("limit_iterations", null=True),
    _big("iterations", default="0"),
    PrimaryKeyConstraint("tenant_id", "run_id"),
    Index(None, "tenant_id", "external_id", postgresql_where=text("external_id is not null")),
    Index(None, "tenant_id", "user_id", "run_id"),
    Index("runs_with_ancestors", "ancestors", postgresql_using="gin", postgresql_where=text("ancestors <> '{}'")),
)

run_steps = Table(
    "run_steps",
    metadata,
    _big("tenant_id"),
    _big("step_id"),
    _big("run_id"),
    _big("iteration"),
    _text("label", null=True),
    _at("booked_at"),
    PrimaryKeyConstraint("tenant_id", "step_id"),
)

accounts = Table(
    "accounts",
    metadata,
    _big("tenant_id"),
    _big("account_id"),
    _big("budget_id"),
    _text("budget"),
    _text("subject"),
    _at("window_start"),
    _at("window_end", null=True),
    _text("enforcement"),
    _text("counts"),
    _big("limit_tokens", null=True),
    _big("limit_nanos", null=True),
    _big("limit_calls", null=True),
    _big("settled_tokens", default="0"),
    _big("settled_nanos", default="0"),
    _big("settled_calls", default="0"),
    _big("held_tokens", default="0"),
    _big("held_nanos", default="0"),
    _big("held_calls", default="0"),
    _big("base_tokens", null=True),
    _big("base_nanos", null=True),
    _big("base_calls", null=True),
    Column("thresholds", ARRAY(SmallInteger), nullable=False, server_default=text("'{}'")),
    _small("fired_tokens"),
    _small("fired_nanos"),
    _small("fired_calls"),
    Column("leases", Integer, nullable=False, server_default=text("0")),
    _at("grants_until", null=True),
    _at("closed_at", null=True),
    PrimaryKeyConstraint("tenant_id", "account_id"),
    UniqueConstraint("tenant_id", "budget_id", "subject", "window_start"),
    Index(
        "accounts_to_close",
        "tenant_id",
        "window_end",
        postgresql_where=text("closed_at is null and window_end is not null"),
    ),
    Index("accounts_with_grants", "tenant_id", "grants_until", postgresql_where=text("grants_until is not null")),
    CheckConstraint("held_tokens >= 0 and held_nanos >= 0 and held_calls >= 0", name="held"),
    CheckConstraint("leases >= 0", name="leases"),
    postgresql_with={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.05"},
)

limit_entries = Table(
    "limit_entries",
    metadata,
    _big("tenant_id"),
    _big("account_id"),
    _big("entry_id"),
    _text("kind"),
    _big("tokens", null=True),
    _big("nanos", null=True),
    _big("calls", null=True),
    _at("booked_at"),
    _small("hard"),
    _text("reason", null=True),
    _text("actor", null=True),
    PrimaryKeyConstraint("tenant_id", "account_id", "entry_id"),
    CheckConstraint(
        "kind in ('opening', 'rollover', 'grant', 'lapse', 'increase', 'change', 'rebalance')", name="kind"
    ),
)
"""The journal of limits (design D6): what an account's limit is the sum of.

`hard` says that the entry made the account deny (1), or ended that (-1).
"""

grants = Table(
    "grants",
    metadata,
    _big("tenant_id"),
    _big("grant_id"),
    _big("account_id"),
    _big("tokens", null=True),
    _big("nanos", null=True),
    _big("calls", null=True),
    _big("left_tokens", null=True),
    _big("left_nanos", null=True),
    _big("left_calls", null=True),
    Column("mark", ARRAY(BigInteger), nullable=False),
    _at("expires_at", null=True),
    _text("reason"),
    _text("actor"),
    _at("given_at"),
    _at("lapsed_at", null=True),
    PrimaryKeyConstraint("tenant_id", "grant_id"),
    Index("grants_of_account", "tenant_id", "account_id", postgresql_where=text("lapsed_at is null")),
)

increases = Table(
    "increases",
    metadata,
    _big("tenant_id"),
    _big("increase_id"),
    _big("account_id"),
    _big("tokens", null=True),
    _big("nanos", null=True),
    _big("calls", null=True),
    _text("reason"),
    _text("asked_by"),
    _at("asked_at"),
    _text("state"),
    _text("decided_by", null=True),
    _at("decided_at", null=True),
    _text("note", null=True),
    _big("grant_id", null=True),
    PrimaryKeyConstraint("tenant_id", "increase_id"),
    CheckConstraint("state in ('asked', 'approved', 'refused')", name="state"),
)

threshold_events = Table(
    "threshold_events",
    metadata,
    _big("tenant_id"),
    _big("threshold_id"),
    _big("account_id"),
    _text("unit"),
    _small("percent", default=None),
    _flag("fired"),
    _big("settled"),
    _big("limit_amount"),
    _at("booked_at"),
    PrimaryKeyConstraint("tenant_id", "threshold_id"),
)
"""Thresholds that accounts have reached (`fired`), or lie below again."""

users = Table(
    "users",
    metadata,
    _big("tenant_id"),
    _text("user_id"),
    Column("cost_centers", JSONB, nullable=False, server_default=text("'[]'")),
    _at("set_at"),
    PrimaryKeyConstraint("tenant_id", "user_id"),
)

audit_log = Table(
    "audit_log",
    metadata,
    _big("tenant_id"),
    _big("audit_id"),
    _text("actor"),
    _text("action"),
    _text("target"),
    Column("before", JSONB),
    Column("after", JSONB),
    _at("booked_at"),
    PrimaryKeyConstraint("tenant_id", "audit_id"),
)

reservations = Table(
    "reservations",
    metadata,
    _big("tenant_id"),
    _big("reservation_id"),
    _text("state"),
    *_facts(),
    _text("requested_model"),
    _big("input_tokens"),
    _big("cached_input_tokens"),
    _big("max_output_tokens"),
    _big("held_tokens"),
    _big("held_uncached_tokens"),
    _big("held_nanos"),
    _big("price_id"),
    Column("path", ARRAY(BigInteger), nullable=False),
    _at("created_at"),
    _at("expires_at"),
    Column("ttl_seconds", Integer, nullable=False),
    _at("ended_at", null=True),
    _big("ended_id", null=True),
    _big("event_id", null=True),
    Column("directive", JSONB),
    Column("warnings", JSONB),
    _flag("lease"),
    _big("held_calls", default="1"),
    _big("drawn_tokens", default="0"),
    _big("drawn_uncached_tokens", default="0"),
    _big("drawn_nanos", default="0"),
    _big("drawn_calls", default="0"),
    Column("changes", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("tenant_id", "reservation_id"),
    Index("reservations_due", "tenant_id", "expires_at", postgresql_where=text("state = 'held'")),
    CheckConstraint("state in ('held', 'settled', 'released', 'expired')", name="state"),
    CheckConstraint("(state = 'held') = (ended_id is null)", name="ended"),
    CheckConstraint("(state = 'settled') = (event_id is not null)", name="settled"),
    CheckConstraint("held_tokens >= 0 and held_uncached_tokens >= 0 and held_nanos >= 0", name="amounts"),
    postgresql_with={"fillfactor": "85"},
)

operation_keys = Table(
    "operation_keys",
    metadata,
    _big("tenant_id"),
    _text("source"),
    _text("key"),
    Column("fingerprint", LargeBinary, nullable=False),
    _text("answer"),
    _big("target_id"),
    _at("booked_at"),
    PrimaryKeyConstraint("tenant_id", "source", "key"),
)

usage_events = Table(
    "usage_events",
    metadata,
    _big("tenant_id"),
    _big("event_id"),
    _at("booked_at"),
    _at("occurred_at"),
    _at("posted_at"),
    _big("reservation_id", null=True),
    *_facts(),
    _big("input_tokens"),
    _big("output_tokens"),
    _big("cache_read_tokens"),
    _big("cache_write_5m_tokens"),
    _big("cache_write_1h_tokens"),
    _big("reasoning_tokens"),
    _big("original_input_tokens", null=True),
    _big("cost_nanos"),
    _big("price_id"),
    Column("path", ARRAY(BigInteger), nullable=False),
    _flag("overrun"),
    _flag("late"),
    _flag("estimated"),
    _flag("unpriced"),
    _flag("clamped"),
    _flag("failed"),
    _text("response_id", null=True),
    _small("calls", default="1"),
    _flag("part"),
    PrimaryKeyConstraint("tenant_id", "event_id", "booked_at"),
    CheckConstraint(
        "cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens <= input_tokens"
        " and reasoning_tokens <= output_tokens",
        name="parts",
    ),
    postgresql_partition_by="RANGE (booked_at)",
)

denials = Table(
    "denials",
    metadata,
    _big("tenant_id"),
    _big("denial_id"),
    *_facts(),
    _text("code"),
    _flag("enforced"),
    Column("refusals", JSONB, nullable=False),
    _big("input_tokens"),
    _big("max_output_tokens"),
    _big("fits_output_tokens", null=True),
    _at("created_at"),
    PrimaryKeyConstraint("tenant_id", "denial_id"),
)

trigger_firings = Table(
    "trigger_firings",
    metadata,
    _big("tenant_id"),
    _big("reservation_id"),
    _text("trigger"),
    _text("technique"),
    _flag("applied"),
    Column("evidence", JSONB, nullable=False),
    _at("fired_at"),
    PrimaryKeyConstraint("tenant_id", "reservation_id", "trigger"),
)

quarantine = Table(
    "quarantine",
    metadata,
    _big("tenant_id"),
    _big("quarantine_id"),
    _text("source"),
    _text("key"),
    _text("code"),
    _text("detail"),
    Column("body", JSONB, nullable=False),
    _at("kept_at"),
    PrimaryKeyConstraint("tenant_id", "quarantine_id"),
)

hourly_usage = Table(
    "hourly_usage",
    metadata,
    _big("tenant_id"),
    _at("hour"),
    _text("cost_center"),
    _text("agent_type"),
    _text("model"),
    *_figures(),
    PrimaryKeyConstraint("tenant_id", "hour", "cost_center", "agent_type", "model"),
    postgresql_with={"fillfactor": "50"},
)

daily_usage = Table(
    "daily_usage",
    metadata,
    _big("tenant_id"),
    _at("day"),
    _text("user_id"),
    _text("agent_type"),
    _text("model"),
    _text("request_type"),
    *_figures(),
    PrimaryKeyConstraint("tenant_id", "day", "user_id", "agent_type", "model", "request_type"),
    postgresql_with={"fillfactor": "50"},
)

run_usage = Table(
    "run_usage",
    metadata,
    _big("tenant_id"),
    _big("run_id"),
    _text("agent_type"),
    _text("tool"),
    _text("model"),
    *_figures(),
    PrimaryKeyConstraint("tenant_id", "run_id", "agent_type", "tool", "model"),
    postgresql_with={"fillfactor": "50"},
)
"""What runs used, by agent type, tool (empty for none) and model; a sub-run's is its own."""

daily_tag_usage = Table(
    "daily_tag_usage",
    metadata,
    _big("tenant_id"),
    _at("day"),
    _text("tag"),
    _text("value"),
    *_figures(),
    PrimaryKeyConstraint("tenant_id", "day", "tag", "value"),
    postgresql_with={"fillfactor": "50"},
)

prices = Table(
    "prices",
    metadata,
    Column("price_id", BigInteger, Identity(always=True), primary_key=True),
    _text("provider"),
    _text("model"),
    Column("ordinal", SmallInteger, nullable=False),
    Column("rates", JSONB, nullable=False),
    _at("valid_from", null=True),
    Column("daily_from", Time),
    Column("daily_until", Time),
    _big("context_tokens", null=True),
    _text("source"),
    Column("added_at", Instant, nullable=False, server_default=text("now()")),
    UniqueConstraint("provider", "model", "ordinal", "source"),
)
"""The global price book: entries are added, never changed, so that the past keeps its price."""


def _checkpoint(rollup: Table, name: str) -> Table:
    key = list(rollup.primary_key.columns)
    return Table(
        name,
        metadata,
        *(Column(column.name, column.type, nullable=False, autoincrement=False) for column in key),
        *_figures(),
        PrimaryKeyConstraint(*(column.name for column in key)),
    )


checkpoints = Table(
    "checkpoints",
    metadata,
    Column("tenant_id", BigInteger, primary_key=True, autoincrement=False),
    _big("last_id"),
    _at("booked_at"),
    _at("made_at"),
)
"""Up to which id the events of a tenant are added up in the tables below, and when the last of them was booked.

Older events, and what belongs to them, may be gone (design D11). Only functions of the database write here.
"""

account_checkpoints = Table(
    "account_checkpoints",
    metadata,
    _big("tenant_id"),
    _big("account_id"),
    _big("settled_tokens"),
    _big("settled_nanos"),
    _big("settled_calls"),
    PrimaryKeyConstraint("tenant_id", "account_id"),
)

step_checkpoints = Table(
    "step_checkpoints",
    metadata,
    _big("tenant_id"),
    _big("run_id"),
    _big("steps"),
    PrimaryKeyConstraint("tenant_id", "run_id"),
)
"""How many steps of a run are forgotten."""

hourly_checkpoints = _checkpoint(hourly_usage, "hourly_checkpoints")
daily_checkpoints = _checkpoint(daily_usage, "daily_checkpoints")
daily_tag_checkpoints = _checkpoint(daily_tag_usage, "daily_tag_checkpoints")
run_checkpoints = _checkpoint(run_usage, "run_checkpoints")

GLOBAL_TABLES = frozenset({"identity_providers", "tenants", "prices"})
TENANT_TABLES = tuple(sorted(set(metadata.tables) - GLOBAL_TABLES))
PARTITIONED_TABLES = ("usage_events",)
