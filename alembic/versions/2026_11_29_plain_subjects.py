"""The user and the run of an account's subject become plain columns, which are written with the subject.

While they were generated, PostgreSQL read their definitions again for every account that a batch updates, which took
longer than the update. Stop all processes of the version before: it leaves the columns empty.
"""

import re
from pathlib import Path

from alembic import op

revision = "2026_11_29_plain_subjects"
down_revision = "2026_11_29_names"
branch_labels = None
depends_on = None

SCRIPTS = Path(__file__).parent.parent
FIX_SEARCH_PATH = "select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)"

PARTS = ("user", "run")

BEGIN_ERASURE = (
    (
        "set subject = replace(subject, was_part, becomes_part)",
        "set subject = replace(subject, was_part, becomes_part), subject_user = becomes",
    ),
    (
        "set subject = replace(a.subject, was_part, becomes_part)",
        "set subject = replace(a.subject, was_part, becomes_part), subject_user = becomes",
    ),
)

ERASE = (
    (
        """
                select account_id from accounts
                where tenant_id = tenant and subject_user = e.user_id and account_id <= e.last_id
                limit least(most, 500)
            )
            update accounts as a
            set subject = case when exists (
                select from accounts as other where other.tenant_id = tenant and other.budget_id = a.budget_id
                and other.subject = replace(a.subject, was, becomes) and other.window_start = a.window_start
            ) then replace(a.subject, was, '"user":' || to_json(e.pseudonym || '-' || a.account_id))
            else replace(a.subject, was, becomes) end
""",
        """
                select a.account_id, case when exists (
                    select from accounts as other where other.tenant_id = tenant and other.budget_id = a.budget_id
                    and other.subject = replace(a.subject, was, becomes) and other.window_start = a.window_start
                ) then e.pseudonym || '-' || a.account_id else e.pseudonym end as pseudonym
                from accounts as a
                where a.tenant_id = tenant and a.subject_user = e.user_id and a.account_id <= e.last_id
                limit least(most, 500)
            )
            update accounts as a
            set subject = replace(a.subject, was, '"user":' || to_json(n.pseudonym)), subject_user = n.pseudonym
""",
    ),
)


def function_of(script: str, name: str, changes: tuple[tuple[str, str], ...] = ()) -> str:
    """Return the statement that gives a function the text that it has in a script, with some of it replaced."""
    text = (SCRIPTS / script / "erasure.sql").read_text()
    found = re.search(rf"^create (?:or replace )?(function {name}\(.*?\$\$.*?\$\$;)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"{script} has {name}"
    statement = found[1]
    for old, new in changes:
        assert statement.count(old) == 1, f"{name} has this once: {old}"
        statement = statement.replace(old, new)
    return f"create or replace {statement}"


def replace_functions(begin: tuple[tuple[str, str], ...] = (), erase: tuple[tuple[str, str], ...] = ()) -> None:
    """Give the functions that rename accounts the text that they had before, with some of it replaced."""
    op.execute(FIX_SEARCH_PATH)
    driver = op.get_bind().connection.dbapi_connection
    for statement in (
        function_of("names_windows_corrections", "token_ledger_begin_erasure", begin),
        function_of("first_schema", "token_ledger_erase", erase),
    ):
        driver.run_async(lambda connection, statement=statement: connection.execute(statement))


def upgrade() -> None:
    """Keep what is stored; from now on whoever writes a subject writes these columns."""
    op.execute("set local lock_timeout = '5s'")
    for part in PARTS:
        op.execute(f"alter table accounts alter column subject_{part} drop expression")
    replace_functions(BEGIN_ERASURE, ERASE)


def downgrade() -> None:
    """Generate the columns again, which writes the whole table anew."""
    op.execute("set local lock_timeout = '5s'")
    replace_functions()
    for part in PARTS:
        op.execute(
            f"alter table accounts drop column subject_{part}, add column subject_{part} text generated always as"
            f" (case when position('\"{part}\":' in subject) > 0 then subject::jsonb ->> '{part}' end) stored"
        )
    op.execute(
        "create index accounts_of_user on accounts (tenant_id, subject_user, subject_run)"
        " where subject_user is not null"
    )
