"""verify finds every kind of broken row, and finds nothing in correct books."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.proof.breaks import BREAKS, ONLY_HOURS_AGAINST_DAYS
from tests.proof.every_kind import make_every_kind_of_row
from tests.proof.ledger import HOLD, Ledger, open_ledger
from token_ledger.core.batch.commands import Lease, TendAccounts
from token_ledger.core.batch.outcomes import Granted
from token_ledger.core.model.price import Price
from token_ledger.core.model.tenant import TenantId
from token_ledger.proof.verify import CHECKS, find_violations, verify_database
from token_ledger.storage.prices import load_prices

DAYS = 150


@pytest.fixture(scope="module")
async def ledger(shared_url: str) -> AsyncIterator[Ledger]:
    """A tenant whose books have every kind of row, from five months ago and from now; its old accounts are closed."""
    async with open_ledger(shared_url) as opened:
        await make_every_kind_of_row(opened)
        await opened.move_back(DAYS)
        await opened.settle(await opened.hold(tags=(("team", "core"),)), 400, 40)
        await opened.settle(await opened.hold(tool="search", user="bob"), 300, 30, 100)
        streaming = await opened.hold(user="bob")
        await opened.settle(streaming, 100, 10, part=True)
        lent = await opened.ask(Lease("k", b"x", **HOLD, user="bob", calls=3), Granted)
        await opened.settle(lent.reservation.reservation_id, 100, 10, part=True)
        ids = [row["account_id"] for row in await opened.owner.fetch("select account_id from accounts")]
        await opened.commits.submit(opened.tenant, TendAccounts(tuple(ids)))
        yield opened


@pytest.fixture(scope="module")
async def prices(ledger: Ledger) -> dict[int, Price]:
    async with ledger.database.reading() as connection:
        return {price.price_id: price for price in await load_prices(connection)}


@pytest.fixture(scope="module")
async def owner(shared_url: str, ledger: Ledger) -> AsyncIterator[AsyncConnection]:
    """A connection of the database's owner: one for all tests, because a new one has every check planned again."""
    planned_once = {"plan_cache_mode": "force_generic_plan"}
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(shared_url, server_settings=planned_once)
    )
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.fixture
async def books(owner: AsyncConnection) -> AsyncIterator[AsyncConnection]:
    """A connection of the database's owner, in a transaction that is rolled back after the test."""
    transaction = await owner.begin()
    yield owner
    await transaction.rollback()


def test_every_check_has_breaks() -> None:
    assert set(BREAKS) == {check.statement for check in CHECKS}


async def test_books_with_every_kind_of_row_are_clean(shared_url: str, ledger: Ledger) -> None:
    report = await verify_database(shared_url)
    assert report.clean, report.as_text()
    assert report.events > 20
    assert "verify: clean (1 tenants" in report.as_text()


@pytest.mark.parametrize(("check", "broken"), [(check, each) for check, broken in BREAKS.items() for each in broken])
async def test_a_broken_row_is_found(
    check: str, broken: str, books: AsyncConnection, ledger: Ledger, prices: dict[int, Price]
) -> None:
    touched = 0
    for statement in broken.split(";"):
        touched += (await books.execute(text(statement.replace("::", "\\:\\:")))).rowcount
    assert touched, "the break touches no row"
    found = await find_violations(books, ledger.tenant, prices)
    assert check in found, f"only found: {list(found)}"


@pytest.mark.parametrize("broken", ONLY_HOURS_AGAINST_DAYS)
async def test_sums_of_gone_events_that_do_not_agree_are_found_by_one_check_only(
    broken: str, books: AsyncConnection, ledger: Ledger, prices: dict[int, Price]
) -> None:
    for statement in broken.split(";"):
        await books.execute(text(statement))
    found = await find_violations(books, ledger.tenant, prices)
    found.pop("what a tenant has booked is the sum of its daily roll-ups", None)  # which counts calls of all times
    assert list(found) == ["hourly and daily roll-ups have the same sums, so reports of one span agree"]


async def test_broken_rows_of_one_tenant_are_not_reported_for_another(
    books: AsyncConnection, ledger: Ledger, prices: dict[int, Price]
) -> None:
    await books.execute(text("update accounts set settled_tokens = settled_tokens + 1"))
    await books.execute(text("insert into tenants (tenant_id, name) overriding system value values (99, 'other')"))
    await books.execute(text("insert into tenant_ledgers (tenant_id) values (99)"))
    assert await find_violations(books, TenantId(99), prices) == {}


async def test_the_report_names_tenant_check_and_rows(shared_url: str, ledger: Ledger) -> None:
    moved = "update accounts set settled_tokens = settled_tokens + $1 where budget = 'uncached'"
    await ledger.owner.execute(moved, 7)
    try:
        report = await verify_database(shared_url, "acme")
    finally:
        await ledger.owner.execute(moved, -7)
    assert not report.clean
    assert "tenant acme: it does not hold that settled amounts equal the sums of the usage events" in report.as_text()
    found: dict[str, Any] = report.as_json()
    assert found["clean"] is False
    settled = found["findings"][0]
    assert (settled["tenant"], settled["check"]) == ("acme", "settled amounts equal the sums of the usage events")
    assert settled["rows"][0]["settled_tokens"] - settled["rows"][0]["booked_tokens"] == 7


async def test_an_unknown_tenant_name_is_an_error(shared_url: str) -> None:
    with pytest.raises(ValueError, match="no tenant named 'globex'"):
        await verify_database(shared_url, "globex")
