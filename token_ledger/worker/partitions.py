"""Makes the monthly partitions of usage events ahead of time."""

from token_ledger.storage.database import Database
from token_ledger.storage.upkeep.due import add_partitions

MONTHS_AHEAD = 3


async def make_partitions(database: Database) -> None:
    """Make the partitions of this month and the months ahead, so that no booking has to wait for one."""
    async with database.reading() as connection:
        await database.check_clock(connection)
        await add_partitions(connection, MONTHS_AHEAD)
