"""Events say that they were imported, and from when on they count on accounts.

Stop all processes of the version before: they write rows of the type before.
"""

from alembic import op

revision = "2026_11_29_history"
down_revision = "2026_11_29_models"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and index imported events for the line of theirs in reports."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table usage_events add column counts_since timestamptz")
    # A row has the place of the instant in an array of the batch's instants.
    op.execute("alter type booked_event_row add attribute counts_since integer")
    op.execute(
        "create index usage_events_imported on usage_events (tenant_id, posted_at) where counts_since is not null"
    )


def downgrade() -> None:
    """Drop them; imported events stay, as if they had been booked when they happened."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop index usage_events_imported")
    op.execute("alter type booked_event_row drop attribute counts_since")
    op.execute("alter table usage_events drop column counts_since")
