"""Gauges show the fullest accounts that limit anything now, however many closed ones there are."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from tests.proof.ledger import Ledger, open_ledger
from token_ledger.core.batch.administration import ArchiveBudget, CreateBudget
from token_ledger.core.batch.commands import OpenRun
from token_ledger.core.batch.outcomes import BudgetAnswer, RunAnswer
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.window import Window
from token_ledger.reports.gauges import FULLEST_ACCOUNTS, fullest_accounts
from token_ledger.worker.accounts import tend_accounts


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url, zone="UTC") as opened:
        yield opened


async def _shown(ledger: Ledger, most: int = 100) -> list[tuple[str, str]]:
    async with ledger.database.reading(ledger.tenant) as connection:
        rows = await fullest_accounts(connection, [ledger.tenant], most)
    return [(row.budget, row.subject.text) for row in rows]


async def test_the_fullest_come_first_and_only_those_that_limit_anything_now(ledger: Ledger) -> None:
    for name, selector, limits, window in (
        ("by day", (("user", "*"),), Limits(tokens=4_000), Window.DAY),
        ("ever", (), Limits(10**9, None, 5), Window.TOTAL),
        ("ban", (("user", "nobody"),), Limits(0), Window.TOTAL),
        ("each run", (), Limits(5_000), Window.RUN),
        ("gone", (), Limits(10_000), Window.TOTAL),
    ):
        made = await ledger.ask(CreateBudget("k", b"x", name, selector, limits, window), BudgetAnswer)
    await ledger.settle(await ledger.hold(user="ada"), 2_000, 900)
    await ledger.move_back(2)  # ada's window has ended, but her account is not closed yet
    await ledger.settle(await ledger.hold(user="bob"), 2_000, 900)
    await ledger.settle(await ledger.hold(user="carol"), 100, 10)
    run = (await ledger.ask(OpenRun("k", b"x", "carol", limits=Limits(6_000)), RunAnswer)).run.run_id
    await ledger.settle(await ledger.hold(run_id=run), 4_000, 500)
    await ledger.ask(ArchiveBudget("k", b"x", made.budget.budget_id, "root"), BudgetAnswer)
    fullest = [("by day", '{"user":"carol"}'), ("ever", "{}"), ("by day", '{"user":"bob"}')]
    assert await _shown(ledger) == fullest
    assert await _shown(ledger, 2) == fullest[:2]
    await tend_accounts(ledger.database, ledger.commits.submit)
    assert await _shown(ledger) == fullest


async def test_accounts_that_are_closed_are_not_read(ledger: Ledger) -> None:
    budget = CreateBudget("k", b"x", "by year", (("user", "*"),), Limits(1_500), Window.YEAR)
    await ledger.ask(budget, BudgetAnswer)
    await ledger.hold()
    columns = [
        row["name"]
        for row in await ledger.owner.fetch(
            "select column_name::text as name from information_schema.columns where table_name = 'accounts'"
        )
    ]
    closed = {
        "account_id": "account_id + n", "window_start": "window_start - n * interval '1 hour'",
        "window_end": "window_end - n * interval '1 hour'", "closed_at": "now()",
    }  # fmt: skip
    await ledger.owner.execute(
        f"insert into accounts ({', '.join(columns)}) select {', '.join(closed.get(name, name) for name in columns)}"
        " from accounts, generate_series(1, 30000) as n"
    )
    await ledger.owner.execute("vacuum analyze accounts, budgets")
    async with ledger.database.reading(ledger.tenant) as connection:
        plan = await connection.execute(
            text(f"explain (analyze, buffers, format json) {FULLEST_ACCOUNTS}"),
            {"tenants": [ledger.tenant], "most": 10},
        )
        root = plan.scalar_one()[0]["Plan"]
    assert root["Actual Rows"] == 1
    assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] < 20
