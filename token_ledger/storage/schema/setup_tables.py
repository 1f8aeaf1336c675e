"""Owns the tables of what is set up: tenants, keys, budgets, triggers, users, prices, and the log of every change."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
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

from token_ledger.storage.schema import columns

tenants = Table(
    "tenants",
    columns.metadata,
    Column("tenant_id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("time_zone", Text, nullable=False, server_default=text("'UTC'")),
    Column("created_at", columns.Instant, nullable=False, server_default=text("now()")),
    columns.small("week_start"),
    columns.small("fiscal_month", default="1"),
)
"""With the calendar that a tenant began with; `calendar_changes` has what came later."""

calendar_changes = Table(
    "calendar_changes",
    columns.metadata,
    columns.big("tenant_id"),
    columns.at("effective_from"),
    columns.words("time_zone"),
    columns.small("week_start", default=None),
    columns.small("fiscal_month", default=None),
    columns.big("change_id", default="0"),
    PrimaryKeyConstraint("tenant_id", "effective_from", "change_id"),
)
"""Every change that was decided, by the id of its entry in the audit log."""

STANDING_CHANGES = """(
    select * from calendar_changes as c where not exists (
        select from calendar_changes as later
        where later.tenant_id = c.tenant_id and later.effective_from <= c.effective_from
          and later.change_id > c.change_id
    )
) as standing"""
"""The changes in force: each replaces those that were decided before it for its instant or later."""

tenant_ledgers = Table(
    "tenant_ledgers",
    columns.metadata,
    Column("tenant_id", BigInteger, ForeignKey(tenants.c.tenant_id), primary_key=True, autoincrement=False),
    columns.big("sequence", default="0"),
    columns.big("config_version", default="1"),
    Column("booked_at", columns.Instant, nullable=False, server_default=text("'epoch'")),
    columns.words("stopped_reason", null=True),
    columns.big("booked_tokens", default="0"),
    columns.big("booked_nanos", default="0"),
    Column("finds_duplicates", Boolean, nullable=False, server_default=text("true")),
    columns.big("batch_stamp", default="0"),
    postgresql_with={"fillfactor": "10"},
)
"""The row that every batch of a tenant locks, with the sums of all events that it has booked.

`batch_stamp` is a random number of the batch that wrote it last."""

api_keys = Table(
    "api_keys",
    columns.metadata,
    columns.big("tenant_id"),
    columns.words("key_id"),
    columns.words("name"),
    columns.words("role"),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created_at", columns.Instant, nullable=False, server_default=text("now()")),
    columns.at("expires_at", null=True),
    columns.at("revoked_at", null=True),
    PrimaryKeyConstraint("tenant_id", "key_id"),
    CheckConstraint("role in ('agent', 'finance', 'admin', 'operator')", name="role"),
)

identity_providers = Table(
    "identity_providers",
    columns.metadata,
    Column("provider_id", BigInteger, Identity(always=True), primary_key=True),
    columns.big("tenant_id"),
    columns.words("issuer"),
    columns.words("audience"),
    columns.words("jwks_url", null=True),
    columns.words("user_claim"),
    columns.words("role_claim", null=True),
    Column("roles", JSONB, nullable=False),
    columns.words("default_role", null=True),
    Column("added_at", columns.Instant, nullable=False, server_default=text("now()")),
    columns.at("removed_at", null=True),
    Index(
        "identity_providers_in_force", "issuer", "audience", unique=True, postgresql_where=text("removed_at is null")
    ),
    Index("identity_providers_of_tenant", "tenant_id"),
)
"""Issuers of people's tokens. A token names no tenant: its issuer and audience lead to one."""

