"""Tenants say what is known of models beside their prices: limits, capabilities, the end of their life."""

from alembic import op

revision = "2026_11_29_models"
down_revision = "2026_11_29_recostings"
branch_labels = None
depends_on = None

TABLE = """
create table tenant_models (
    tenant_id bigint not null,
    facts_id bigint not null,
    provider text not null,
    model text not null,
    facts jsonb,
    set_at timestamptz not null,
    primary key (tenant_id, facts_id)
)
"""
ACCESS = (
    "alter table tenant_models enable row level security",
    """
create policy tenant_rows on tenant_models to token_ledger_app
    using (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))
    with check (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))
""",
    "grant select, insert on tenant_models to token_ledger_app",
)


def upgrade() -> None:
    """Make the table, to which the service may add rows."""
    op.execute("set local lock_timeout = '5s'")
    for statement in (TABLE, *ACCESS):
        op.execute(statement)


def downgrade() -> None:
    """Drop the table."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop table tenant_models")
