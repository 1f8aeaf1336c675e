"""What the response id of a call says: whether the same response was reported before.

Stop all processes of the version before: they write rows of the type before.
"""

from alembic import op

revision = "2026_11_29_duplicates"
down_revision = "2026_11_29_other_kinds"
branch_labels = None
depends_on = None

# Nothing is said of the events there are, so the index is empty at first; making it reads them once.
INDEX = """
create index usage_events_responses on usage_events (tenant_id, response_id)
where repetition in ('first', 'replaces', 'other_usage')
"""


def upgrade() -> None:
    """Add what is said of response ids, and whether tenants find duplicates."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table usage_events add column repetition text, add column earlier_event_id bigint")
    op.execute("alter type booked_event_row add attribute repetition text, add attribute earlier_event_id bigint")
    op.execute("alter table tenant_ledgers add column finds_duplicates boolean not null default true")
    op.execute(INDEX)


def downgrade() -> None:
    """Remove what was added; duplicates, which have nothing booked, stay as calls of no tokens."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop index usage_events_responses")
    op.execute("alter table tenant_ledgers drop column finds_duplicates")
    op.execute("alter type booked_event_row drop attribute repetition, drop attribute earlier_event_id")
    op.execute("alter table usage_events drop column repetition, drop column earlier_event_id")