budgets = Table(
    "budgets",
    columns.metadata,
    columns.big("tenant_id"),
    columns.big("budget_id"),
    columns.words("name"),
    Column("selector", JSONB, nullable=False),
    columns.words("window"),
    columns.words("enforcement"),
    columns.words("counts"),
    columns.big("limit_tokens", null=True),
    columns.big("limit_nanos", null=True),
    columns.big("limit_calls", null=True),
    columns.at("created_at"),
    columns.at("archived_at", null=True),
    Column("thresholds", ARRAY(SmallInteger), nullable=False, server_default=text("'{50,75,90,100}'")),
    columns.big("rollover_tokens", null=True),
    columns.big("rollover_nanos", null=True),
    columns.big("rollover_calls", null=True),
    Column("overrides", JSONB, nullable=False, server_default=text("'[]'")),
    Column("unassigned", Text, nullable=False, server_default=text("'shared'")),
    Column("named", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("tenant_id", "budget_id"),
    Index("budgets_name_in_use", "tenant_id", "name", unique=True, postgresql_where=text("archived_at is null")),
    CheckConstraint("limit_tokens >= 0 and limit_nanos >= 0 and limit_calls >= 0", name="limits"),
    CheckConstraint("unassigned in ('shared', 'per_user')", name="unassigned"),
)

budget_terms = Table(
    "budget_terms",
    columns.metadata,
    columns.big("tenant_id"),
    columns.big("budget_id"),
    columns.big("terms_id"),
    columns.at("since"),
    columns.big("limit_tokens", null=True),
    columns.big("limit_nanos", null=True),
    columns.big("limit_calls", null=True),
    columns.big("rollover_tokens", null=True),
    columns.big("rollover_nanos", null=True),
    columns.big("rollover_calls", null=True),
    Column("overrides", JSONB, nullable=False, server_default=text("'[]'")),
    PrimaryKeyConstraint("tenant_id", "budget_id", "terms_id"),
)
"""What a budget allowed from an instant on: one row when it was made, and one for every change."""

model_names = Table(
    "model_names",
    columns.metadata,
    columns.big("tenant_id"),
    columns.words("asked_provider"),
    columns.words("asked_model"),
    columns.big("decided_id"),
    columns.words("provider"),
    columns.words("model"),
    columns.at("since"),
    columns.big("change_id", null=True),
    PrimaryKeyConstraint("tenant_id", "asked_provider", "asked_model", "decided_id"),
    Index("model_names_changed", "tenant_id", postgresql_where=text("change_id is not null")),
)
"""What a name that callers used is in the books; the newest decision counts. A refresh of prices changes none.

`change_id` is the entry in the audit log of who decided; decisions on a name's first use have none.
"""

triggers = Table(
    "triggers",
    columns.metadata,
    columns.big("tenant_id"),
    columns.big("trigger_id"),
    columns.words("kind"),
    Column("at_percent", SmallInteger, nullable=False),
    columns.words("mode"),
    columns.big("per_call_tokens", null=True),
    columns.big("per_call_nanos", null=True),
    Column("downgrades", JSONB, nullable=False, server_default=text("'[]'")),
    columns.at("set_at"),
    PrimaryKeyConstraint("tenant_id", "kind"),
)

users = Table(
    "users",
    columns.metadata,
    columns.big("tenant_id"),
    columns.words("user_id"),
    Column("cost_centers", JSONB, nullable=False, server_default=text("'[]'")),
    columns.at("set_at"),
    columns.flag("erased"),
    PrimaryKeyConstraint("tenant_id", "user_id"),
)

erasures = Table(
    "erasures",
    columns.metadata,
    columns.big("tenant_id"),
    columns.words("user_id"),
    columns.words("pseudonym"),
    columns.big("last_id"),
    columns.big("segment"),
    columns.at("began_at"),
    columns.words("journal"),
    columns.big("reached"),
    PrimaryKeyConstraint("tenant_id", "user_id"),
)
"""Users being erased: their rows up to `last_id` get the pseudonym, one journal after another, as far as `reached`."""

audit_log = Table(
    "audit_log",
    columns.metadata,
    columns.big("tenant_id"),
    columns.big("audit_id"),
    columns.words("actor"),
    columns.words("action"),
    columns.words("target"),
    Column("before", JSONB),
    Column("after", JSONB),
    columns.at("booked_at"),
    PrimaryKeyConstraint("tenant_id", "audit_id"),
)

prices = Table(
    "prices",
    columns.metadata,
    Column("price_id", BigInteger, Identity(always=True), primary_key=True),
    columns.words("provider"),
    columns.words("model"),
    Column("ordinal", SmallInteger, nullable=False),
    Column("rates", JSONB, nullable=False),
    columns.at("valid_from", null=True),
    Column("daily_from", Time),
    Column("daily_until", Time),
    columns.big("context_tokens", null=True),
    columns.words("source"),
    Column("added_at", columns.Instant, nullable=False, server_default=text("now()")),
    UniqueConstraint("provider", "model", "ordinal", "source"),
)
"""The global price book. Entries are added and never changed, so that the past keeps its price."""

price_aliases = Table(
    "price_aliases",
    columns.metadata,
    Column("alias_id", BigInteger, Identity(always=True), primary_key=True),
    columns.words("provider"),
    columns.words("model"),
    columns.words("to_provider", null=True),
    columns.words("to_model", null=True),
    Column("added_at", columns.Instant, nullable=False, server_default=text("now()")),
)
"""What names of models, and patterns of names, stand for to every tenant. Of one name the newest counts."""

tenant_prices = Table(
    "tenant_prices",
    columns.metadata,
    columns.big("tenant_id"),
    columns.big("price_id"),
    columns.words("provider"),
    columns.words("model"),
    Column("rates", JSONB),
    columns.at("valid_from"),
    columns.at("set_at"),
    PrimaryKeyConstraint("tenant_id", "price_id"),
)
"""Entries of tenants' own, for models or patterns of names. Their ids are below 0; without rates it is a withdrawal."""

tenant_discounts = Table(
    "tenant_discounts",
    columns.metadata,
    columns.big("tenant_id"),
    columns.big("discount_id"),
    columns.words("provider"),
    columns.words("model"),
    columns.big("factor", null=True),
    columns.at("valid_from"),
    columns.at("valid_until", null=True),
    columns.at("set_at"),
    PrimaryKeyConstraint("tenant_id", "discount_id"),
)
"""What tenants pay of published prices, in billionths; without a factor it is the withdrawal of those before."""

tenant_aliases = Table(
    "tenant_aliases",
    columns.metadata,
    columns.big("tenant_id"),
    columns.big("alias_id"),
    columns.words("provider"),
    columns.words("model"),
    columns.words("to_provider", null=True),
    columns.words("to_model", null=True),
    columns.at("set_at"),
    PrimaryKeyConstraint("tenant_id", "alias_id"),
)
"""What names of models, and patterns of names, stand for to a tenant. Of one name the newest counts."""

tenant_models = Table(
    "tenant_models",
    columns.metadata,
    columns.big("tenant_id"),
    columns.big("facts_id"),
    columns.words("provider"),
    columns.words("model"),
    Column("facts", JSONB),
    columns.at("set_at"),
    PrimaryKeyConstraint("tenant_id", "facts_id"),
)
"""What tenants say of models beside their prices. Of one model the newest counts; without facts it says nothing."""

write_probes = Table("write_probes", columns.metadata, Column("probed_at", columns.Instant, nullable=False))
"""Where a process writes when it is asked whether it is ready. No row is ever committed."""
