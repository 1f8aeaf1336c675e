"""Partitions of the usage events: made ahead, without gaps, by the service's role; an event goes to its own month."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Recorded
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.schema.all_tables import metadata
from token_ledger.storage.tenants import add_tenant
from token_ledger.storage.upkeep.due import add_partitions

BOUNDS = (
    "select c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bounds from pg_inherits as i"
    " join pg_class as c on c.oid = i.inhrelid where i.inhparent = 'usage_events'::regclass order by 1"
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, writers=1, readers=4)
    yield opened
    await opened.close()


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    yield connection
    await connection.close()


def _months(count: int) -> list[datetime]:
    """Return the first instants of this month and of those that follow."""
    now = datetime.now(UTC)
    firsts = (now.year * 12 + now.month - 1 + number for number in range(count))
    return [datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in firsts]


async def _partitions(owner: Any) -> list[tuple[str, str]]:
    return [(row["name"], row["bounds"]) for row in await owner.fetch(BOUNDS)]


def _expected(count: int) -> list[tuple[str, str]]:
    def bound(month: datetime) -> str:
        return f"('{month:%Y-%m-%d} 00:00:00+00')"

    return [
        (f"usage_events_{first:%Y_%m}", f"FOR VALUES FROM {bound(first)} TO {bound(after)}")
        for first, after in itertools.pairwise(_months(count + 1))
    ]


async def test_a_migrated_database_has_this_month_and_three_ahead_without_gaps(owner: Any) -> None:
    assert await _partitions(owner) == _expected(4)


async def test_the_services_role_makes_those_that_are_missing_and_only_those(database: Database, owner: Any) -> None:
    for months, made in ((3, 0), (5, 2), (5, 0), (14, 9)):
        async with database.reading() as connection:
            assert await add_partitions(connection, months) == made
    assert await _partitions(owner) == _expected(15)


async def test_several_that_look_ahead_at_once_make_each_once(database: Database, owner: Any) -> None:
    async def look_ahead() -> int:
        async with database.reading() as connection:
            return await add_partitions(connection, 8)

    assert sum(await asyncio.gather(*(look_ahead() for _ in range(4)))) == 5
    assert await _partitions(owner) == _expected(9)


async def test_partitions_are_made_the_same_whatever_the_callers_time_zone(owner: Any) -> None:
    await owner.execute("set timezone = 'Pacific/Kiritimati'")
    await owner.execute("select token_ledger_add_partitions(6)")
    await owner.execute("set timezone = 'UTC'")
    assert await _partitions(owner) == _expected(7)


async def _insert(connection: Any, event_id: int, booked_at: datetime) -> str:
    values: dict[str, Any] = {
        "tenant_id": 0, "event_id": event_id, "booked_at": booked_at, "occurred_at": booked_at,
        "posted_at": booked_at, "path": [],
    }  # fmt: skip
    for column in metadata.tables["usage_events"].columns:
        if not column.nullable and column.name not in values:
            values[column.name] = {"TEXT": "x", "BIGINT": 0, "SMALLINT": 0, "BOOLEAN": False}[str(column.type)]
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    name = await connection.fetchval(
        f"insert into usage_events ({', '.join(values)}) values ({places}) returning tableoid::regclass::text",
        *values.values(),
    )
    return str(name)


async def test_an_event_goes_to_the_partition_of_its_month_to_the_microsecond(owner: Any) -> None:
    months = _months(5)
    tick = timedelta(microseconds=1)
    for number, (first, after) in enumerate(itertools.pairwise(months)):
        name = f"usage_events_{first:%Y_%m}"
        assert await _insert(owner, 2 * number, first) == name
        assert await _insert(owner, 2 * number + 1, after - tick) == name


async def test_a_month_without_a_partition_is_an_error_and_no_default_takes_it(owner: Any) -> None:
    months = _months(5)
    for booked_at in (months[0] - timedelta(microseconds=1), months[4]):
        with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
            await _insert(owner, 1, booked_at)
    assert [name for name, bounds in await _partitions(owner) if bounds == "DEFAULT"] == []


async def test_an_event_booked_now_is_in_this_months_partition(database: Database, owner: Any) -> None:
    async with database.reading() as connection:
        tenant = await add_tenant(connection, "acme", "Pacific/Kiritimati")
        prices = await load_price_book(connection)
    assert tenant is not None
    commits = GroupCommit(database, prices)
    # It occurred last month, perhaps: what counts is when it was booked.
    occurred_at = datetime.now(UTC) - timedelta(days=34)
    call = Record("k", b"x", "batch", "data_agent", "openai", "gpt-5.4", Usage(10, 1), user="ada",
                  occurred_at=occurred_at)  # fmt: skip
    outcome = await commits.submit(tenant, call)
    assert isinstance(outcome, Recorded)
    [row] = await owner.fetch("select tableoid::regclass::text as name, booked_at, occurred_at from usage_events")
    assert row["name"] == f"usage_events_{row['booked_at']:%Y_%m}"
    assert row["occurred_at"] == occurred_at
