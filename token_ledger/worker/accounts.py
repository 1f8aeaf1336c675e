"""Tends accounts: lets due grants lapse, and closes accounts whose window has ended."""

from token_ledger.core.batch.commands import TendAccounts
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.due import accounts_to_tend
from token_ledger.worker.slices import MOST_ROUNDS
from token_ledger.worker.submission import Submit, submit_all

ACCOUNTS_PER_COMMAND = 200
"""How many accounts one command tends, so that batches stay short."""
ACCOUNTS_PER_ROUND = 2_000


async def tend_accounts(database: Database, submit: Submit) -> None:
    """Tend all accounts that are due."""
    for _ in range(MOST_ROUNDS):
        async with database.reading() as connection:
            tenants = await all_tenants(connection)
        async with database.reading(*tenants) as connection:
            accounts = await accounts_to_tend(connection, tenants, ACCOUNTS_PER_ROUND)
        await submit_all(
            submit,
            (
                (tenant, TendAccounts(tuple(ids[first : first + ACCOUNTS_PER_COMMAND])))
                for tenant, ids in accounts.items()
                for first in range(0, len(ids), ACCOUNTS_PER_COMMAND)
            ),
        )
        if sum(map(len, accounts.values())) < ACCOUNTS_PER_ROUND:
            return
