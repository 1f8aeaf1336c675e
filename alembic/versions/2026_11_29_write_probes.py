"""A table to write to when a process is asked whether it is ready; its rows are never committed."""

from alembic import op

revision = "2026_11_29_probes"
down_revision = "2026_11_29_plain_subjects"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("create table write_probes (probed_at timestamptz not null)")
    op.execute("grant select, insert on write_probes to token_ledger_app")


def downgrade() -> None:
    """Drop the table."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop table write_probes")
