"""Runs commands as a process would, and reads what they leave in the database."""

import asyncio

import asyncpg

from token_ledger.cli.main import main


async def run(*arguments: str) -> int:
    """Run a command as a process would: in a thread without an event loop."""
    return await asyncio.to_thread(main, arguments)


def without_database(said: str) -> str:
    """Return what a command printed on standard error, without the line that says which database it works on."""
    first, _, rest = said.partition("\n")
    return rest if first.startswith("database: ") else said


async def rows(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()
