"""open accounts

The gauges of every process ask for the fullest open accounts; without an index they read all that were ever made.
"""

import sqlalchemy as sa

from alembic import op

revision = "2026_11_27_open_accounts"
down_revision = "2026_11_27_fold_in_slices"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index. What it looks at never changes with a balance."""
    op.execute("set local lock_timeout = '5s'")
    op.create_index(
        "accounts_open", "accounts", ["tenant_id", "budget_id"], postgresql_where=sa.text("closed_at is null")
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_index("accounts_open", "accounts")
