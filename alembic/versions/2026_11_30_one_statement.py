"""Let a batch be booked by one statement: a function, the rows that it takes, and a random number per ledger.

The version before goes on as it is: it calls nothing of this, and its batches leave the random number as they find it.
"""

from pathlib import Path

from alembic import op

revision = "2026_11_30_one_statement"
down_revision = "2026_11_30_first_schema"
branch_labels = None
depends_on = None

SCRIPTS = Path(__file__).parent.parent / "one_statement"

PARTS = ("rows", "book")
"""In the order they are run."""

DROP_ALL = """
drop function token_ledger_book;
drop type operation_key_row, ended_hold_row, changed_hold_row, denial_row, trigger_firing_row, counted_run_row,
    run_step_row;
alter table tenant_ledgers drop column batch_stamp;
"""


def upgrade() -> None:
    """Run the scripts; whatever they make belongs to who migrates."""
    op.execute("set local lock_timeout = '5s'")
    for part in PARTS:
        run_script((SCRIPTS / f"{part}.sql").read_text())


def downgrade() -> None:
    """Drop what was made."""
    op.execute("set local lock_timeout = '5s'")
    run_script(DROP_ALL)


def run_script(script: str) -> None:
    """Send all statements of a script in one message: SQLAlchemy would prepare them, and only one can be prepared."""
    driver = op.get_bind().connection.dbapi_connection
    driver.run_async(lambda connection: connection.execute(script))
