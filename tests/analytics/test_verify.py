"""verify finds what is wrong, for every way in which a row of its kind can be, and nothing where all is well."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.analytics.breaks import BREAKS
from tests.analytics.busy import HOLD, Ledger, do_everything, open_ledger
from token_ledger.analytics.verify import APPLIED, CHECKS, find_wrong, verify_database
from token_ledger.analytics.verify_costs import COSTS
from token_ledger.core.commands import OpenLease, TendAccounts
from token_ledger.core.outcomes import Granted
from token_ledger.core.price import Price
from token_ledger.core.tenant import TenantId
from token_ledger.storage.prices import load_prices

DAYS = 150


@pytest.fixture(scope="module")
async def ledger(shared_url: str) -> AsyncIterator[Ledger]:
    """A tenant whose books hold everything, five months ago and again now, and whose old accounts are closed."""
    async with open_ledger(shared_url) as opened:
        await do_everything(opened)
        await opened.move_back(DAYS)
        await opened.settle(await opened.hold(tags=(("team", "core"),)), 400, 40)
        await opened.settle(await opened.hold(tool="search", user="bob"), 300, 30, 100)
        streaming = await opened.hold(user="bob")
        await opened.settle(streaming, 100, 10, part=True)
        lent = await opened.ask(OpenLease("k", b"x", **HOLD, user="bob", calls=3), Granted)
        await opened.settle(lent.reservation.reservation_id, 100, 10, part=True)
        ids = [row["account_id"] for row in await opened.owner.fetch("select account_id from accounts")]
        await opened.commits.submit(opened.tenant, TendAccounts(tuple(ids)))
        yield opened


@pytest.fixture(scope="module")
async def prices(ledger: Ledger) -> dict[int, Price]:
    async with ledger.database.reading() as connection:
        return {price.price_id: price for price in await load_prices(connection)}


@pytest.fixture
async def books(shared_url: str, ledger: Ledger) -> AsyncIterator[AsyncConnection]:
    """A connection of the owner's; what it breaks is whole again after the test."""
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(shared_url))
    async with engine.connect() as connection:
        transaction = await connection.begin()
        yield connection
        await transaction.rollback()
    await engine.dispose()


def test_every_check_is_tried() -> None:
    assert set(BREAKS) == {*CHECKS, *APPLIED, COSTS}


async def test_books_in_which_everything_has_happened_are_clean(shared_url: str, ledger: Ledger) -> None:
    report = await verify_database(shared_url)
    assert report.clean, report.as_text()
    assert report.events > 20
    assert "verify: clean (1 tenants" in report.as_text()


@pytest.mark.parametrize(("check", "broken"), [(check, each) for check, broken in BREAKS.items() for each in broken])
async def test_what_is_broken_is_found(
    check: str, broken: str, books: AsyncConnection, ledger: Ledger, prices: dict[int, Price]
) -> None:
    touched = 0
    for statement in broken.split(";"):
        touched += (await books.execute(text(statement.replace("::", "\\:\\:")))).rowcount
    assert touched, "the break touches no row"
    wrong, _ = await find_wrong(books, ledger.tenant, prices)
    assert check in wrong, f"only found: {list(wrong)}"


async def test_what_belongs_to_one_tenant_is_not_found_at_another(
    books: AsyncConnection, ledger: Ledger, prices: dict[int, Price]
) -> None:
    await books.execute(text("update accounts set settled_tokens = settled_tokens + 1"))
    await books.execute(text("insert into tenants (tenant_id, name) overriding system value values (99, 'other')"))
    await books.execute(text("insert into tenant_ledgers (tenant_id) values (99)"))
    assert await find_wrong(books, TenantId(99), prices) == ({}, 0)


async def test_the_report_names_tenant_check_and_rows(shared_url: str, ledger: Ledger) -> None:
    moved = "update accounts set settled_tokens = settled_tokens + $1 where budget = 'uncached'"
    await ledger.owner.execute(moved, 7)
    try:
        report = await verify_database(shared_url, "acme")
    finally:
        await ledger.owner.execute(moved, -7)
    assert not report.clean
    assert "tenant acme: not true that settled amounts are the sums of the events" in report.as_text()
    found: dict[str, Any] = report.as_json()
    assert found["clean"] is False
    settled = found["findings"][0]
    assert (settled["tenant"], settled["check"]) == ("acme", "settled amounts are the sums of the events")
    assert settled["rows"][0]["settled_tokens"] - settled["rows"][0]["booked_tokens"] == 7


async def test_a_name_that_nobody_has_is_an_error(shared_url: str) -> None:
    with pytest.raises(ValueError, match="no tenant named 'globex'"):
        await verify_database(shared_url, "globex")
