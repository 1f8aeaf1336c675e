"""A hold says what the parts of its call have used, by model, so that they can be priced together.

Stop all processes of the version before: they price every part by itself.
"""

from alembic import op

revision = "2026_11_29_parts_of_calls"
down_revision = "2026_11_29_duplicates"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a hold without parts has none."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table reservations add column drawn_use jsonb")


def downgrade() -> None:
    """Drop the column."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table reservations drop column drawn_use")
