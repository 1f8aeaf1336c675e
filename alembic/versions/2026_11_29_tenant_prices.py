"""What tenants add to the price book, and what names of models stand for."""

from alembic import op

revision = "2026_11_29_tenant_prices"
down_revision = "2026_11_29_probes"
branch_labels = None
depends_on = None

TABLES = (
    """
create table price_aliases (
    alias_id bigint generated always as identity primary key,
    provider text not null,
    model text not null,
    to_provider text,
    to_model text,
    added_at timestamptz not null default now()
)
""",
    """
create table tenant_prices (
    tenant_id bigint not null,
    price_id bigint not null,
    provider text not null,
    model text not null,
    rates jsonb,
    valid_from timestamptz not null,
    set_at timestamptz not null,
    primary key (tenant_id, price_id)
)
""",
    """
create table tenant_aliases (
    tenant_id bigint not null,
    alias_id bigint not null,
    provider text not null,
    model text not null,
    to_provider text,
    to_model text,
    set_at timestamptz not null,
    primary key (tenant_id, alias_id)
)
""",
)

ACCESS = """
do $$
declare
    name text;
begin
    foreach name in array array['tenant_prices', 'tenant_aliases'] loop
        execute format('alter table %I enable row level security', name);
        execute format(
            'create policy tenant_rows on %I to token_ledger_app'
            ' using (tenant_id + 0 = any ((select current_setting(''app.tenants'')::bigint[])::bigint[]))'
            ' with check (tenant_id + 0 = any ((select current_setting(''app.tenants'')::bigint[])::bigint[]))', name
        );
        execute format('grant select, insert on %I to token_ledger_app', name);
    end loop;
    grant select on price_aliases to token_ledger_app;
end $$
"""


def upgrade() -> None:
    """Make the tables; the service may add rows to those of tenants and read the global one."""
    op.execute("set local lock_timeout = '5s'")
    for statement in (*TABLES, ACCESS):
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables; events that were priced by entries of tenants keep their cost."""
    op.execute("set local lock_timeout = '5s'")
    for name in ("tenant_aliases", "tenant_prices", "price_aliases"):
        op.execute(f"drop table {name}")
