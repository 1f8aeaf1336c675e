"""Runs commands as a process would, and looks at what they leave in the database."""

import asyncio

import asyncpg

from token_ledger.cli.main import main


async def run(*arguments: str) -> int:
    """Run a command as a process would: in a thread without a loop."""
    return await asyncio.to_thread(main, arguments)


async def rows(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()
