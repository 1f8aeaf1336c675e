"""Tells all processes of a database when somebody may do less than before: a key ends, or a provider is removed.

PostgreSQL notifies every process that listens when the change is committed. A listener that was cut off misses that, so
it asks for an answer again and again: whatever was committed before it asked, it has heard of when the answer comes.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.storage.database import CONNECT_SECONDS, READER_SETTINGS, Database

_CHANNEL = "token_ledger_access"
ASK_SECONDS = 0.25
"""How often a listener asks for an answer."""
ANSWER_SECONDS = 2.0
"""After how long without an answer the connection counts as lost."""


async def note_less_access(connection: AsyncConnection) -> None:
    """Let all processes look up again who may do what, as soon as this transaction is committed."""
    await connection.execute(text(f"notify {_CHANNEL}"))


async def listen_for_less_access(
    database: Database, *, changed: Callable[[], None], heard_all_until: Callable[[float], None]
) -> NoReturn:
    """Call `changed` whenever somebody may do less, also once at the beginning; raises when the connection is lost.

    `heard_all_until` is called with instants of the monotonic clock: what was committed before has been heard of.
    """
    connection = await asyncpg.connect(
        database.dsn, timeout=CONNECT_SECONDS, command_timeout=ANSWER_SECONDS,
        server_settings={**READER_SETTINGS, "application_name": "token-ledger listener"},
    )  # fmt: skip
    try:
        await connection.add_listener(_CHANNEL, lambda *_: changed())
        changed()  # what was committed before the connection listened
        while True:
            asked = time.monotonic()
            await connection.execute("select 1")
            heard_all_until(asked)
            await asyncio.sleep(ASK_SECONDS)
    finally:
        connection.terminate()
