"""first schema

Tables, the role the service works as, row-level security, partitions of the usage events.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "2026_11_21_first_schema"
down_revision = None
branch_labels = None
depends_on = None

APP_ROLE = "token_ledger_app"

JOURNALS = ("denials", "limit_entries", "operation_keys", "quarantine", "trigger_firings", "usage_events")
"""Rows that are written once: the service may add and read, never change or delete."""

STATES = (
    "accounts", "api_keys", "budgets", "daily_tag_usage", "daily_usage", "hourly_usage", "reservations", "runs",
    "tenant_ledgers", "triggers",
)  # fmt: skip

TENANT_TABLES = (*JOURNALS, *STATES)

MAKE_ROLE = f"""
do $$
begin
    create role {APP_ROLE} nologin;
exception when duplicate_object or unique_violation then
    null;  -- roles belong to the server: another database of it has made this one
end $$
"""

# A partition is made beside its parent and then attached, which takes a weaker lock than making it inside. The
# function runs as the owner, so that the worker can look ahead without owning anything.
MAKE_PARTITION_FUNCTION = """
create function token_ledger_add_partitions(months_ahead integer) returns integer
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
declare
    first_day timestamptz;
    partition text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(7022027);
    for month in 0..months_ahead loop
        first_day := date_trunc('month', now()) + make_interval(months => month);
        partition := 'usage_events_' || to_char(first_day, 'YYYY_MM');
        continue when to_regclass(partition) is not null;
        execute format('create table %I (like usage_events including all)', partition);
        execute format('alter table usage_events attach partition %I for values from (%L) to (%L)',
                       partition, first_day, first_day + interval '1 month');
        made := made + 1;
    end loop;
    return made;
