"""Goes on with the erasures that are under way, in slices so short that nobody notices.

Each slice is a transaction of its own and leaves books that verify. It may stop anywhere: where to go on is stored.
"""

import logging

from token_ledger.storage.database import Database
from token_ledger.storage.erasures import erase_next, users_being_erased
from token_ledger.storage.tenants import all_tenants
from token_ledger.worker.pace import Pace

log = logging.getLogger(__name__)

HEARD_SECONDS = 45.0
"""How long an erasure is there to be heard of: three times as long as until every process looks for it again."""


class Erasures:
    """Puts pseudonyms in the place of names, journal by journal."""

    def __init__(self, database: Database, heard_seconds: float = HEARD_SECONDS) -> None:
        self._database = database
        self._heard_seconds = heard_seconds

    async def erase_users(self) -> None:
        """Do what is left to do of every erasure."""
        async with self._database.reading() as connection:
            names = await all_tenants(connection)
        async with self._database.reading(*names) as connection:
            under_way = await users_being_erased(connection, names)
        for tenant in dict.fromkeys(tenant for tenant, _ in under_way):
            pace = Pace(500, 5_000)
            left = True
            while left:
                async with pace.slice() as rows, self._database.reading(tenant) as connection:
                    left = await erase_next(connection, tenant, rows, self._heard_seconds)
