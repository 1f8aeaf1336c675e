"""Expires holds whose time is up."""

from token_ledger.core.batch.commands import ExpireDue
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import all_tenants
from token_ledger.storage.upkeep.due import tenants_with_due_holds
from token_ledger.worker.slices import MOST_ROUNDS, Slices
from token_ledger.worker.submission import Submit, submit_all

FIRST_SLICE = 256
_LARGEST_SLICE = 4_096
"""How many holds of one tenant a batch expires, if others hardly notice."""


async def expire_due_holds(database: Database, submit: Submit) -> None:
    """Give every tenant with due holds a batch, even if nobody calls it: each batch expires some of what is due."""
    slices = Slices(FIRST_SLICE, _LARGEST_SLICE)
    for _ in range(MOST_ROUNDS):
        async with database.reading() as connection:
            tenants = await all_tenants(connection)
        async with database.reading(*tenants) as connection:
            due = await tenants_with_due_holds(connection, tenants)
        if not due:
            return
        async with slices.next() as holds:
            await submit_all(submit, ((tenant, ExpireDue(holds)) for tenant in due))
