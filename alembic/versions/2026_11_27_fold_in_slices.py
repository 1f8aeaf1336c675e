"""fold in slices

Folding takes so many keys at a time, not all of so many segments: it holds a tenant's lock for a moment only, however
many users the tenant has.
"""

import sqlalchemy as sa

from alembic import op

revision = "2026_11_27_fold_in_slices"
down_revision = "2026_11_27_hard_openings"
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
    same = " and ".join(f"t.{name} = k.{name}" for name in key)
    return f"""
    when '{table}' then
        with gone as (
            delete from {table} where ctid = any (array(
                select found.ctid from jsonb_populate_recordset(null::{table}, keys) as k
                cross join lateral (
                    select t.ctid from {table} as t
                    where t.tenant_id = tenant and {same} and t.segment + 0 between 1 and last_segment offset 0
                ) as found
            )) returning *
        )
        insert into {table} as t (tenant_id, {names}, {figures}, segment)
        select tenant, {names}, {sums}, 0 from gone group by {names}
        on conflict (tenant_id, {names}, segment) do update set {adds};
"""


# Runs as the owner, because the service can delete nothing. The lock on the tenant's ledger keeps a batch that erases
# a user from missing rows that are just being folded. Whoever calls has looked for the keys without the lock: where
# much was deleted and can't be cleared away yet, that takes longer than the folding. Each is found by its whole key: a
# plan that was made while a table was small would go on scanning it, and one by `segment` would go through all that is
# to be folded for every key, hence `+ 0`. While a user is being erased nothing is folded: two people share a name then,
# and the sums of the one must be told from the other's.
MAKE_FOLD = f"""
create function token_ledger_fold(
    tenant bigint, segment_bits integer, last_segment bigint, kind text, keys jsonb
) returns void
language plpgsql security definer set search_path = public, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    perform 1 from tenant_ledgers as l
    where l.tenant_id = tenant and last_segment <= l.sequence >> segment_bits for update;
    if not found then
        raise exception 'batches still add to segment %', last_segment;
    end if;
    if exists (select from erasures as e where e.tenant_id = tenant) then
        return;
    end if;
    case kind
    {"".join(_fold(table, key) for table, key in ROLLUPS.items())}
    end case;
end $$
"""


def _fold_segments(table: str, key: tuple[str, ...]) -> str:
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


MAKE_FOLD_OF_SEGMENTS = f"""
create function token_ledger_fold_segments(tenant bigint, segment_bits integer, most integer) returns boolean
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
    {"".join(_fold_segments(table, key) for table, key in ROLLUPS.items())}
    return true;
end $$
"""


WRAP_FOLD = """
create function token_ledger_fold(tenant bigint, segment_bits integer, most integer) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    perform from tenant_ledgers where tenant_id = tenant for update;
    if exists (select from erasures where tenant_id = tenant) then
        return false;
    end if;
    return token_ledger_fold_segments(tenant, segment_bits, most);
end $$
"""

SIGNATURE = "token_ledger_fold(bigint, integer, bigint, text, jsonb)"
SIGNATURE_OF_SEGMENTS = "(bigint, integer, integer)"


def _make(function: str) -> None:
    op.execute(sa.text(function.replace(":", "\\:")))


def _grant(function: str) -> None:
    op.execute(f"revoke all on function {function} from public")
    op.execute(f"grant execute on function {function} to {APP_ROLE}")


def upgrade() -> None:
    """Fold the keys that are given."""
    op.execute(f"drop function token_ledger_fold{SIGNATURE_OF_SEGMENTS}")
    op.execute(f"drop function token_ledger_fold_segments{SIGNATURE_OF_SEGMENTS}")
    _make(MAKE_FOLD)
    _grant(SIGNATURE)


def downgrade() -> None:
    """Fold so many segments at a time."""
    op.execute(f"drop function {SIGNATURE}")
    _make(MAKE_FOLD_OF_SEGMENTS)
    op.execute(f"revoke all on function token_ledger_fold_segments{SIGNATURE_OF_SEGMENTS} from public")
    _make(WRAP_FOLD)
    _grant(f"token_ledger_fold{SIGNATURE_OF_SEGMENTS}")
