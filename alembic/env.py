"""Alembic's entry: runs on the connection that `token_ledger.storage.migrations` hands over.

From the command line it takes the database from TOKEN_LEDGER_DATABASE_URL.
"""

import asyncio
import os

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import context
from token_ledger.storage.database import plain_dsn
from token_ledger.storage.schema.all_tables import PARTITIONED_TABLES, metadata


def is_ours(thing: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    """Leave out partitions: they come and go with time."""
    return not (kind == "table" and any((name or "").startswith(f"{table}_") for table in PARTITIONED_TABLES))


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, include_object=is_ours)
    with context.begin_transaction():
        context.run_migrations()


async def run_from_command_line() -> None:
    dsn = plain_dsn(os.environ["TOKEN_LEDGER_DATABASE_URL"])
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(dsn))
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    asyncio.run(run_from_command_line())
