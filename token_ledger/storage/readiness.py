"""Owns whether a database can be worked with: it answers, has the schema of this version, and takes a write."""

import asyncio
import logging
import time

from sqlalchemy import text

from token_ledger.storage.database import Database, DatabaseAway
from token_ledger.storage.failures import in_words
from token_ledger.storage.migrations import current_revision, head_revision

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
"""How long an answer is good for, however many ask."""
READY_TIMEOUT_SECONDS = 2

_WRITE = "insert into write_probes (probed_at) values (clock_timestamp())"


class Readiness:
    """Asks a database whether it can be worked with, at most once a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._head = head_revision()
        self._answer: asyncio.Task[str | None] | None = None
        self._answered_at = float("-inf")

    async def why_not(self) -> str | None:
        """Return why the database can't be worked with, or None if it can; all who ask at once share an answer."""
        is_old = time.monotonic() - self._answered_at >= ASK_SECONDS
        if self._answer is None or (self._answer.done() and is_old):
            self._answer = asyncio.create_task(self._ask())
        return await asyncio.shield(self._answer)  # whoever goes away leaves it to the others

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                return await self._try()
        except TimeoutError:
            return f"the database did not answer within {READY_TIMEOUT_SECONDS} s"
        except DatabaseAway as error:
            log.warning("not ready", extra={"reason": str(error)})
            return str(error).partition(": ")[0]  # the rest is the database's, and needs no key here
        except Exception as error:  # a rule against the write: whatever it is, nothing can be booked
            log.warning("not ready", extra={"reason": in_words(error)})
            return "the database refuses a write that is there only to see whether it takes any"
        finally:
            self._answered_at = time.monotonic()

    async def _try(self) -> str | None:
        """Read the revision of the schema, and write: a row that is taken back, in a transaction that is committed.

        So the row and the commit need room in the table and in the write-ahead log, on a server that may write; and
        nothing is left, and nobody waits for anybody.
        """
        async with self._database.reading() as connection:
            revision = await connection.run_sync(current_revision)
            if revision != self._head:
                needed = f"this version needs {self._head}: run token-ledger migrate"
                return f"the database is at revision {revision}, {needed}"
            await self._database.check_clock(connection)
            taken_back = await connection.begin_nested()
            await connection.execute(text(_WRITE))
            await taken_back.rollback()
        return None
