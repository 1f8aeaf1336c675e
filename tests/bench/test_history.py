"""The history that the growth measurements need can be stored in the current schema."""

import asyncpg

from tests.bench.history import grow
from tests.bench.shapes import ONE_ACCOUNT, filling


async def test_a_history_fills_events_holds_keys_and_sums(database_url: str) -> None:
    await filling(ONE_ACCOUNT)(database_url)
    await grow(database_url, 50)
    connection = await asyncpg.connect(database_url)
    try:
        counts = {
            table: await connection.fetchval(f"select count(*) from {table}")
            for table in ("usage_events", "reservations", "operation_keys")
        }
        assert counts == {"usage_events": 50, "reservations": 50, "operation_keys": 101}  # and the budget's key
        for table in ("hourly_usage", "daily_usage"):
            assert await connection.fetchval(f"select sum(calls) from {table}") == 50
    finally:
        await connection.close()
