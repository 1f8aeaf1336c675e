"""Events have lines of other kinds than the tokens that every call has, and the service tier of their price.

Stop all processes of the version before: they write rows of the type before.
"""

from alembic import op

revision = "2026_11_29_other_kinds"
down_revision = "2026_11_29_tenant_prices"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns, to the table and to the rows that batches send."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table usage_events add column others jsonb, add column service_tier text")
    op.execute("alter type booked_event_row add attribute others jsonb, add attribute service_tier text")


def downgrade() -> None:
    """Drop both columns."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter type booked_event_row drop attribute others, drop attribute service_tier")
    op.execute("alter table usage_events drop column others, drop column service_tier")
