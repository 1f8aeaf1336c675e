"""Canonical names of models, terms of budgets by date, both paths of a call, corrections, renamed models.

Stop all processes of the version before: it neither adds to what a tenant has booked in all nor follows transfers.
"""

import re
from pathlib import Path

from alembic import op

revision = "2026_11_29_names"
down_revision = "2026_11_28_first_schema"
branch_labels = None
depends_on = None

# What (provider, name) a caller used is in the books: once decided it stays, until an administrator changes it.
MODEL_NAMES = """
create table model_names (
    tenant_id bigint not null,
    asked_provider text not null,
    asked_model text not null,
    decided_id bigint not null,
    provider text not null,
    model text not null,
    since timestamptz not null,
    change_id bigint,
    primary key (tenant_id, asked_provider, asked_model, decided_id)
)
"""

# What goes from one account to another when a model is renamed.
TRANSFERS = """
create table transfers (
    tenant_id bigint not null,
    transfer_id bigint not null,
    from_account bigint not null,
    to_account bigint not null,
    settled_tokens bigint not null,
    settled_nanos bigint not null,
    settled_calls bigint not null,
    held_tokens bigint not null,
    held_nanos bigint not null,
    held_calls bigint not null,
    booked_at timestamptz not null,
    primary key (tenant_id, transfer_id)
)
"""

# Limits, overrides and rollover of a budget, each with the batch from which they are in force.
BUDGET_TERMS = """
create table budget_terms (
    tenant_id bigint not null,
    budget_id bigint not null,
    terms_id bigint not null,
    since timestamptz not null,
    limit_tokens bigint,
    limit_nanos bigint,
    limit_calls bigint,
    rollover_tokens bigint,
    rollover_nanos bigint,
    rollover_calls bigint,
    overrides jsonb not null default '[]',
    primary key (tenant_id, budget_id, terms_id)
)
"""

# The terms of today are the only ones known of budgets that were made before.
FILL_BUDGET_TERMS = """
with stored as (
    insert into budget_terms (
        tenant_id, budget_id, terms_id, since, limit_tokens, limit_nanos, limit_calls,
        rollover_tokens, rollover_nanos, rollover_calls
    )
    select tenant_id, budget_id, budget_id, created_at, limit_tokens, limit_nanos, limit_calls,
           rollover_tokens, rollover_nanos, rollover_calls
    from budgets
    returning 1
)
select 1
"""

# An account got its limit in a unit with the first entry that has an amount in it.
FILL_BOUNDS = """
update limit_entries as e
set bound_tokens = case when e.entry_id = f.tokens_at then 1 else 0 end,
    bound_nanos = case when e.entry_id = f.nanos_at then 1 else 0 end,
    bound_calls = case when e.entry_id = f.calls_at then 1 else 0 end
from (
    select tenant_id, account_id, min(entry_id) filter (where tokens is not null) as tokens_at,
           min(entry_id) filter (where nanos is not null) as nanos_at,
           min(entry_id) filter (where calls is not null) as calls_at
    from limit_entries group by tenant_id, account_id
) as f
where e.tenant_id = f.tenant_id and e.account_id = f.account_id
  and e.entry_id in (f.tokens_at, f.nanos_at, f.calls_at)
"""

COLUMNS = (
    "alter table budgets add column overrides jsonb not null default '[]',"
    " add column unassigned text not null default 'shared', add column named jsonb not null default '{}',"
    " add constraint budgets_unassigned_check check (unassigned in ('shared', 'per_user'))",
    "alter table accounts add column earns boolean not null default true, add column moved_to bigint",
    "alter table limit_entries add column bound_tokens smallint not null default 0,"
    " add column bound_nanos smallint not null default 0, add column bound_calls smallint not null default 0",
    "alter table threshold_events add column withdrawn boolean not null default false",
    "alter table reservations add column requested_provider text",
    "alter table usage_events add column requested_provider text, add column requested_model text,"
    " add column served_provider text, add column served_model text, add column held_path bigint[],"
    " add column held_at timestamptz, add column corrects bigint",
    "alter table denials add column calls bigint not null default 1",
    "alter table tenant_ledgers add column booked_tokens bigint not null default 0,"
    " add column booked_nanos bigint not null default 0",
)

# Every event is in the daily roll-up once.
FILL_BOOKED = """
update tenant_ledgers as l set booked_tokens = d.tokens, booked_nanos = d.nanos
from (
    select tenant_id, least(sum(input_tokens + output_tokens), 9223372036854775807)::bigint as tokens,
           least(sum(cost_nanos), 9223372036854775807)::bigint as nanos
    from daily_usage group by tenant_id
) as d
where l.tenant_id = d.tenant_id
"""

# A correction has negative amounts.
PARTS = """
alter table usage_events drop constraint usage_events_parts_check,
    add constraint usage_events_parts_check check (
        corrects is not null or (cache_read_tokens + cache_write_1h_tokens + cache_write_5m_tokens <= input_tokens
        and reasoning_tokens <= output_tokens)
    )
"""

# What would put a limit above the largest amount is taken off again.
KINDS = """
alter table limit_entries drop constraint limit_entries_kind_check,
    add constraint limit_entries_kind_check check (
        kind in ('opening', 'rollover', 'grant', 'lapse', 'increase', 'change', 'rebalance', 'cut')
    )
"""

