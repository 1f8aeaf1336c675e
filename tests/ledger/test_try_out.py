"""Trying out what commands would come to: nothing changes, also beside live batches of the tenant."""

import asyncio
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import pytest

from tests.proof.ledger import open_ledger, reserve
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import FIRST_INSTANT, Window
from token_ledger.ledger.batch_transaction import BatchTransactions
from token_ledger.proof.verify import verify_database

NOW = datetime.now(UTC)


def imported(key: str, occurred_at: datetime, counts_since: datetime | None = FIRST_INSTANT) -> commands.Record:
    return commands.Record(key, b"x", "elsewhere", "data", "openai", "gpt-5.4", Usage(10, 1), user="ada",
                           occurred_at=occurred_at, counts_since=counts_since)  # fmt: skip


async def test_a_trial_disturbs_no_batch_of_the_tenant(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        budget = administration.CreateBudget("k", b"x", "all", (), Limits(tokens=10**9), Window.DAY)
        await ledger.ask(budget, outcomes.BudgetAnswer)
        done = asyncio.Event()

        async def try_out() -> None:
            while not done.is_set():
                found = await ledger.commits.try_out(ledger.tenant, [imported("tried", NOW - timedelta(days=400))])
                assert [type(each) for each in found] == [outcomes.Recorded]

        async def live() -> None:
            for _ in range(300):
                await ledger.ask(reserve(), outcomes.Granted)

        trials = [asyncio.create_task(try_out()) for _ in range(3)]
        await asyncio.gather(*(live() for _ in range(3)))
        done.set()
        await asyncio.gather(*trials)
        assert await ledger.owner.fetchval("select count(*) from usage_events") == 0
        assert (await verify_database(database_url)).clean


async def test_a_call_finds_its_accounts_beside_the_same_call_from_elsewhere(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one of the two is on the account, which is there already; the batch is not refused and run in parts."""
    run_in_parts = AsyncMock(side_effect=AssertionError("the batch was refused"))
    monkeypatch.setattr(BatchTransactions, "run_in_parts", run_in_parts)
    async with open_ledger(database_url) as ledger:
        budget = administration.CreateBudget("k", b"x", "all", (), Limits(tokens=10**9), Window.TOTAL)
        await ledger.ask(budget, outcomes.BudgetAnswer)
        await ledger.ask(imported("k", NOW, None), outcomes.Recorded)
        await ledger.restart()
        both = imported("a", NOW), imported("b", NOW, None)
        found = await asyncio.gather(*(ledger.commits.submit(ledger.tenant, each) for each in both))
        assert [type(each) for each in found] == [outcomes.Recorded] * 2
        await ledger.commits.drain()
        rows = await ledger.owner.fetch("select settled_tokens, settled_calls from accounts")
        assert [tuple(row) for row in rows] == [(22, 2)]
        assert (await verify_database(database_url)).clean
