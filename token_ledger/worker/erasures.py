"""Continues the erasures that are under way, in slices so short that no caller notices.

Each slice is a transaction of its own and leaves books that verify. It may stop after any of them: where to continue
is stored.
"""

from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.erasures import erase_next, users_being_erased
from token_ledger.worker.slices import Slices


class Erasures:
    """Replaces names with pseudonyms, journal by journal; a finished erasure stays visible for `visible_seconds`."""

    def __init__(self, database: Database, visible_seconds: float) -> None:
        self._database = database
        self._visible_seconds = visible_seconds

    async def erase_users(self) -> None:
        """Do what is left of every erasure."""
        async with self._database.reading() as connection:
            names = await all_tenants(connection)
        async with self._database.reading(*names) as connection:
            under_way = await users_being_erased(connection, names)
        for tenant in dict.fromkeys(tenant for tenant, _ in under_way):
            slices = Slices(500, 5_000)
            is_left = True
            while is_left:
                async with slices.next() as rows, self._database.reading(tenant) as connection:
                    is_left = await erase_next(connection, tenant, rows, self._visible_seconds)
