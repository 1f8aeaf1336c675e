"""Lets a database fail as whoever tests wants: every statement on a table, with the SQLSTATE of a fault.

Every table gets a policy that calls a function that raises. It is immutable, so planning a statement calls it, also
where the table is empty.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from token_ledger.storage.schema.all_tables import metadata

STATES = {
    "25006": "read-only", "53100": "disk full", "53200": "out of memory", "53400": "a limit of the configuration",
    "55P03": "a lock is not available", "57014": "canceled", "40001": "serialization", "40P01": "deadlock",
    "58030": "input or output failed", "58P01": "a file is missing", "XX000": "internal error",
    "XX001": "data corrupted",
    "42501": "a privilege is missing", "42P01": "a table is missing", "55000": "not in the right state",
    "57P01": "shut down", "08006": "connection failure", "0A000": "not supported",
}  # fmt: skip
FAIL = """
create or replace function fail() returns boolean language plpgsql immutable as
$$ begin raise exception 'secret details' using errcode = '{}'; end $$
"""


@asynccontextmanager
async def faulty(owner: Any, state: str) -> AsyncIterator[None]:
    """Let every statement on a table fail with a state."""
    tables = sorted(metadata.tables)
    await owner.execute(FAIL.format(state))
    fenced = {row["relname"] for row in await owner.fetch("select relname from pg_class where relrowsecurity")}
    try:
        for table in tables:
            policy = f"create policy fault on {table} as restrictive using (fail()) with check (fail())"
            also = "" if table in fenced else f"alter table {table} enable row level security;"
            await owner.execute(f"{also} create policy rest on {table} using (true); {policy}")
        yield
    finally:
        for table in tables:
            also = "" if table in fenced else f"alter table {table} disable row level security;"
            await owner.execute(f"{also} drop policy if exists rest on {table}; drop policy if exists fault on {table}")
