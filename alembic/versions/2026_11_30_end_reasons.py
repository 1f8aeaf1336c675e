"""A hold says why it was ended without a settle, such as the error status that its provider answered."""

from alembic import op

revision = "2026_11_30_end_reasons"
down_revision = "2026_11_29_history"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table reservations add column end_reason text")


def downgrade() -> None:
    """Drop it, with the reasons."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table reservations drop column end_reason")
