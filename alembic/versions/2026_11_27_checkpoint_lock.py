"""checkpoint lock

A checkpoint is written under the lock of the tenant's ledger, as a fold is. An erasure that was committed while one was
being written changed the checkpoints that were there and the events, but not what had been read of the events already.
"""

import sqlalchemy as sa

from alembic import op

revision = "2026_11_27_checkpoint_lock"
down_revision = "2026_11_27_erasure"
branch_labels = None
depends_on = None

FIGURES = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "cost_nanos",
)  # fmt: skip

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


LOCK = """
    perform 1 from tenant_ledgers as l where l.tenant_id = tenant for update;"""


def checkpoint(lock: str) -> str:
    """The function that adds the next events of a tenant to its checkpoints, whole batches, under a lock or none."""
    return f"""
create or replace function token_ledger_checkpoint(
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
    end if;{lock}
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


def upgrade() -> None:
    """Lock first."""
    op.execute(sa.text(checkpoint(LOCK).replace(":", "\\:")))


def downgrade() -> None:
    """Take no lock."""
    op.execute(sa.text(checkpoint("").replace(":", "\\:")))
