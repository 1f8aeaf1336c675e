"""retention

Checkpoints: what the events of a month add up to, written before its partition is dropped (design D11). The service's
role may read them; it writes and forgets by functions that run as the owner and check for themselves what is due.
"""

import sqlalchemy as sa

from alembic import op

revision = "2026_11_22_retention"
down_revision = "2026_11_21_whole_ledger"
branch_labels = None
depends_on = None

APP_ROLE = "token_ledger_app"

FIGURES = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "cost_nanos",
)  # fmt: skip

ROLLUPS = {
    "hourly_checkpoints": {"hour": sa.DateTime(timezone=True), "cost_center": sa.Text(), "agent_type": sa.Text(),
                           "model": sa.Text()},
    "daily_checkpoints": {"day": sa.DateTime(timezone=True), "user_id": sa.Text(), "agent_type": sa.Text(),
                          "model": sa.Text(), "request_type": sa.Text()},
    "daily_tag_checkpoints": {"day": sa.DateTime(timezone=True), "tag": sa.Text(), "value": sa.Text()},
    "run_checkpoints": {"run_id": sa.BigInteger(), "agent_type": sa.Text(), "tool": sa.Text(), "model": sa.Text()},
}  # fmt: skip
"""The key of every roll-up."""

TABLES = ("checkpoints", "account_checkpoints", "step_checkpoints", *ROLLUPS)

# What is younger than three months is never given up, whoever asks.
MAKE_HORIZON = """
create function token_ledger_horizon(months integer) returns timestamptz
language plpgsql stable set timezone = 'UTC' as $$
begin
    if months is null or months < 3 then
        raise exception 'events are kept for at least 3 months, not %', months;
    end if;
    return date_trunc('month', now()) - make_interval(months => months);
end $$
"""

# Partitions are named by their month; the oldest comes first.
MAKE_DUE_MONTHS = """
create function token_ledger_due_months(months integer) returns setof text
language sql stable set timezone = 'UTC' as $$
    select part.relname::text
    from pg_inherits as i join pg_class as part on part.oid = i.inhrelid
    where i.inhparent = 'usage_events'::regclass and part.relname ~ '^usage_events_[0-9]{4}_[0-9]{2}$'
      and to_timestamp(right(part.relname, 7), 'YYYY_MM') + interval '1 month' <= token_ledger_horizon(months)
    order by 1
$$
"""

SUMS = (
    "sum(calls), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),"
    " sum(cache_write_5m_tokens + cache_write_1h_tokens), sum(reasoning_tokens), sum(cost_nanos)"
)


def add_up(table: str, key: str, source: str = "page", values: str | None = None) -> str:
    """The part of a statement that adds a page of events to a roll-up's checkpoint."""
    raised = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in FIGURES)
    return (
        f"insert into {table} as t (tenant_id, {key}, {', '.join(FIGURES)})"
        f" select tenant_id, {values or key}, {SUMS} from {source} group by tenant_id, {values or key}"
        f" on conflict (tenant_id, {key}) do update set {raised}"
    )


