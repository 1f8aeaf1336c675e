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

FIX_SEARCH_PATH = "select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)"

GIVE_ACCESS = """
do $$
declare
    ours text;
begin
    for ours in
        select oid::regprocedure::text from pg_proc
        where pronamespace = current_schema()::regnamespace and proname = 'token_ledger_book'
    loop
        execute format('revoke all on function %s from public', ours);
        execute format('grant execute on function %s to token_ledger_app', ours);
    end loop;
end $$
"""

DROP_ALL = """
do $$
declare
    statement text;
begin
    for statement in
        select format('drop function %s', oid::regprocedure) from pg_proc
        where pronamespace = current_schema()::regnamespace and proname = 'token_ledger_book'
        union all
        select format('drop type %I', name) from unnest(array[
            'operation_key_row', 'ended_hold_row', 'changed_hold_row', 'denial_row', 'trigger_firing_row',
            'counted_run_row', 'run_step_row'
        ]) as name
    loop
        execute statement;
    end loop;
    alter table tenant_ledgers drop column batch_stamp;
end $$
"""


def upgrade() -> None:
    """Run the scripts; whatever they make belongs to who migrates."""
    op.execute("set local lock_timeout = '5s'")
    op.execute(FIX_SEARCH_PATH)
    for part in PARTS:
        run_script((SCRIPTS / f"{part}.sql").read_text())
    op.execute(GIVE_ACCESS)


def downgrade() -> None:
    """Drop what was made."""
    op.execute("set local lock_timeout = '5s'")
    op.execute(DROP_ALL)


def run_script(script: str) -> None:
    """Send all statements of a script in one message: SQLAlchemy would prepare them, and only one can be prepared."""
    driver = op.get_bind().connection.dbapi_connection
    driver.run_async(lambda connection: connection.execute(script))
