"""hard openings

The first entry of an account's journal says whether the account denies, as later ones say that this changed, so that
the sum of the journal tells it. Until now the account alone said how it began.
"""

from alembic import op

revision = "2026_11_27_hard_openings"
down_revision = "2026_11_27_checkpoint_lock"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Fill the openings of accounts that denied from the start: that is what they do now, less what changed since."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("lock table limit_entries in share row exclusive mode")  # no account opens or changes meanwhile
    op.execute(
        "update limit_entries as opening set hard = 1 from ("
        " select a.tenant_id, a.account_id from accounts as a"
        " left join limit_entries as e"
        "   on e.tenant_id = a.tenant_id and e.account_id = a.account_id and e.kind <> 'opening'"
        " group by a.tenant_id, a.account_id, a.enforcement"
        " having (a.enforcement = 'hard')::integer - coalesce(sum(e.hard), 0) = 1"
        ") as denied"
        " where opening.tenant_id = denied.tenant_id and opening.account_id = denied.account_id"
        " and opening.kind = 'opening' and opening.hard = 0"
    )


def downgrade() -> None:
    """Let openings say nothing of it."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("update limit_entries set hard = 0 where kind = 'opening'")
