"""Calls that come together with a change of what they fall on are decided after it, on the accounts that exist."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.proof.ledger import Ledger, open_ledger, reserve
from token_ledger.core.batch import administration, outcomes
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.selector import parse_selector
from token_ledger.core.model.tenant import User
from token_ledger.core.model.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.model.window import Window
from token_ledger.ledger.group_commit import BatchReport, GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.prices import check_rates, load_price_book

RATES = {"base": {"input": "1", "output": "2"}}
STEP = Downgrade("openai", "gpt-5.4", "openai", "gpt-5.4-mini", (), 100_000)

RENAME = administration.RenameModel(
    "change", b"x", ModelName("openai", "gpt-5.4"), ModelName("openai", "o1-pro"), "one model", "root"
)
ALIAS = administration.SetAlias("change", b"x", "house", "ours", ModelName("openai", "o1-pro"), "root")
PRICE = administration.SetPrice("change", b"x", "house", "ours", RATES, check_rates(RATES), "root")
USERS = administration.SetUsers("change", b"x", (User("ada", ((None, "research"),)),), "root")
TRIGGER = administration.SetTrigger(
    "change", b"x", TriggerKind.HIGH_COST, 1, Mode.APPLY, per_call_nanos=1, downgrades=(STEP,), actor="root"
)

CASES: dict[str, tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]] = {
    # the change, what the budget selects, a call on its account before, a call on it after the change only
    "a renamed model": (RENAME, {"model": "o1*"}, {"model": "o1-pro"}, {}),
    "a new name": (ALIAS, {"model": "o1*"}, {"model": "o1-pro"}, {"provider": "house", "model": "ours"}),
    "a new price": (PRICE, {"model": "o*"}, {"model": "o1-pro"}, {"provider": "house", "model": "ours"}),
    "another cost center": (USERS, {"cost_center": "research"}, {"user": "bob", "cost_center": "research"}, {}),
    "another trigger": (TRIGGER, {"model": "gpt-5.4-m*"}, {"model": "gpt-5.4-mini"}, {"apply": ("model_downgrade",)}),
}


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """A tenant; at the end its books are clean."""
    async with open_ledger(database_url) as opened:
        yield opened
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


@pytest.mark.parametrize("case", CASES)
async def test_a_call_in_one_moment_with_a_change_is_on_the_account_that_exists(ledger: Ledger, case: str) -> None:
    change, selector, before, after = CASES[case]
    budget = administration.CreateBudget(
        "k", b"x", "some", parse_selector(selector), Limits(tokens=100_000), Window.YEAR, actor="root"
    )
    budget_id = (await ledger.ask(budget, outcomes.BudgetAnswer)).budget.budget_id
    first = (await ledger.ask(reserve(**before), outcomes.Granted)).reservation
    reports: list[BatchReport] = []
    async with ledger.database.reading() as connection:
        commits = GroupCommit(ledger.database, await load_price_book(connection), report=reports.append)
    call = reserve(**after)
    together = [change, call]
    changed, granted = await asyncio.gather(*(commits.submit(ledger.tenant, each) for each in together))
    assert not isinstance(changed, outcomes.Refused), changed
    assert isinstance(granted, outcomes.Granted), granted
    assert [account_id for account_id in first.path if account_id in granted.reservation.path], (
        "both are on one account"
    )
    assert all(len(report.decided) == 1 for report in reports), "a batch was refused, and run in parts"
    assert await ledger.owner.fetchval("select count(*) from accounts where budget_id = $1", budget_id) == 1
