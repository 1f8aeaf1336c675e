"""whole ledger

Limits by journal (grants, increases, rollover), thresholds, sub-runs and steps, leases and parts of calls, users,
calendars, the emergency stop, the audit log, and the erasure of a user.

Everything is added: the version before goes on working beside it. Its accounts have no `base_*`, which is read as
"the limit they were opened with".
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "2026_11_21_whole_ledger"
down_revision = "2026_11_21_first_schema"
branch_labels = None
depends_on = None

APP_ROLE = "token_ledger_app"

JOURNALS = ("audit_log", "calendar_changes", "run_steps", "threshold_events")
STATES = ("grants", "increases", "run_usage", "users")

ENTRY_KINDS = "kind in ('opening', 'rollover', 'grant', 'lapse', 'increase', 'change', 'rebalance')"

# What runs used so far; from now on every batch adds to it.
FILL_RUN_USAGE = """
insert into run_usage
select tenant_id, run_id, agent_type, coalesce(tool, ''), model, count(*), sum(input_tokens), sum(output_tokens),
       sum(cache_read_tokens), sum(cache_write_5m_tokens + cache_write_1h_tokens), sum(reasoning_tokens),
       sum(cost_nanos)
from usage_events where run_id is not null group by 1, 2, 3, 4, 5
"""

# In an audit entry a user's name is the value of "user" or "asked_by", a name that cost centers belong to, or a person
# who acted.
MAKE_RENAMED = """
create function token_ledger_renamed(entry jsonb, erased text, pseudonym text) returns jsonb
language sql immutable as $$
    select replace(replace(replace(replace(entry::text,
        '"user": ' || to_json(erased), '"user": ' || to_json(pseudonym)),
        '"asked_by": ' || to_json(erased), '"asked_by": ' || to_json(pseudonym)),
        to_json(erased) || ': [', to_json(pseudonym) || ': ['),
        to_json('person:' || erased)::text, to_json('person:' || pseudonym)::text)::jsonb