INDEXES = (
    "create index model_names_changed on model_names (tenant_id) where change_id is not null",
    "create index transfers_tenant_id_from_account_idx on transfers (tenant_id, from_account)",
    "create index usage_events_posted on usage_events (tenant_id, posted_at)",
    "create index usage_events_long_held on usage_events (tenant_id, posted_at)"
    " where posted_at - held_at > interval '01:00:00'",
    "create index usage_events_corrections on usage_events (tenant_id, corrects) where corrects is not null",
)

ROW_TYPES = (
    """
create type held_call_row as (
    lock integer, key text, fingerprint bytea, reservation_id bigint,
    user_id text, cost_center text, agent_type text, request_type text, provider text, model text, run_id bigint,
    tool text, tags jsonb, requested_provider text, requested_model text, input_tokens bigint,
    cached_input_tokens bigint, max_output_tokens bigint, held_tokens bigint, held_uncached_tokens bigint,
    held_nanos bigint, price_id bigint, path text, ttl_seconds integer, advice jsonb, warnings jsonb
)
""",
    """
create type booked_event_row as (
    lock integer, source text, key text, fingerprint bytea, event_id bigint, reservation_id bigint,
    user_id text, cost_center text, agent_type text, request_type text, provider text, model text, run_id bigint,
    tool text, tags jsonb, input_tokens bigint, output_tokens bigint, cache_read_tokens bigint,
    cache_write_5m_tokens bigint, cache_write_1h_tokens bigint, reasoning_tokens bigint, cost_nanos bigint,
    price_id bigint, path text, occurred_at integer, posted_at integer, overrun boolean, late boolean,
    estimated boolean, unpriced boolean, clamped boolean, failed boolean, response_id text,
    original_input_tokens bigint, requested_provider text, requested_model text, served_provider text,
    served_model text, held_path text, held_at integer
)
""",
)

ACCESS = """
do $$
declare
    name text;
begin
    foreach name in array array['model_names', 'transfers', 'budget_terms'] loop
        execute format('alter table %I enable row level security', name);
        execute format(
            'create policy tenant_rows on %I to token_ledger_app'
            ' using (tenant_id + 0 = any ((select current_setting(''app.tenants'')::bigint[])::bigint[]))'
            ' with check (tenant_id + 0 = any ((select current_setting(''app.tenants'')::bigint[])::bigint[]))', name
        );
        execute format('grant select, insert on %I to token_ledger_app', name);
    end loop;
end $$
"""


SCRIPTS = Path(__file__).parent.parent
FIX_SEARCH_PATH = "select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)"


def first_version(function: str) -> str:
    """Return the statement that gives a function the text it had in the first schema."""
    script = (SCRIPTS / "first_schema" / "erasure.sql").read_text()
    found = re.search(rf"^create (function {function}\(.*?\$\$.*?\$\$;)", script, re.DOTALL | re.MULTILINE)
    assert found is not None, f"the first schema has {function}"
    return f"create or replace {found[1]}"


def run_script(script: str) -> None:
    """Send all statements of a script in one message: SQLAlchemy would prepare them, and only one can be prepared."""
    driver = op.get_bind().connection.dbapi_connection
    driver.run_async(lambda connection: connection.execute(script))


def upgrade() -> None:
    """Add what is new, and fill what follows from the rows there are."""
    op.execute("set local lock_timeout = '5s'")
    for statement in (
        MODEL_NAMES,
        TRANSFERS,
        BUDGET_TERMS,
        *COLUMNS,
        FILL_BUDGET_TERMS,
        FILL_BOUNDS,
        FILL_BOOKED,
        PARTS,
        KINDS,
        *INDEXES,
        *ROW_TYPES,
    ):
        op.execute(statement)
    op.execute(ACCESS)
    op.execute(FIX_SEARCH_PATH)
    run_script((SCRIPTS / "names_windows_corrections" / "erasure.sql").read_text())


def downgrade() -> None:
    """Remove what was added; corrections are deleted, because the version before has none."""
    op.execute("set local lock_timeout = '5s'")
    run_script("".join(map(first_version, ("token_ledger_begin_erasure", "token_ledger_renamed"))))
    for statement in (
        "drop function token_ledger_rename_terms(bigint, text, text)",
        "drop type held_call_row",
        "drop type booked_event_row",
        "drop index usage_events_posted",
        "drop index usage_events_long_held",
        "drop index usage_events_corrections",
        "delete from usage_events where corrects is not null",
        "alter table usage_events drop constraint usage_events_parts_check, add constraint usage_events_parts_check"
        " check (cache_read_tokens + cache_write_1h_tokens + cache_write_5m_tokens <= input_tokens"
        " and reasoning_tokens <= output_tokens)",
        "update limit_entries set kind = 'rebalance' where kind = 'cut'",
        "alter table limit_entries drop constraint limit_entries_kind_check, add constraint limit_entries_kind_check"
        " check (kind in ('opening', 'rollover', 'grant', 'lapse', 'increase', 'change', 'rebalance'))",
        "alter table tenant_ledgers drop column booked_tokens, drop column booked_nanos",
        "alter table denials drop column calls",
        "alter table usage_events drop column requested_provider, drop column requested_model,"
        " drop column served_provider, drop column served_model, drop column held_path, drop column held_at,"
        " drop column corrects",
        "alter table reservations drop column requested_provider",
        "alter table threshold_events drop column withdrawn",
        "alter table limit_entries drop column bound_tokens, drop column bound_nanos, drop column bound_calls",
        "alter table accounts drop column earns, drop column moved_to",
        "alter table budgets drop column overrides, drop column unassigned, drop column named",
        "drop table budget_terms",
        "drop table model_names",
        "drop table transfers",
    ):
        op.execute(statement)
