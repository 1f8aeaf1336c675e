"""Tends accounts: lets due grants lapse, and closes accounts whose window has ended."""

from collections.abc import Sequence

from token_ledger.core.batch.commands import TendAccounts
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.due import accounts_to_tend
from token_ledger.worker.slices import MOST_ROUNDS
from token_ledger.worker.submission import Submit, submit_all
from token_ledger.worker.tenants import TenantFailures

ACCOUNTS_PER_COMMAND = 200
"""How many accounts one command tends, so that batches stay short."""
ACCOUNTS_PER_ROUND = 2_000


async def tend_accounts(database: Database, submit: Submit, failures: TenantFailures | None = None) -> None:
    """Tend all accounts that are due."""
    failures = failures or TenantFailures("tend accounts")

    async def look(tenants: Sequence[TenantId]) -> dict[TenantId, list[int]]:
        async with database.reading(*tenants) as connection:
            return await accounts_to_tend(connection, tenants, ACCOUNTS_PER_ROUND)

    for _ in range(MOST_ROUNDS):
        async with database.reading() as connection:
            names = await all_tenants(connection)
        accounts = {tenant: ids for found in await failures.each(names, look) for tenant, ids in found.items()}
        await submit_all(
            submit,
            (
                (tenant, TendAccounts(tuple(ids[first : first + ACCOUNTS_PER_COMMAND])))
                for tenant, ids in accounts.items()
                for first in range(0, len(ids), ACCOUNTS_PER_COMMAND)
            ),
            names,
            failures,
        )
        if sum(map(len, accounts.values())) < ACCOUNTS_PER_ROUND:
            return
