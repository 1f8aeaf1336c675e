"""Continues the erasures that are under way, in slices so short that no caller notices.

Each slice is a transaction of its own and leaves books that verify. It may stop after any of them: where to continue
is stored.
"""

from collections.abc import Sequence

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.erasures import erase_next, users_being_erased
from token_ledger.worker.slices import Slices
from token_ledger.worker.tenants import TenantFailures


class Erasures:
    """Replaces names with pseudonyms, journal by journal; a finished erasure stays visible for `visible_seconds`."""

    def __init__(self, database: Database, visible_seconds: float, failures: TenantFailures | None = None) -> None:
        self._database = database
        self._visible_seconds = visible_seconds
        self._failures = failures or TenantFailures("erase users")

    async def erase_users(self) -> None:
        """Do what is left of every erasure."""
        async with self._database.reading() as connection:
            names = await all_tenants(connection)
        under_way = [each for found in await self._failures.each(names, self._look) for each in found]
        for tenant in dict.fromkeys(tenant for tenant, _ in under_way):
            with self._failures.alone(tenant, names[tenant]):
                await self._erase(tenant)

    async def _look(self, tenants: Sequence[TenantId]) -> list[tuple[TenantId, str]]:
        async with self._database.reading(*tenants) as connection:
            return await users_being_erased(connection, tenants)

    async def _erase(self, tenant: TenantId) -> None:
        slices = Slices(500, 5_000)
        is_left = True
        while is_left:
            async with slices.next() as rows, self._database.reading(tenant) as connection:
                is_left = await erase_next(connection, tenant, rows, self._visible_seconds)
