"""A process with few writer connections: nobody who asks is forgotten, and no batch is more than it can decide."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.api.waiting import PATIENCE_SECONDS
from tests.storage.sql_forms import writes
from token_ledger.core.batch.commands import ExpireDue, Preflight, Reserve, Settle
from token_ledger.core.batch.outcomes import Granted, PreflightAnswer, Swept
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.group_commit import MANY_OPERATIONS, BatchReport, GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.tenants import add_tenant
from token_ledger.storage.write.one_statement import BOOK


@asynccontextmanager
async def one_writer(
    database_url: str, report: Callable[[BatchReport], None] = lambda _: None
) -> AsyncIterator[tuple[GroupCommit, TenantId, Database]]:
    """Batches of one tenant on one connection of a database."""
    database = Database(database_url, writers=1, readers=1)
    try:
        async with database.reading() as connection:
            tenant = await add_tenant(connection, "acme", "UTC")
            prices = await load_price_book(connection)
        assert tenant is not None
        commits = GroupCommit(database, prices, writers=1, report=report)
        yield commits, tenant, database
        await commits.drain()
    finally:
        await database.close()


async def test_one_command_after_the_other_on_one_writer(database_url: str) -> None:
    async with one_writer(database_url) as (commits, tenant, _):
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(20):
                assert await commits.submit(tenant, ExpireDue()) == Swept()


async def test_a_preflight_takes_as_much_of_a_batch_as_it_plans_kinds_of_calls(database_url: str) -> None:
    sizes: list[int] = []
    call = Reserve("", b"", "data_agent", "openai", "gpt-5.4", 1_000, 500, user="ada")
    async with one_writer(database_url, lambda report: sizes.append(report.operations)) as (commits, tenant, _):
        preflights = [Preflight(((call, 1),) * 64) for _ in range(6)]
        answers = await asyncio.gather(*(commits.submit(tenant, each) for each in preflights))
        assert all(isinstance(answer, PreflightAnswer) and sum(answer.fits) == 64 for answer in answers)
        await asyncio.gather(*(commits.submit(tenant, ExpireDue()) for _ in range(300)))
        await commits.drain()
    assert sizes == [4, 2, 256, 44]


async def test_tenants_with_few_commands_do_not_share_a_batch_with_one_that_has_many(database_url: str) -> None:
    batches: list[set[TenantId]] = []

    def report(batch: BatchReport) -> None:
        batches.append({tenant for tenant, _, _ in batch.decided})

    async with one_writer(database_url, report) as (commits, busy, database):
        async with database.reading() as connection:
            quiet = [await add_tenant(connection, name, "UTC") for name in ("one", "two")]
        expired = [commits.begin(busy, ExpireDue()) for _ in range(MANY_OPERATIONS)]
        expired += [commits.begin(tenant, ExpireDue()) for tenant in quiet if tenant is not None]
        await asyncio.gather(*expired)
        await commits.drain()
        assert batches == [{busy}, set(quiet)]


async def test_an_answer_does_not_wait_for_its_connection_to_be_given_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_release, release = asyncio.Event(), asyncpg.Pool.release

    async def held_release(pool: Any, connection: Any, **options: Any) -> None:
        await may_release.wait()
        await release(pool, connection, **options)

    async with one_writer(database_url) as (commits, tenant, _):
        monkeypatch.setattr(asyncpg.Pool, "release", held_release)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await commits.submit(tenant, ExpireDue()) == Swept()
        finally:
            may_release.set()


async def test_a_batch_updates_the_row_of_its_ledger_once(database_url: str) -> None:
    """After a second update in one transaction PostgreSQL would check the row's foreign key."""
    sent: list[str] = []
    database = Database(database_url, writers=1, readers=1)
    try:
        async with database.reading() as connection:
            tenant = await add_tenant(connection, "acme", "UTC")
            prices = await load_price_book(connection)
        assert tenant is not None
        commits = GroupCommit(database, prices, writers=1)
        async with (await database.writer_pool()).acquire() as writer:
            writer.add_query_logger(lambda record: sent.append(record.query))
        updated = "select sequence, booked_tokens from tenant_ledgers where tenant_id = $1"
        call = Reserve("k", b"", "data_agent", "openai", "gpt-5.4", 1_000, 500, user="ada")
        granted = await commits.submit(tenant, call)
        assert isinstance(granted, Granted)
        await commits.submit(tenant, Settle("k", b"", granted.reservation.reservation_id, Usage(1_000, 500)))
        async with database.reading(tenant) as connection:
            row = (await connection.exec_driver_sql(updated, (tenant,))).one()
        assert tuple(row) == (2, 1_500)
        tables = [table for statement in sent for verb, table, _ in writes(statement) if verb == "update"]
        assert tables.count("tenant_ledgers") in (1, 2)  # on a slow machine the second batch takes the lock, too
        async with database.reading(tenant) as connection:
            source = "select prosrc from pg_proc where proname = 'token_ledger_book'"
            [book] = (await connection.exec_driver_sql(source)).scalars()
        assert BOOK in sent
        assert [table for verb, table, _ in writes(book) if verb == "update"].count("tenant_ledgers") == 1
    finally:
        await database.close()


async def test_no_statement_of_a_writer_is_planned_for_every_batch(database_url: str) -> None:
    async with one_writer(database_url) as (commits, tenant, database):
        for number in range(3):
            key = str(number)
            call = Reserve(key, b"", "data_agent", "openai", "gpt-5.4", 1_000, 500, user="ada")
            granted = await commits.submit(tenant, call)
            assert isinstance(granted, Granted)
            await commits.submit(tenant, Settle(key, b"", granted.reservation.reservation_id, Usage(1_000, 500)))
        await commits.drain()
        async with (await database.writer_pool()).acquire() as writer:
            statements = "select statement from pg_prepared_statements where custom_plans > 0"
            assert await writer.fetch(statements) == []
            assert await writer.fetchval("select max(generic_plans) from pg_prepared_statements") >= 3
