"""segments

Roll-ups in rows of their own for every stretch of a tenant's batches, folded into one later: while a long transaction
keeps old versions of rows alive, the newest version of a row that is updated with every batch takes ever longer to find.
"""

import sqlalchemy as sa

from alembic import op

revision = "2026_11_24_segments"
down_revision = "2026_11_23_identity_providers"
branch_labels = None
depends_on = None

APP_ROLE = "token_ledger_app"

FIGURES = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "cost_nanos",
)  # fmt: skip
ROLLUPS = {
    "hourly_usage": ("hour", "cost_center", "agent_type", "model"),
    "daily_usage": ("day", "user_id", "agent_type", "model", "request_type"),
    "run_usage": ("run_id", "agent_type", "tool", "model"),
    "daily_tag_usage": ("day", "tag", "value"),
}
"""The key of every roll-up."""


def _fold(table: str, key: tuple[str, ...]) -> str:
    names, figures = ", ".join(key), ", ".join(FIGURES)
    sums = ", ".join(f"sum({name})" for name in FIGURES)
    adds = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in FIGURES)
    return f"""
    with gone as (
        delete from {table} where tenant_id = tenant and segment > 0 and segment < first_open returning *
    )
    insert into {table} as t (tenant_id, {names}, {figures}, segment)
    select tenant, {names}, {sums}, 0 from gone group by {names}
    on conflict (tenant_id, {names}, segment) do update set {adds};
"""


# Runs as the owner, because the service can delete nothing. The lock on the tenant's ledger keeps a batch that erases
# a user from missing rows that are just being folded. A few segments at a time: the tenant's batches wait meanwhile.
MAKE_FOLD = f"""
create function token_ledger_fold(tenant bigint, segment_bits integer, most integer) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    first_open bigint;
    oldest_segment bigint;
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    select (sequence >> segment_bits) + 1 into first_open from tenant_ledgers where tenant_id = tenant for update;
    select min(oldest) into oldest_segment from (
        {" union all ".join(
            f"(select segment as oldest from {table} where tenant_id = tenant and segment > 0 order by segment limit 1)"
            for table in ROLLUPS
        )}
    ) as unfolded;
    if oldest_segment is null or oldest_segment >= first_open then
        return false;
    end if;
    first_open := least(first_open, oldest_segment + most);
    {"".join(_fold(table, key) for table, key in ROLLUPS.items())}
    return true;
end $$
"""


def upgrade() -> None:
    """Give every row of a roll-up a segment; those that are there are folded already."""
    op.execute("set local lock_timeout = '5s'")
    for table, key in ROLLUPS.items():
        op.add_column(table, sa.Column("segment", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
        op.drop_constraint(f"{table}_pkey", table)
        op.create_primary_key(f"{table}_pkey", table, ["tenant_id", *key, "segment"])
        op.execute(f"alter table {table} set (fillfactor = 10)")  # room beside every row for its next versions
        op.create_index(
            f"{table}_unfolded", table, ["tenant_id", "segment"], postgresql_where=sa.text("segment > 0")
        )
    op.execute(sa.text(MAKE_FOLD.replace(":", "\\:")))
    op.execute("revoke all on function token_ledger_fold(bigint, integer, integer) from public")
    op.execute(f"grant execute on function token_ledger_fold(bigint, integer, integer) to {APP_ROLE}")


def downgrade() -> None:
    """Fold everything, and have one row for every key again."""
    op.execute("set local lock_timeout = '5s'")
    for table, key in ROLLUPS.items():
        names, figures = ", ".join(key), ", ".join(FIGURES)
        sums = ", ".join(f"sum({name}) as {name}" for name in FIGURES)
        op.execute(f"create temporary table folded on commit drop as select tenant_id, {names}, {sums} from {table}"
                   f" group by tenant_id, {names}")  # fmt: skip
        op.execute(f"truncate {table}")
        op.drop_constraint(f"{table}_pkey", table)
        op.drop_column(table, "segment")
        op.execute(f"alter table {table} set (fillfactor = 50)")
        op.create_primary_key(f"{table}_pkey", table, ["tenant_id", *key])
        op.execute(f"insert into {table} (tenant_id, {names}, {figures}) select * from folded")
        op.execute("drop table folded")
    op.execute("drop function token_ledger_fold(bigint, integer, integer)")