# Adds the next events of a tenant to its checkpoints, whole batches, so that no id of a batch is on both sides. The
# calendar comes from the caller, as instants: the server's time zones may be of another year than the service's.
MAKE_CHECKPOINT = f"""
create function token_ledger_checkpoint(
    tenant bigint, months integer, events integer,
    hour_since timestamptz[], hour_origin timestamptz[], hour_floor timestamptz[], day_starts timestamptz[]
) returns integer
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
declare
    horizon timestamptz := token_ledger_horizon(months);
    done bigint;
    upto bigint;
    upto_at timestamptz;
    added integer;
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    insert into checkpoints (tenant_id, last_id, booked_at, made_at) values (tenant, 0, 'epoch', clock_timestamp())
    on conflict do nothing;
    select c.last_id into done from checkpoints as c where c.tenant_id = tenant for update;
    select ((max(p.event_id) >> 16) + 1 << 16) - 1, max(p.booked_at) into upto, upto_at
    from (
        select e.event_id, e.booked_at from usage_events as e
        where e.tenant_id = tenant and e.event_id > done and e.booked_at < horizon order by e.event_id limit events
    ) as p;
    if upto is null then
        return 0;
    end if;
    with page as materialized (
        select e.*,
               greatest(date_bin('1 hour', e.posted_at, hour_origin[width_bucket(e.posted_at, hour_since)]),
                        hour_floor[width_bucket(e.posted_at, hour_since)]) as hour,
               day_starts[width_bucket(e.posted_at, day_starts)] as day
        from usage_events as e
        where e.tenant_id = tenant and e.event_id > done and e.event_id <= upto and e.booked_at < horizon
    ), accounts_added as (
        insert into account_checkpoints as t (tenant_id, account_id, settled_tokens, settled_nanos, settled_calls)
        select a.tenant_id, a.account_id,
               sum(p.input_tokens + p.output_tokens - case a.counts when 'all' then 0 else p.cache_read_tokens end),
               sum(p.cost_nanos), sum(p.calls)
        from page as p cross join lateral unnest(p.path) as named (account_id)
        join accounts as a on a.tenant_id = tenant and a.account_id = named.account_id
        group by a.tenant_id, a.account_id
        on conflict (tenant_id, account_id) do update
        set settled_tokens = t.settled_tokens + excluded.settled_tokens,
            settled_nanos = t.settled_nanos + excluded.settled_nanos,
            settled_calls = t.settled_calls + excluded.settled_calls
    ), hours_added as (
        {add_up("hourly_checkpoints", "hour, cost_center, agent_type, model")}
    ), days_added as (
        {add_up("daily_checkpoints", "day, user_id, agent_type, model, request_type")}
    ), tags_added as (
        {add_up("daily_tag_checkpoints", "day, tag, value",
                "page cross join lateral jsonb_each_text(coalesce(tags, '{}'::jsonb)) as named (tag, value)")}
    ), runs_added as (
        {add_up("run_checkpoints", "run_id, agent_type, tool, model", "page where run_id is not null",
                "run_id, agent_type, coalesce(tool, ''), model")}
    )
    select count(*) into added from page;
    update checkpoints as c set last_id = upto, booked_at = upto_at, made_at = clock_timestamp()
    where c.tenant_id = tenant;
    return added;
end $$
"""  # fmt: skip

# Walks a table by its blocks, so that no index is needed to find what is old. A key goes before the row that it leads
# to; whoever calls walks operation_keys first.
MAKE_FORGET = """
create function token_ledger_forget(
    kind text, first_block bigint, blocks integer, out forgotten integer, out next_block bigint
)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    is_old text := case kind
        when 'operation_keys' then
            't.booked_at < c.booked_at or (t.booked_at = c.booked_at and t.target_id <= c.last_id)'
        when 'reservations' then 't.state <> ''held'' and greatest(t.ended_id, t.event_id) <= c.last_id'
        when 'denials' then 't.denial_id <= c.last_id'
        when 'trigger_firings' then 't.reservation_id <= c.last_id'
        when 'run_steps' then 't.step_id <= c.last_id'
        when 'threshold_events' then
            't.threshold_id <= c.last_id and exists (select from accounts as a where a.tenant_id = t.tenant_id'
            ' and a.account_id = t.account_id and a.window_end < c.booked_at)'
    end;
    removal text;
begin
    if is_old is null then
        raise exception 'rows of % are never forgotten', kind;
    end if;
    removal := format(
        'delete from %I as t using checkpoints as c'
        ' where t.ctid >= ''(%s,0)'' and t.ctid < ''(%s,0)'' and c.tenant_id = t.tenant_id and (%s)',
        kind, first_block, first_block + blocks, is_old
    );
    if kind = 'run_steps' then
        execute 'with gone as (' || removal || ' returning t.tenant_id, t.run_id), counted as ('
            'insert into step_checkpoints as s (tenant_id, run_id, steps)'
            ' select tenant_id, run_id, count(*) from gone group by 1, 2'
            ' on conflict (tenant_id, run_id) do update set steps = s.steps + excluded.steps'
            ') select count(*) from gone' into forgotten;
    else
        execute removal;
        get diagnostics forgotten = row_count;
    end if;
    next_block := first_block + blocks;
    if next_block * current_setting('block_size')::bigint >= pg_relation_size(kind::regclass) then
        next_block := null;
    end if;
end $$
"""

