"""Calls of which a part had no price are re-costed once it has one, by events that say which they re-cost."""

from alembic import op

revision = "2026_11_29_recostings"
down_revision = "2026_11_29_report_of_kinds"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and index what is re-costed and what can be: few events are."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table usage_events add column recosts bigint")
    op.execute("create index usage_events_recostings on usage_events (tenant_id, recosts) where recosts is not null")
    op.execute(
        "create index usage_events_unpriced on usage_events (tenant_id, model, event_id)"
        " where unpriced and corrects is null and recosts is null"
    )


def downgrade() -> None:
    """Drop them; re-costings are deleted, because the version before has none."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop index usage_events_unpriced")
    op.execute("drop index usage_events_recostings")
    op.execute("delete from usage_events where recosts is not null")
    op.execute("alter table usage_events drop column recosts")
