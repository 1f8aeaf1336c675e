"""A process with one writer connection: whoever asks the moment an answer is out is not forgotten."""

import asyncio

from token_ledger.core.commands import ExpireDue
from token_ledger.core.outcomes import Swept
from token_ledger.core.tenant import TenantId
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.tenants import add_tenant


async def test_one_command_after_the_other_on_one_writer(database_url: str) -> None:
    database = Database(database_url, writers=1, readers=1)
    try:
        async with database.reading() as connection:
            tenant: TenantId | None = await add_tenant(connection, "acme", "UTC")
            prices = await load_price_book(connection)
        assert tenant is not None
        commits = GroupCommit(database, prices, writers=1)
        for _ in range(20):
            assert await asyncio.wait_for(commits.submit(tenant, ExpireDue()), 5) == Swept()
        await commits.drain()
    finally:
        await database.close()
