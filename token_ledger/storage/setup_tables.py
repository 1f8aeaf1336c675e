"""Owns the tables of what is set up: tenants, keys, budgets, policies, users, prices, and the log of every change."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from token_ledger.storage.columns import Instant, at, big, metadata, small, words

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("time_zone", Text, nullable=False, server_default=text("'UTC'")),
    Column("created_at", Instant, nullable=False, server_default=text("now()")),
    small("week_start"),
    small("fiscal_month", default="1"),
)
"""With the calendar that a tenant began with; changes to it are in calendar_changes."""

calendar_changes = Table(
    "calendar_changes",
    metadata,
    big("tenant_id"),
    at("effective_from"),
    words("time_zone"),
    small("week_start", default=None),
    small("fiscal_month", default=None),
    big("change_id", default="0"),
    PrimaryKeyConstraint("tenant_id", "effective_from", "change_id"),
)
"""All that were ever decided on, by the id of their audit entry; 0 stands for those of before there was one here."""

STANDING_CHANGES = """(
    select * from calendar_changes as c where not exists (
        select from calendar_changes as later
        where later.tenant_id = c.tenant_id and later.effective_from <= c.effective_from
          and later.change_id > c.change_id
    )
) as standing"""
"""The changes that make the calendar: each takes the place of those decided before it for its instant or later."""

tenant_ledgers = Table(
    "tenant_ledgers",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey(tenants.c.tenant_id), primary_key=True, autoincrement=False),
    big("sequence", default="0"),
    big("config_version", default="1"),
    Column("booked_at", Instant, nullable=False, server_default=text("'epoch'")),
    words("stopped_reason", null=True),
    postgresql_with={"fillfactor": "10"},
)
"""The row that a batch locks: one per tenant, the hottest of all."""

api_keys = Table(
    "api_keys",
    metadata,
    big("tenant_id"),
    words("key_id"),
    words("name"),
    words("role"),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=text("now()")),
    at("expires_at", null=True),
    at("revoked_at", null=True),
    PrimaryKeyConstraint("tenant_id", "key_id"),
    CheckConstraint("role in ('agent', 'finance', 'admin', 'operator')", name="role"),
)

identity_providers = Table(
    "identity_providers",
    metadata,
    Column("provider_id", BigInteger, Identity(always=True), primary_key=True),
    big("tenant_id"),
    words("issuer"),
    words("audience"),
    words("jwks_url", null=True),
    words("user_claim"),
    words("role_claim", null=True),
    Column("roles", JSONB, nullable=False),
    words("default_role", null=True),
    Column("added_at", Instant, nullable=False, server_default=text("now()")),
    at("removed_at", null=True),
    Index(
        "identity_providers_in_force", "issuer", "audience", unique=True, postgresql_where=text("removed_at is null")
    ),
    Index("identity_providers_of_tenant", "tenant_id"),
)
"""Whose word a tenant takes for who people are. A person's token names no tenant: issuer and audience do."""

budgets = Table(
    "budgets",
    metadata,
    big("tenant_id"),
    big("budget_id"),
    words("name"),
    Column("selector", JSONB, nullable=False),
    words("window"),
    words("enforcement"),
    words("counts"),
    big("limit_tokens", null=True),
    big("limit_nanos", null=True),
    big("limit_calls", null=True),
    at("created_at"),
    at("archived_at", null=True),
    Column("thresholds", ARRAY(SmallInteger), nullable=False, server_default=text("'{50,75,90,100}'")),
    big("rollover_tokens", null=True),
    big("rollover_nanos", null=True),
    big("rollover_calls", null=True),
    PrimaryKeyConstraint("tenant_id", "budget_id"),
    Index("budgets_name_in_use", "tenant_id", "name", unique=True, postgresql_where=text("archived_at is null")),
    CheckConstraint("limit_tokens >= 0 and limit_nanos >= 0 and limit_calls >= 0", name="limits"),
)

triggers = Table(
    "triggers",
    metadata,
    big("tenant_id"),
    big("trigger_id"),
    words("kind"),
    Column("at_percent", SmallInteger, nullable=False),
    words("mode"),
    big("per_call_tokens", null=True),
    big("per_call_nanos", null=True),
    Column("downgrades", JSONB, nullable=False, server_default=text("'[]'")),
    at("set_at"),
    PrimaryKeyConstraint("tenant_id", "kind"),
)

users = Table(
    "users",
    metadata,
    big("tenant_id"),
    words("user_id"),
    Column("cost_centers", JSONB, nullable=False, server_default=text("'[]'")),
    at("set_at"),
    PrimaryKeyConstraint("tenant_id", "user_id"),
)

audit_log = Table(
    "audit_log",
    metadata,
    big("tenant_id"),
    big("audit_id"),
    words("actor"),
    words("action"),
    words("target"),
    Column("before", JSONB),
    Column("after", JSONB),
    at("booked_at"),
    PrimaryKeyConstraint("tenant_id", "audit_id"),
)

prices = Table(
    "prices",
    metadata,
    Column("price_id", BigInteger, Identity(always=True), primary_key=True),
    words("provider"),
    words("model"),
    Column("ordinal", SmallInteger, nullable=False),
    Column("rates", JSONB, nullable=False),
    at("valid_from", null=True),
    Column("daily_from", Time),
    Column("daily_until", Time),
    big("context_tokens", null=True),
    words("source"),
    Column("added_at", Instant, nullable=False, server_default=text("now()")),
    UniqueConstraint("provider", "model", "ordinal", "source"),
)
"""The global price book: entries are added, never changed, so that the past keeps its price."""
