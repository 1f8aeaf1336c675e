"""Tenants have discounts on published prices, and events say what their call costs without.

Stop all processes of the version before: they write rows of the types before.
"""

from alembic import op

revision = "2026_11_29_discounts"
down_revision = "2026_11_29_announced"
branch_labels = None
depends_on = None

TABLE = """
create table tenant_discounts (
    tenant_id bigint not null,
    discount_id bigint not null,
    provider text not null,
    model text not null,
    factor bigint,
    valid_from timestamptz not null,
    valid_until timestamptz,
    set_at timestamptz not null,
    primary key (tenant_id, discount_id)
)
"""
ACCESS = (
    "alter table tenant_discounts enable row level security",
    """
create policy tenant_rows on tenant_discounts to token_ledger_app
    using (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))
    with check (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))
""",
    "grant select, insert on tenant_discounts to token_ledger_app",
)
COLUMNS = (
    "alter table reservations add column discount_id bigint",
    "alter type held_call_row add attribute discount_id bigint",
    """
alter table usage_events
    add column discount_id bigint, add column list_price_id bigint, add column list_cost_nanos bigint
""",
    """
alter type booked_event_row
    add attribute discount_id bigint, add attribute list_price_id bigint, add attribute list_cost_nanos bigint
""",
)


def upgrade() -> None:
    """Make the table, and the columns of holds and events."""
    op.execute("set local lock_timeout = '5s'")
    for statement in (TABLE, *ACCESS, *COLUMNS):
        op.execute(statement)


def downgrade() -> None:
    """Drop them; events that were priced with a discount keep their cost."""
    op.execute("set local lock_timeout = '5s'")
    op.execute(
        "alter type booked_event_row drop attribute discount_id, drop attribute list_price_id,"
        " drop attribute list_cost_nanos"
    )
    op.execute(
        "alter table usage_events drop column discount_id, drop column list_price_id, drop column list_cost_nanos"
    )
    op.execute("alter type held_call_row drop attribute discount_id")
    op.execute("alter table reservations drop column discount_id")
    op.execute("drop table tenant_discounts")
