"""Reserve and settle once, through every layer, on a real database."""

from token_ledger.core.batch.commands import Reserve, Settle
from token_ledger.core.batch.outcomes import Granted, Settled
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.tenants import add_tenant


async def test_reserve_and_settle(database_url: str) -> None:
    database = Database(database_url)
    async with database.reading() as connection:
        tenant = await add_tenant(connection, "acme", "UTC")
    assert tenant is not None
    async with database.readers.connect() as connection:
        prices = await load_price_book(connection)
    commits = GroupCommit(database, prices)
    granted = await commits.submit(
        tenant, Reserve("k1", b"x", "data_agent", "openai", "gpt-5.4", 1000, 500, user="ada", cost_center="research")
    )
    assert isinstance(granted, Granted)
    settled = await commits.submit(
        TenantId(tenant), Settle("s1", b"y", granted.reservation.reservation_id, Usage(900, 100))
    )
    assert isinstance(settled, Settled)
    assert settled.event.cost_nanos == 900 * 2_500 + 100 * 15_000
    await commits.drain()
    await database.close()
    report = await verify_database(database_url)
    assert report.clean, report.as_text()
    assert report.events == 1
