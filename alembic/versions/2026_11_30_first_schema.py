"""First schema: tables, the service's role with row-level security, and the functions that run as the owner.

The SQL is in `alembic/first_schema`. It names no schema, so it can be made in any: everything goes to the first schema
of the search path, and functions that run as the owner keep that path, with `pg_temp` last.
"""

from pathlib import Path

from alembic import op

revision = "2026_11_30_first_schema"
down_revision = None
branch_labels = None
depends_on = None

SCRIPTS = Path(__file__).parent.parent / "first_schema"

TABLES = ("setup", "runs", "limits", "calls", "rollups")
FUNCTIONS = ("partitions", "sums", "folding", "retention", "erasure")
PARTS = ("role", *TABLES, "batches", *FUNCTIONS, "access", "rows")
"""In the order they are run."""

FIX_SEARCH_PATH = "select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)"

DROP_ALL = """
do $$
declare
    statement text;
begin
    for statement in
        select format('drop function %s', oid::regprocedure) from pg_proc
        where pronamespace = current_schema()::regnamespace and proname like 'token\\_ledger\\_%'
        union all
        select format('drop table %I cascade', relname) from pg_class
        where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') and not relispartition
          and relname <> 'alembic_version'
        union all
        select format('drop type %I', typname) from pg_type as t join pg_class as c on c.oid = t.typrelid
        where typnamespace = current_schema()::regnamespace and c.relkind = 'c'
    loop
        execute statement;
    end loop;
end $$
"""


def upgrade() -> None:
    """Run the scripts; whatever they make belongs to who migrates."""
    op.execute("set local lock_timeout = '5s'")
    op.execute(FIX_SEARCH_PATH)
    for part in PARTS:
        run_script((SCRIPTS / f"{part}.sql").read_text())


def downgrade() -> None:
    """Drop everything but the role, which other databases of the server may use."""
    op.execute("set local lock_timeout = '5s'")
    op.execute(DROP_ALL)


def run_script(script: str) -> None:
    """Send all statements of a script in one message: SQLAlchemy would prepare them, and only one can be prepared."""
    driver = op.get_bind().connection.dbapi_connection
    driver.run_async(lambda connection: connection.execute(script))
