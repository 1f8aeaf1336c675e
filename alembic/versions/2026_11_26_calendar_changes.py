"""calendar changes

A planned change of the calendar can be replaced by another, also at the same instant. The table stays a journal: which
changes stand follows from their ids, those of their entries in the audit log.
"""

import sqlalchemy as sa

from alembic import op

revision = "2026_11_26_calendar_changes"
down_revision = "2026_11_24_segments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give every change an id; the changes that are there have none, and all of them stand."""
    op.execute("set local lock_timeout = '5s'")
    op.add_column("calendar_changes", sa.Column("change_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.drop_constraint("calendar_changes_pkey", "calendar_changes")
    op.create_primary_key("calendar_changes_pkey", "calendar_changes", ["tenant_id", "effective_from", "change_id"])


def downgrade() -> None:
    """Keep the changes that stand."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("""
        delete from calendar_changes as c using calendar_changes as later
        where later.tenant_id = c.tenant_id and later.effective_from <= c.effective_from
          and later.change_id > c.change_id
    """)
    op.drop_constraint("calendar_changes_pkey", "calendar_changes")
    op.drop_column("calendar_changes", "change_id")
    op.create_primary_key("calendar_changes_pkey", "calendar_changes", ["tenant_id", "effective_from"])
