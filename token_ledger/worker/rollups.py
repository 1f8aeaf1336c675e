"""Folds roll-ups: adds up the rows that earlier segments of batches left for the same key."""

from collections.abc import Sequence

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.tenant_lock import lock_tenant
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.folding import Unfolded, find_unfolded, fold, tenants_to_fold
from token_ledger.worker.slices import MOST_ROUNDS, Slices
from token_ledger.worker.tenants import TenantFailures


class RollupFolding:
    """Folds in slices, because a tenant's batches wait while its roll-ups are folded."""

    def __init__(self, database: Database, failures: TenantFailures | None = None) -> None:
        self._database = database
        self._slices = Slices(100, 10_000)
        self._failures = failures or TenantFailures("fold roll-ups")

    async def fold_rollups(self) -> None:
        """Fold the roll-ups of all segments that are complete, tenant by tenant."""
        async with self._database.reading() as connection:
            names = await all_tenants(connection)
        for tenant in [tenant for found in await self._failures.each(names, self._look) for tenant in found]:
            with self._failures.alone(tenant, names[tenant]):
                await self._fold_tenant(tenant)

    async def _look(self, tenants: Sequence[TenantId]) -> list[TenantId]:
        async with self._database.reading(*tenants) as connection:
            return await tenants_to_fold(connection, tenants)

    async def _fold_tenant(self, tenant: TenantId) -> None:
        for _ in range(MOST_ROUNDS):
            async with self._database.reading(tenant) as connection:
                found = await find_unfolded(connection, tenant)
            for each in found:
                await self._fold(tenant, each)
            if not found:
                break

    async def _fold(self, tenant: TenantId, unfolded: Unfolded) -> None:
        done = 0
        while done < len(unfolded.keys):
            async with self._slices.next() as keys, self._database.reading(tenant) as connection:
                await lock_tenant(connection, tenant)
                self._slices.restart_clock()
                await fold(connection, tenant, unfolded, unfolded.keys[done : done + keys])
                done += keys