end $$
"""

FACTS = (
    "user_id text, cost_center text, agent_type text, request_type text, provider text, model text, run_id bigint,"
    " tool text, tags jsonb"
)
AMOUNTS = (
    "calls bigint, input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint,"
    " reasoning_tokens bigint, cost_nanos bigint"
)

# A batch sends the rows of a table as one array of these. `lock` is the position of the row's tenant among those that
# the batch has locked: tenants and instants travel once, in arrays of their own. One array is unpacked in half the time that an array for
# every column takes. They are not the tables' own row types, so that a table can gain a column while the version
# before still writes.
BATCH_TYPES = {
    "operation_key_name": "tenant_id bigint, source text, key text",
    "account_balance_row": "lock integer, account_id bigint, budget_id bigint, subject text, window_start timestamptz,"
    " settled_tokens bigint, settled_nanos bigint, settled_calls bigint, held_tokens bigint, held_nanos bigint,"
    " held_calls bigint",
    "reservation_row": f"lock integer, reservation_id bigint, key text, fingerprint bytea, {FACTS},"
    " requested_model text, input_tokens bigint, cached_input_tokens bigint, max_output_tokens bigint,"
    " held_tokens bigint, held_uncached_tokens bigint, held_nanos bigint, price_id bigint, path bigint[],"
    " ttl_seconds integer, directive jsonb, warnings jsonb",
    "usage_event_row": f"lock integer, event_id bigint, source text, key text, fingerprint bytea,"
    f" occurred_at timestamptz, reservation_id bigint, {FACTS}, input_tokens bigint, output_tokens bigint,"
    " cache_read_tokens bigint, cache_write_5m_tokens bigint, cache_write_1h_tokens bigint, reasoning_tokens bigint,"
    " original_input_tokens bigint, cost_nanos bigint, price_id bigint, path bigint[], overrun boolean, late boolean,"
    " estimated boolean, unpriced boolean, clamped boolean, failed boolean, response_id text",
    "hourly_usage_row": f"lock integer, hour timestamptz, cost_center text, agent_type text, model text, {AMOUNTS}",
    "daily_usage_row": "lock integer, day timestamptz, user_id text, agent_type text, model text, request_type text,"
    f" {AMOUNTS}",
}

STATEMENTS = (
    *(f"create type {name} as ({columns})" for name, columns in BATCH_TYPES.items()),
    MAKE_ROLE,
    f"grant {APP_ROLE} to current_user",
    MAKE_PARTITION_FUNCTION,
    "revoke all on function token_ledger_add_partitions(integer) from public",
    f"grant execute on function token_ledger_add_partitions(integer) to {APP_ROLE}",
    "insert into tenants (tenant_id, name) overriding system value values (0, 'operator')",
    "insert into tenant_ledgers (tenant_id) values (0)",
)


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.create_table(
        "accounts",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("budget", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enforcement", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("limit_tokens", sa.BigInteger(), nullable=True),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=True),
        sa.Column("limit_calls", sa.BigInteger(), nullable=True),
        sa.Column("settled_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("settled_nanos", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("settled_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_nanos", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "held_tokens >= 0 and held_nanos >= 0 and held_calls >= 0", name=op.f("accounts_held_check")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", name=op.f("accounts_pkey")),
        sa.UniqueConstraint(
            "tenant_id",
            "budget_id",
            "subject",
            "window_start",
            name=op.f("accounts_tenant_id_budget_id_subject_window_start_key"),
        ),
        postgresql_with={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.05"},
    )
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "role in ('agent', 'finance', 'admin', 'operator')", name=op.f("api_keys_role_check")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key_id", name=op.f("api_keys_pkey")),
    )
    op.create_table(
        "budgets",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("selector", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("enforcement", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("limit_tokens", sa.BigInteger(), nullable=True),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=True),
        sa.Column("limit_calls", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "limit_tokens >= 0 and limit_nanos >= 0 and limit_calls >= 0", name=op.f("budgets_limits_check")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "budget_id", name=op.f("budgets_pkey")),
    )
    op.create_index(
        "budgets_name_in_use",
        "budgets",
        ["tenant_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at is null"),
    )
    op.create_table(
        "daily_tag_usage",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "day", "tag", "value", name=op.f("daily_tag_usage_pkey")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "daily_usage",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("agent_type", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("request_type", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id",
            "day",
            "user_id",
            "agent_type",
            "model",
            "request_type",
            name=op.f("daily_usage_pkey"),
        ),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "denials",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("denial_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("cost_center", sa.Text(), nullable=False),
        sa.Column("agent_type", sa.Text(), nullable=False),
        sa.Column("request_type", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("tool", sa.Text(), nullable=True),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("enforced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("refusals", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("max_output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("fits_output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "denial_id", name=op.f("denials_pkey")),
    )
    op.create_table(
        "hourly_usage",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cost_center", sa.Text(), nullable=False),
        sa.Column("agent_type", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "hour", "cost_center", "agent_type", "model", name=op.f("hourly_usage_pkey")
        ),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "limit_entries",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.Column("nanos", sa.BigInteger(), nullable=True),
        sa.Column("calls", sa.BigInteger(), nullable=True),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind in ('opening')", name=op.f("limit_entries_kind_check")),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "entry_id", name=op.f("limit_entries_pkey")),
    )
    op.create_table(
        "operation_keys",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "source", "key", name=op.f("operation_keys_pkey")),
    )
    op.create_table(
        "prices",
        sa.Column("price_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("rates", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("daily_from", sa.Time(), nullable=True),
        sa.Column("daily_until", sa.Time(), nullable=True),
        sa.Column("context_tokens", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("price_id", name=op.f("prices_pkey")),
        sa.UniqueConstraint(
            "provider", "model", "ordinal", "source", name=op.f("prices_provider_model_ordinal_source_key")
        ),
    )
    op.create_table(
        "quarantine",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("quarantine_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "quarantine_id", name=op.f("quarantine_pkey")),
    )
    op.create_table(
        "reservations",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("reservation_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("cost_center", sa.Text(), nullable=False),
        sa.Column("agent_type", sa.Text(), nullable=False),
        sa.Column("request_type", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("tool", sa.Text(), nullable=True),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("requested_model", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("max_output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("held_tokens", sa.BigInteger(), nullable=False),
        sa.Column("held_uncached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("held_nanos", sa.BigInteger(), nullable=False),
        sa.Column("price_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ttl_seconds", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_id", sa.BigInteger(), nullable=True),
        sa.Column("event_id", sa.BigInteger(), nullable=True),
        sa.Column("directive", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("(state = 'held') = (ended_id is null)", name=op.f("reservations_ended_check")),
        sa.CheckConstraint(
            "(state = 'settled') = (event_id is not null)", name=op.f("reservations_settled_check")
        ),
        sa.CheckConstraint(
            "state in ('held', 'settled', 'released', 'expired')", name=op.f("reservations_state_check")
        ),
        sa.CheckConstraint(
            "held_tokens >= 0 and held_uncached_tokens >= 0 and held_nanos >= 0",
            name=op.f("reservations_amounts_check"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "reservation_id", name=op.f("reservations_pkey")),
        postgresql_with={"fillfactor": "85"},
    )
    op.create_index(
        "reservations_due",
        "reservations",
        ["tenant_id", "expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_table(
        "runs",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("cost_center", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("strict", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("limit_tokens", sa.BigInteger(), nullable=True),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=True),
        sa.Column("limit_calls", sa.BigInteger(), nullable=True),
        sa.Column(
            "allocated",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", name=op.f("runs_pkey")),
    )
    op.create_index(
        op.f("runs_tenant_id_external_id_idx"),
        "runs",
        ["tenant_id", "external_id"],
        unique=False,
        postgresql_where=sa.text("external_id is not null"),
    )
    op.create_index(
        op.f("runs_tenant_id_user_id_run_id_idx"), "runs", ["tenant_id", "user_id", "run_id"], unique=False
    )
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("tenants_pkey")),
        sa.UniqueConstraint("name", name=op.f("tenants_name_key")),
    )
    op.create_table(
        "trigger_firings",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("reservation_id", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("technique", sa.Text(), nullable=False),
        sa.Column("applied", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "reservation_id", "trigger", name=op.f("trigger_firings_pkey")),
    )
    op.create_table(
        "triggers",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("trigger_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at_percent", sa.SmallInteger(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("per_call_tokens", sa.BigInteger(), nullable=True),
        sa.Column("per_call_nanos", sa.BigInteger(), nullable=True),
        sa.Column(
            "downgrades",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", name=op.f("triggers_pkey")),
    )
    op.create_table(
        "usage_events",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reservation_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("cost_center", sa.Text(), nullable=False),
        sa.Column("agent_type", sa.Text(), nullable=False),
        sa.Column("request_type", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("tool", sa.Text(), nullable=True),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_5m_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_1h_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("original_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.Column("price_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("overrun", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("late", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("estimated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("unpriced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("clamped", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("response_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens <= input_tokens and reasoning_tokens <= output_tokens",
            name=op.f("usage_events_parts_check"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "event_id", "booked_at", name=op.f("usage_events_pkey")),
        postgresql_partition_by="RANGE (booked_at)",
    )
    op.create_table(
        "tenant_ledgers",
        sa.Column("tenant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("config_version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), server_default=sa.text("'epoch'"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("tenant_ledgers_tenant_id_fkey")
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("tenant_ledgers_pkey")),
        postgresql_with={"fillfactor": "10"},
    )

    # Everything below is not in SQLAlchemy's model: roles, row-level security, partitions, the operator's tenant.
    for statement in STATEMENTS:
        op.execute(statement)
    for table in TENANT_TABLES:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy tenant_rows on {table} to {APP_ROLE}"
            f" using (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))"
            f" with check (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))"
        )
    for table in JOURNALS:
        op.execute(f"grant select, insert on {table} to {APP_ROLE}")
    for table in STATES:
        op.execute(f"grant select, insert, update on {table} to {APP_ROLE}")
    op.execute(f"grant select, insert on tenants to {APP_ROLE}")
    op.execute(f"grant select on prices, alembic_version to {APP_ROLE}")
    op.execute("select token_ledger_add_partitions(3)")


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop function token_ledger_add_partitions(integer)")
    for table in (*TENANT_TABLES, "prices", "tenants"):
        op.drop_table(table)
    for name in BATCH_TYPES:
        op.execute(f"drop type {name}")
