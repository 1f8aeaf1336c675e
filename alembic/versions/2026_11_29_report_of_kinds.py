"""Events of other kinds than the tokens that every call has are found by their instant."""

from alembic import op

revision = "2026_11_29_report_of_kinds"
down_revision = "2026_11_29_discounts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index them: few events have any."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("create index usage_events_others on usage_events (tenant_id, posted_at) where others is not null")


def downgrade() -> None:
    """Drop the index."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop index usage_events_others")
