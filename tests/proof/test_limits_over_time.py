"""verify recomputes rollovers and what remains of grants after windows and grants have ended."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.proof.ledger import Ledger, open_ledger, reserve
from token_ledger.core.batch.administration import ChangeBudget, CreateBudget, GiveGrant
from token_ledger.core.batch.commands import Release, TendAccounts
from token_ledger.core.batch.outcomes import BudgetAnswer, Denied, GrantAnswer, Released
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.window import Window
from token_ledger.proof.grants import REMAINDERS
from token_ledger.proof.rollovers import ROLLOVERS
from token_ledger.proof.verify import verify_database

MOVE_ROLLOVER = (
    "update limit_entries set tokens = tokens + $1 where kind = 'rollover' and tokens > 0",
    "update accounts set limit_tokens = limit_tokens + $1 where account_id ="
    " (select max(account_id) from limit_entries where kind = 'rollover')",
)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url) as opened:
        yield opened


async def _found(url: str) -> list[str]:
    return [finding.check for finding in (await verify_database(url)).findings]


async def _rolled_over(ledger: Ledger) -> int | None:
    newest = "select tokens from limit_entries where kind = 'rollover' order by entry_id desc limit 1"
    rolled: int | None = await ledger.owner.fetchval(newest)
    return rolled


async def test_a_rollover_is_what_was_available_when_the_next_window_began(ledger: Ledger, database_url: str) -> None:
    budget = CreateBudget("k", b"x", "per user", (("user", "*"),), Limits(10_000), Window.DAY, rollover=Limits(8_000))
    made = await ledger.ask(budget, BudgetAnswer)
    await ledger.settle(await ledger.hold(), 3_000, 1_000)
    late = await ledger.hold(ttl_seconds=2 * 86_400)  # holds 1,500
    await ledger.move_back(1)
    await ledger.hold()
    assert await _rolled_over(ledger) == 4_500
    assert await _found(database_url) == []
    # Nothing later changes it: neither what the hold really used nor another cap.
    await ledger.settle(late, 100, 10)
    await ledger.ask(ChangeBudget("k", b"x", made.budget.budget_id, rollover=Limits(100)), BudgetAnswer)
    assert await _found(database_url) == []
    await ledger.move_back(1)
    await ledger.hold()
    assert await _rolled_over(ledger) == 100
    assert await _found(database_url) == []
    await ledger.ask(ChangeBudget("k", b"x", made.budget.budget_id, rollover=Limits(15_000)), BudgetAnswer)
    await ledger.move_back(3)
    await ledger.hold()  # two days went by unused
    assert await _rolled_over(ledger) == 15_000
    assert await _found(database_url) == []
    for by, found in ((1, [ROLLOVERS.statement]), (-1, [])):
        for statement in MOVE_ROLLOVER:
            await ledger.owner.execute(statement.replace("tokens > 0", "tokens > 10000"), by)
        assert await _found(database_url) == found


async def test_a_budget_without_rollover_adds_nothing(ledger: Ledger, database_url: str) -> None:
    budget = CreateBudget("k", b"x", "per user", (("user", "*"),), Limits(10_000), Window.DAY)
    made = await ledger.ask(budget, BudgetAnswer)
    await ledger.hold()
    await ledger.move_back(1)
    await ledger.hold()
    # Those windows began before the budget had a rollover.
    await ledger.ask(ChangeBudget("k", b"x", made.budget.budget_id, rollover=Limits(100)), BudgetAnswer)
    assert await _found(database_url) == []


async def _give(ledger: Ledger, account: int, amounts: Limits, *, ends: bool = False) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1) if ends else None
    await ledger.ask(GiveGrant("k", b"x", account, amounts, "a busy day", "root", expires_at), GrantAnswer)


async def _lapse(ledger: Ledger, account: int) -> None:
    await ledger.owner.execute("update grants set expires_at = now() where expires_at > now()")
    await ledger.owner.execute("update accounts set grants_until = now() where account_id = $1", account)
    await ledger.restart()
    await ledger.commits.submit(ledger.tenant, TendAccounts((account,)))


async def test_grants_are_used_up_at_the_moments_when_one_is_given_or_lapses(ledger: Ledger, database_url: str) -> None:
    await ledger.ask(CreateBudget("k", b"x", "ever", (), Limits(4_000), Window.TOTAL), BudgetAnswer)
    await ledger.settle(await ledger.hold(), 500, 500)
    account = await ledger.account_of("ever")
    await _give(ledger, account, Limits(1_000), ends=True)
    await _give(ledger, account, Limits(5_000))
    lasting = await ledger.hold()
    high = [await ledger.hold(), await ledger.hold()]
    await ledger.let_expire(high.pop())
    assert await _found(database_url) == []
    await _lapse(ledger, account)  # 3,000 more are held than at first: this grant is used up, of the other 3,000 remain
    left = await ledger.owner.fetch("select left_tokens, mark[1] as mark from grants order by grant_id")
    assert [tuple(row) for row in left] == [(0, 4_000), (3_000, 4_000)]
    assert await ledger.owner.fetchval("select count(*) from limit_entries where kind = 'lapse'") == 0
    await ledger.ask(Release("k", b"x", high.pop()), Released)
    assert await _found(database_url) == []
    await _give(ledger, account, Limits(100), ends=True)
    await ledger.settle(lasting, 4_000, 500)
    await ledger.hold()
    await ledger.ask(reserve(max_output_tokens=9_000), Denied)
    await _lapse(ledger, account)
    assert await _found(database_url) == []
    await ledger.owner.execute("update grants set left_tokens = left_tokens - 1 where lapsed_at is null")
    assert await _found(database_url) == [REMAINDERS.statement]
