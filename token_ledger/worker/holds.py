"""Expires holds whose time is up."""

from collections.abc import Sequence

from token_ledger.core.batch.commands import ExpireDue
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.due import tenants_with_due_holds
from token_ledger.worker.slices import MOST_ROUNDS, Slices
from token_ledger.worker.submission import Submit, submit_all
from token_ledger.worker.tenants import TenantFailures

FIRST_SLICE = 256
_LARGEST_SLICE = 4_096
"""How many holds of one tenant a batch expires, if others hardly notice."""


async def expire_due_holds(database: Database, submit: Submit, failures: TenantFailures | None = None) -> None:
    """Give every tenant with due holds a batch, even if nobody calls it: each batch expires some of what is due."""
    failures = failures or TenantFailures("expire due holds")
    slices = Slices(FIRST_SLICE, _LARGEST_SLICE)

    async def look(tenants: Sequence[TenantId]) -> list[TenantId]:
        async with database.reading(*tenants) as connection:
            return await tenants_with_due_holds(connection, tenants)

    for _ in range(MOST_ROUNDS):
        async with database.reading() as connection:
            names = await all_tenants(connection)
        due = [tenant for found in await failures.each(names, look) for tenant in found]
        if not due:
            return
        async with slices.next() as holds:
            await submit_all(submit, ((tenant, ExpireDue(holds)) for tenant in due), names, failures)
