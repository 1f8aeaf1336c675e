"""quarantine decisions

What became of an item in quarantine. The item itself stays as it was kept; who decided, when and why is in the audit log.
"""

import sqlalchemy as sa

from alembic import op

revision = "2026_11_26_quarantine_decisions"
down_revision = "2026_11_26_calendar_changes"
branch_labels = None
depends_on = None

APP_ROLE = "token_ledger_app"


def upgrade() -> None:
    """Add the journal; everything in quarantine is open."""
    op.create_table(
        "quarantine_decisions",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("quarantine_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('resolved', 'dismissed')", name=op.f("quarantine_decisions_state_check")),
        sa.PrimaryKeyConstraint("tenant_id", "quarantine_id", name=op.f("quarantine_decisions_pkey")),
    )
    # Everything below is not in SQLAlchemy's model.
    op.execute("alter table quarantine_decisions enable row level security")
    op.execute(
        f"create policy tenant_rows on quarantine_decisions to {APP_ROLE}"
        " using (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))"
        " with check (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))"
    )
    op.execute(f"grant select, insert on quarantine_decisions to {APP_ROLE}")


def downgrade() -> None:
    """Remove it; everything in quarantine is open again."""
    op.drop_table("quarantine_decisions")