# Dropping locks the parent for a moment; who can't have it at once tries again later, because writers queue behind it.
MAKE_DROP_MONTH = """
create function token_ledger_drop_month(months integer) returns text
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '200ms' as $$
declare
    partition text;
    missing bigint;
begin
    select due into partition from token_ledger_due_months(months) as due limit 1;
    if partition is null then
        return null;
    end if;
    execute format(
        'with recursive present (tenant_id) as ('
        ' (select tenant_id from %1$I order by tenant_id limit 1)'
        ' union all select (select e.tenant_id from %1$I as e where e.tenant_id > p.tenant_id order by 1 limit 1)'
        ' from present as p where p.tenant_id is not null'
        ') select p.tenant_id from present as p where exists ('
        ' select from %1$I as e where e.tenant_id = p.tenant_id and e.event_id >'
        ' coalesce((select c.last_id from checkpoints as c where c.tenant_id = p.tenant_id), 0)'
        ') limit 1', partition
    ) into missing;
    if missing is not null then
        raise exception '% has events of tenant % that are in no checkpoint', partition, missing;
    end if;
    execute format('drop table %I', partition);
    return partition;
end $$
"""

# The checkpoint of the daily roll-up names users too.
WRAP_ERASURE = """
create function token_ledger_erase_user(tenant bigint, name text, pseudonym text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform token_ledger_erase_user_rows(tenant, name, pseudonym);
    update daily_checkpoints set user_id = pseudonym where tenant_id = tenant and user_id = name;
end $$
"""

CALLED_BY_THE_SERVICE = (
    "token_ledger_horizon(integer)",
    "token_ledger_due_months(integer)",
    "token_ledger_checkpoint(bigint, integer, integer, timestamptz[], timestamptz[], timestamptz[], timestamptz[])",
    "token_ledger_forget(text, bigint, integer)",
    "token_ledger_drop_month(integer)",
    "token_ledger_erase_user(bigint, text, text)",
)


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.create_table(
        "checkpoints",
        sa.Column("tenant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("checkpoints_pkey")),
    )
    op.create_table(
        "account_checkpoints",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("settled_tokens", sa.BigInteger(), nullable=False),
        sa.Column("settled_nanos", sa.BigInteger(), nullable=False),
        sa.Column("settled_calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", name=op.f("account_checkpoints_pkey")),
    )
    op.create_table(
        "step_checkpoints",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", name=op.f("step_checkpoints_pkey")),
    )
    for table, key in ROLLUPS.items():
        op.create_table(
            table,
            sa.Column("tenant_id", sa.BigInteger(), nullable=False),
            *(sa.Column(name, kind, nullable=False) for name, kind in key.items()),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in FIGURES),
            sa.PrimaryKeyConstraint("tenant_id", *key, name=op.f(f"{table}_pkey")),
        )

    # Everything below is not in SQLAlchemy's model.
    for table in TABLES:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy tenant_rows on {table} to {APP_ROLE}"
            f" using (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))"
            f" with check (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))"
        )
        op.execute(f"grant select on {table} to {APP_ROLE}")
    op.execute("alter function token_ledger_erase_user(bigint, text, text) rename to token_ledger_erase_user_rows")
    op.execute(f"revoke all on function token_ledger_erase_user_rows(bigint, text, text) from {APP_ROLE}")
    for statement in (
        MAKE_HORIZON, MAKE_DUE_MONTHS, MAKE_CHECKPOINT, MAKE_FORGET, MAKE_DROP_MONTH, WRAP_ERASURE,
    ):  # fmt: skip
        op.execute(sa.text(statement.replace(":", "\\:")))
    for function in CALLED_BY_THE_SERVICE:
        op.execute(f"revoke all on function {function} from public")
        op.execute(f"grant execute on function {function} to {APP_ROLE}")


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    for function in reversed(CALLED_BY_THE_SERVICE):
        op.execute(f"drop function {function}")
    op.execute("alter function token_ledger_erase_user_rows(bigint, text, text) rename to token_ledger_erase_user")
    op.execute(f"grant execute on function token_ledger_erase_user(bigint, text, text) to {APP_ROLE}")
    for table in TABLES:
        op.drop_table(table)
