"""Stands in for the database where a batch is decided on what is kept: whatever else is asked for ends the attempt.

Three things need not be asked, because the statement that books the batch (`write.one_statement`) writes nothing unless
they are as they are taken here: keys are new, no hold is due, and response ids are of no known call.
"""

from datetime import datetime
from typing import Any

from token_ledger.storage.load.keys import LOAD_KEYS
from token_ledger.storage.load.reservations import LOAD_RESERVATIONS
from token_ledger.storage.load.responses import LOAD_RESPONSES

NO_NAMES = "{}"


class NotKept(Exception):
    """Something is needed that is not kept: it has to be loaded."""


class NotAsked:
    """A connection on which nothing is sent; it notes which response ids were taken for new, and since when."""

    def __init__(self) -> None:
        self.new_responses: list[str] = []
        self.responses_since: datetime | None = None

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """Return no rows where that will be checked. Raises NotKept for all else."""
        if statement is LOAD_KEYS or (statement is LOAD_RESERVATIONS and arguments[0] == NO_NAMES):
            return []
        if statement is LOAD_RESPONSES and self.responses_since in (None, arguments[2]):
            self.new_responses += arguments[1]
            self.responses_since = arguments[2]
            return []
        raise NotKept
