"""Folds roll-ups: adds up the rows that earlier segments of batches left for the same key."""

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.tenant_lock import lock_tenant
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.folding import Unfolded, find_unfolded, fold, tenants_to_fold
from token_ledger.worker.slices import MOST_ROUNDS, Slices


class RollupFolding:
    """Folds in slices, because a tenant's batches wait while its roll-ups are folded."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slices = Slices(100, 10_000)

    async def fold_rollups(self) -> None:
        """Fold the roll-ups of all segments that are complete, tenant by tenant."""
        async with self._database.reading() as connection:
            tenants = list(await all_tenants(connection))
        async with self._database.reading(*tenants) as connection:
            unfolded = await tenants_to_fold(connection, tenants)
        for tenant in unfolded:
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
