"""A hold says what its call announced beside tokens: other kinds, and how it will be served.

Stop all processes of the version before: they write rows of the type before.
"""

from alembic import op

revision = "2026_11_29_announced"
down_revision = "2026_11_29_kinds_of_events"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, to the table and to the rows that batches send."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table reservations add column announced jsonb")
    op.execute("alter type held_call_row add attribute announced jsonb")


def downgrade() -> None:
    """Drop the column."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter type held_call_row drop attribute announced")
    op.execute("alter table reservations drop column announced")