$$
"""

# Runs as the owner, because the service can change no journal; so it checks by itself whose rows these are. A name
# stands in JSON as a value of "user": as it is in an account's subject, with a blank in jsonb, escaped in a refusal.
MAKE_ERASURE = """
create function token_ledger_erase_user(tenant bigint, erased text, pseudonym text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    was text := '"user":' || to_json(erased);
    becomes text := '"user":' || to_json(pseudonym);
    was_spaced text := '"user": ' || to_json(erased);
    becomes_spaced text := '"user": ' || to_json(pseudonym);
    quoted text := rtrim(ltrim(to_json(erased)::text, '"'), '"');
    was_quoted text := to_json(was)::text;
    becomes_quoted text := to_json(becomes)::text;
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    was_quoted := substring(was_quoted from 2 for length(was_quoted) - 2);
    becomes_quoted := substring(becomes_quoted from 2 for length(becomes_quoted) - 2);
    update usage_events set user_id = pseudonym where tenant_id = tenant and user_id = erased;
    update reservations
    set user_id = pseudonym,
        directive = replace(directive::text, was_spaced, becomes_spaced)::jsonb,
        warnings = replace(warnings::text, was_quoted, becomes_quoted)::jsonb
    where tenant_id = tenant and user_id = erased;
    update denials
    set user_id = pseudonym, refusals = replace(refusals::text, was_quoted, becomes_quoted)::jsonb
    where tenant_id = tenant and user_id = erased;
    update trigger_firings set evidence = replace(evidence::text, was_spaced, becomes_spaced)::jsonb
    where tenant_id = tenant and position(was_spaced in evidence::text) > 0;
    update quarantine set body = replace(body::text, was_spaced, becomes_spaced)::jsonb
    where tenant_id = tenant and position(was_spaced in body::text) > 0;
    update runs set user_id = pseudonym where tenant_id = tenant and user_id = erased;
    update daily_usage set user_id = pseudonym where tenant_id = tenant and user_id = erased;
    update accounts set subject = replace(subject, was, becomes)
    where tenant_id = tenant and position(was in subject) > 0;
    update budgets set selector = replace(selector::text, was_spaced, becomes_spaced)::jsonb
    where tenant_id = tenant and selector ->> 'user' = erased;
    update increases set asked_by = pseudonym where tenant_id = tenant and asked_by = erased;
    update increases set asked_by = 'person:' || pseudonym where tenant_id = tenant and asked_by = 'person:' || erased;
    update increases set decided_by = 'person:' || pseudonym
    where tenant_id = tenant and decided_by = 'person:' || erased;
    update grants set actor = 'person:' || pseudonym where tenant_id = tenant and actor = 'person:' || erased;
    update limit_entries set actor = 'person:' || pseudonym where tenant_id = tenant and actor = 'person:' || erased;
    update audit_log set actor = 'person:' || pseudonym where tenant_id = tenant and actor = 'person:' || erased;
    update audit_log
    set before = token_ledger_renamed(before, erased, pseudonym), after = token_ledger_renamed(after, erased, pseudonym)
    where tenant_id = tenant and (position(quoted in before::text) > 0 or position(quoted in after::text) > 0);
    delete from users where tenant_id = tenant and user_id = erased;
end $$
"""


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.create_table(
        "audit_log",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "audit_id", name=op.f("audit_log_pkey")),
    )
    op.create_table(
        "calendar_changes",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("week_start", sa.SmallInteger(), nullable=False),
        sa.Column("fiscal_month", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "effective_from", name=op.f("calendar_changes_pkey")),
    )
    op.create_table(
        "grants",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("grant_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.Column("nanos", sa.BigInteger(), nullable=True),
        sa.Column("calls", sa.BigInteger(), nullable=True),
        sa.Column("left_tokens", sa.BigInteger(), nullable=True),
        sa.Column("left_nanos", sa.BigInteger(), nullable=True),
        sa.Column("left_calls", sa.BigInteger(), nullable=True),
        sa.Column("mark", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lapsed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "grant_id", name=op.f("grants_pkey")),
    )
    op.create_index(
        "grants_of_account",
        "grants",
        ["tenant_id", "account_id"],
        unique=False,
        postgresql_where=sa.text("lapsed_at is null"),
    )
    op.create_table(
        "increases",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("increase_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.Column("nanos", sa.BigInteger(), nullable=True),
        sa.Column("calls", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("grant_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state in ('asked', 'approved', 'refused')", name=op.f("increases_state_check")),
        sa.PrimaryKeyConstraint("tenant_id", "increase_id", name=op.f("increases_pkey")),
    )
    op.create_table(
        "run_steps",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("step_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("iteration", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "step_id", name=op.f("run_steps_pkey")),
    )
    op.create_table(
        "run_usage",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("agent_type", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "run_id", "agent_type", "tool", "model", name=op.f("run_usage_pkey")
        ),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "threshold_events",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("threshold_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("percent", sa.SmallInteger(), nullable=False),
        sa.Column("fired", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("settled", sa.BigInteger(), nullable=False),
        sa.Column("limit_amount", sa.BigInteger(), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "threshold_id", name=op.f("threshold_events_pkey")),
    )
    op.create_table(
        "users",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column(
            "cost_centers",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("users_pkey")),
    )
    op.add_column("accounts", sa.Column("base_tokens", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("base_nanos", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("base_calls", sa.BigInteger(), nullable=True))
    op.add_column(
        "accounts",
        sa.Column("thresholds", sa.ARRAY(sa.SmallInteger()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column(
        "accounts", sa.Column("fired_tokens", sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "accounts", sa.Column("fired_nanos", sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "accounts", sa.Column("fired_calls", sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("accounts", sa.Column("leases", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("accounts", sa.Column("grants_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("accounts", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "accounts_to_close",
        "accounts",
        ["tenant_id", "window_end"],
        unique=False,
        postgresql_where=sa.text("closed_at is null and window_end is not null"),
    )
    op.create_index(
        "accounts_with_grants",
        "accounts",
        ["tenant_id", "grants_until"],
        unique=False,
        postgresql_where=sa.text("grants_until is not null"),
    )
    op.add_column(
        "budgets",
        sa.Column(
            "thresholds",
            sa.ARRAY(sa.SmallInteger()),
            server_default=sa.text("'{50,75,90,100}'"),
            nullable=False,
        ),
    )
    op.add_column("budgets", sa.Column("rollover_tokens", sa.BigInteger(), nullable=True))
    op.add_column("budgets", sa.Column("rollover_nanos", sa.BigInteger(), nullable=True))
    op.add_column("budgets", sa.Column("rollover_calls", sa.BigInteger(), nullable=True))
    op.add_column(
        "limit_entries", sa.Column("hard", sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("limit_entries", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("limit_entries", sa.Column("actor", sa.Text(), nullable=True))
    op.add_column(
        "reservations", sa.Column("lease", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column(
        "reservations", sa.Column("held_calls", sa.BigInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.add_column(
        "reservations",
        sa.Column("drawn_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "reservations",
        sa.Column("drawn_uncached_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "reservations", sa.Column("drawn_nanos", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "reservations", sa.Column("drawn_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "reservations", sa.Column("changes", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "runs",
        sa.Column("ancestors", sa.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("runs", sa.Column("limit_iterations", sa.BigInteger(), nullable=True))
    op.add_column(
        "runs", sa.Column("iterations", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.create_index(
        "runs_with_ancestors",
        "runs",
        ["ancestors"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("ancestors <> '{}'"),
    )
    op.add_column("tenant_ledgers", sa.Column("stopped_reason", sa.Text(), nullable=True))
    op.add_column(
        "tenants", sa.Column("week_start", sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "tenants", sa.Column("fiscal_month", sa.SmallInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.add_column(
        "usage_events", sa.Column("calls", sa.SmallInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.add_column(
        "usage_events", sa.Column("part", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )

    op.create_check_constraint(op.f("accounts_leases_check"), "accounts", "leases >= 0")
    op.drop_constraint(op.f("limit_entries_kind_check"), "limit_entries")
    op.create_check_constraint(op.f("limit_entries_kind_check"), "limit_entries", ENTRY_KINDS)

    # Everything below is not in SQLAlchemy's model.
    for table in (*JOURNALS, *STATES):
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
    op.execute(FILL_RUN_USAGE)
    op.execute(MAKE_RENAMED)
    op.execute(MAKE_ERASURE)
    op.execute("revoke all on function token_ledger_erase_user(bigint, text, text) from public")
    op.execute(f"grant execute on function token_ledger_erase_user(bigint, text, text) to {APP_ROLE}")


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop function token_ledger_erase_user(bigint, text, text)")
    op.execute("drop function token_ledger_renamed(jsonb, text, text)")
    for table in (*JOURNALS, *STATES):
        op.drop_table(table)
    op.drop_constraint(op.f("limit_entries_kind_check"), "limit_entries")
    op.create_check_constraint(op.f("limit_entries_kind_check"), "limit_entries", "kind in ('opening')")
    op.drop_constraint(op.f("accounts_leases_check"), "accounts")
    op.drop_index("accounts_to_close", "accounts")
    op.drop_index("accounts_with_grants", "accounts")
    op.drop_index("runs_with_ancestors", "runs")
    for column in (
        "base_tokens",
        "base_nanos",
        "base_calls",
        "thresholds",
        "fired_tokens",
        "fired_nanos",
        "fired_calls",
        "leases",
        "grants_until",
        "closed_at",
    ):
        op.drop_column("accounts", column)
    for column in (
        "thresholds",
        "rollover_tokens",
        "rollover_nanos",
        "rollover_calls",
    ):
        op.drop_column("budgets", column)
    for column in (
        "hard",
        "reason",
        "actor",
    ):
        op.drop_column("limit_entries", column)
    for column in (
        "lease",
        "held_calls",
        "drawn_tokens",
        "drawn_uncached_tokens",
        "drawn_nanos",
        "drawn_calls",
        "changes",
    ):
        op.drop_column("reservations", column)
    for column in (
        "ancestors",
        "limit_iterations",
        "iterations",
    ):
        op.drop_column("runs", column)
    for column in ("stopped_reason",):
        op.drop_column("tenant_ledgers", column)
    for column in (
        "week_start",
        "fiscal_month",
    ):
        op.drop_column("tenants", column)
    for column in (
        "calls",
        "part",
    ):
        op.drop_column("usage_events", column)
