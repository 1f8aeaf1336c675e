"""Events are also tool calls, cache hits and inner models, and have details: what was measured, what a cache saved.

Stop all processes of the version before: they write rows of the type before.
"""

from alembic import op

revision = "2026_11_29_kinds_of_events"
down_revision = "2026_11_29_parts_of_calls"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns, to the table and to the rows that batches send."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table usage_events add column kind text, add column details jsonb")
    op.execute("alter type booked_event_row add attribute kind text, add attribute details jsonb")


def downgrade() -> None:
    """Drop both columns; what was none of a call of a model stays as an event of no call."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter type booked_event_row drop attribute kind, drop attribute details")
    op.execute("alter table usage_events drop column kind, drop column details")
