"""Deciding ahead: what was decided on a batch stands only if that batch was committed, and sees all that it changed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.analytics.busy import Ledger, open_ledger, reserve
from tests.core.given import NOW, PRICES, budget
from tests.core.given import Ledger as CoreLedger
from tests.core.given import reserve as core_reserve
from token_ledger.analytics.verify import verify_database
from token_ledger.core.administration import ChangeBudget, CreateBudget, GiveGrant
from token_ledger.core.books import Books, lay_over
from token_ledger.core.budget import Enforcement, Limits
from token_ledger.core.commands import Command, EndRun, ExpireDue, OpenRun, Record, Settle
from token_ledger.core.decide import decide
from token_ledger.core.loaded import Loaded
from token_ledger.core.outcomes import BudgetAnswer, GrantAnswer, Granted, Outcome, Recorded, RunAnswer, Settled
from token_ledger.core.run import RunState
from token_ledger.core.usage import Usage
from token_ledger.core.window import Window
from token_ledger.ledger.batches import Batches, Before
from token_ledger.ledger.errors import Unstorable
from token_ledger.storage.prices import load_price_book


class Commit:
    """A connection of which a test says when, and whether, it commits."""

    def __init__(self, connection: Any, *, fails: bool = False) -> None:
        self._connection = connection
        self._fails = fails
        self.may_commit = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, statement: str, *arguments: Any) -> Any:
        if statement == "commit":
            await self.may_commit.wait()
            if self._fails:
                statement = "rollback"
        result = await self._connection.execute(statement, *arguments)
        if statement == "rollback":
            raise ConnectionError("the connection was lost before its commit")
        return result


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url) as opened:
        yield opened
        await opened.commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def batches_of(ledger: Ledger) -> Batches:
    """Return batches as another process, or this one after a start, runs them."""
    await ledger.commits.drain()
    async with ledger.database.reading() as connection:
        return Batches(await load_price_book(connection))


async def one_on_the_other(
    ledger: Ledger,
    first: Sequence[Command],
    second: Sequence[Command],
    *,
    between: float = 0.0,
    fails: bool = False,
    meanwhile: Sequence[Command] = (),
) -> tuple[list[Outcome], list[Outcome]]:
    """Decide a batch on top of another that is being written; `meanwhile` is a batch in the place of one that fails."""
    batches, tenant = await batches_of(ledger), ledger.tenant
    published: asyncio.Queue[Before] = asyncio.Queue()
    pool = await ledger.database.writer_pool()
    async with pool.acquire() as one, pool.acquire() as other:
        written = Commit(one, fails=fails)
        run = batches.run(written, {tenant: first}, None, lambda _, before: published.put_nowait(before))
        before_task = asyncio.create_task(run)
        before = await published.get()
        await asyncio.sleep(between)
        if fails:
            written.may_commit.set()
            await asyncio.wait([before_task])
            if meanwhile:
                await (await batches_of(ledger)).run(one, {tenant: meanwhile}, None, lambda *_: None)
        ahead = asyncio.create_task(batches.run(other, {tenant: second}, before, lambda *_: None))
        await asyncio.sleep(0.2)
        written.may_commit.set()
        done = await ahead
        return ([] if fails else (await before_task).outcomes[tenant]), done.outcomes[tenant]


def hold(user: str, key: str, **fields: Any) -> Command:
    """Return a reserve of 1,500 tokens."""
    return replace(reserve(user=user, **fields), key=key)


async def limit(ledger: Ledger, *selector: tuple[str, str], window: Window = Window.DAY, **fields: Any) -> int:
    """Make a budget of 100,000 tokens and return its id."""
    made = CreateBudget("k", b"x", "cap", selector, Limits(tokens=100_000), window, **fields)
    return (await ledger.ask(made, BudgetAnswer)).budget.budget_id


@pytest.mark.parametrize("meanwhile", [(), (ExpireDue(),), (hold("zoe", "other"),)])
async def test_what_was_decided_on_a_batch_that_failed_does_not_stand(
    meanwhile: tuple[Command, ...], ledger: Ledger
) -> None:
    await limit(ledger)
    await ledger.hold(user="bob")
    lost = [hold("eve", f"lost-{number}") for number in range(5)]
    _, outcomes = await one_on_the_other(
        ledger, lost, [hold("ada", "new"), hold("eve", "lost-3")], fails=True, meanwhile=meanwhile
    )
    assert [isinstance(outcome, Granted) and outcome.replayed for outcome in outcomes] == [False, False]
    holds = 3 + sum(not isinstance(command, ExpireDue) for command in meanwhile)
    assert await ledger.owner.fetchval("select count(*) from reservations") == holds
    assert await ledger.owner.fetchval("select held_tokens from accounts") == holds * 1_500


async def test_a_command_that_can_not_be_stored_harms_no_batch_behind_it(ledger: Ledger) -> None:
    """Many callers at once, so that batches are decided ahead; one command in a hundred fails its batch."""
    await limit(ledger, ("user", "*"))

    async def caller(number: int) -> None:
        for turn in range(8):
            key = f"{number}-{turn}"
            if (number + turn) % 100 == 0:
                with pytest.raises(Unstorable):
                    await ledger.commits.submit(ledger.tenant, hold("a\0b", key))
                continue
            granted = await ledger.commits.submit(ledger.tenant, hold(f"user-{number % 50}", key))
            assert isinstance(granted, Granted)
            reservation_id = granted.reservation.reservation_id
            settled = await ledger.commits.submit(ledger.tenant, Settle(key, b"x", reservation_id, Usage(10, 10)))
            assert isinstance(settled, Settled)

    await asyncio.gather(*(caller(number) for number in range(400)))


async def test_a_grant_that_is_due_between_two_batches_lapses(ledger: Ledger) -> None:
    await limit(ledger, ("user", "*"))
    for user in ("bob", "eve"):
        await ledger.hold(user=user)
    account = await ledger.account_of("cap", '{"user":"bob"}')
    ends = datetime.now(UTC) + timedelta(seconds=1)
    await ledger.ask(GiveGrant("k", b"x", account, Limits(tokens=50_000), "more", "root", ends), GrantAnswer)
    await one_on_the_other(ledger, [hold("bob", "b")], [hold("eve", "e")], between=1.1)
    await ledger.hold(user="bob")
    # What a call has taken of the grant since it was given stays.
    assert await ledger.owner.fetchval("select limit_tokens from accounts where account_id = $1", account) == 101_500
    assert await ledger.owner.fetchval("select lapsed_at is not null from grants")


@pytest.mark.parametrize(("external_id", "alone"), [("chat", True), (None, False)])
def test_nothing_is_decided_on_the_end_of_a_run_that_may_be_asked_for_by_name(
    external_id: str | None, alone: bool
) -> None:
    books = CoreLedger()
    run = books.opened(external_id=external_id)
    books.one(EndRun("end", b"", run.run_id, RunState.CLOSED))
    assert books.books.writes.stands_alone is alone


async def test_a_part_of_a_run_that_was_cancelled_is_not_taken_part_in(ledger: Ledger) -> None:
    run = (await ledger.ask(OpenRun("k", b"x", "bob"), RunAnswer)).run
    part = (await ledger.ask(OpenRun("k", b"x", parent_run_id=run.run_id, external_id="part"), RunAnswer)).run
    attach = OpenRun("k", b"x", "bob", external_id="part", attach=True)
    assert (await ledger.ask(attach, RunAnswer)).run.run_id == part.run_id
    _, now = await asyncio.gather(
        ledger.ask(EndRun("k", b"x", run.run_id, RunState.CANCELLED), RunAnswer), ledger.ask(attach, RunAnswer)
    )
    assert now.run.run_id != part.run_id
    assert (await ledger.ask(attach, RunAnswer)).run.run_id == now.run.run_id


async def test_what_a_window_leaves_is_known_in_the_batch_that_begins_to_carry_it_over(ledger: Ledger) -> None:
    number = await limit(ledger, ("user", "*"))
    await ledger.settle(await ledger.hold(user="bob"), 99_000, 1_000)
    await ledger.move_back(1)
    for table, column in (("budgets", "created_at"), ("audit_log", "booked_at")):
        await ledger.owner.execute(f"update {table} set {column} = {column} - interval '5 days'")
    await ledger.restart()
    first = ChangeBudget("c", b"x", number, rollover=Limits(tokens=8_000), actor="root")
    await asyncio.gather(
        *(ledger.commits.submit(ledger.tenant, command) for command in (first, hold("bob", "b"), hold("eve", "e")))
    )
    account = await ledger.account_of("cap", '{"user":"bob"}')
    limit_tokens = await ledger.owner.fetchval("select limit_tokens from accounts where account_id = $1", account)
    assert limit_tokens == 100_000, "all of the day before was used"


def test_an_account_that_the_batch_before_made_is_the_one_to_carry_over_from() -> None:
    hourly = budget(tokens=10_000, window=Window.HOUR, rollover=Limits(tokens=8_000))
    before = CoreLedger(hourly)
    before.granted(input_tokens=17_000, max_output_tokens=500)  # of 10,000 and the 8,000 of the hour before
    loaded = Loaded()
    lay_over(loaded, before.books)
    later = Books(before.books.config, PRICES, 2, NOW + timedelta(hours=1), loaded)
    decide(later, [core_reserve(key="later")])
    assert [account.limit_tokens for account in later.writes.new_accounts] == [10_500]


async def test_commands_that_need_more_ids_than_a_batch_has_are_decided_in_several(ledger: Ledger) -> None:
    for number in range(20):
        made = CreateBudget(
            f"b{number}", b"x", f"b{number}", (("user", "*"),), Limits(10, 10, 1), Window.DAY, Enforcement.SOFT
        )
        await ledger.ask(made, BudgetAnswer)
    events = [
        Record("event:x", f"e{number}", b"x", "data", "openai", "gpt-5.4", Usage(100, 10), user=f"user-{number}")
        for number in range(257)
    ]
    outcomes = await asyncio.gather(*(ledger.commits.submit(ledger.tenant, event) for event in events))
    assert all(isinstance(outcome, Recorded) for outcome in outcomes)
    await ledger.ask(Record("event:x", "k", b"x", "data", "openai", "gpt-5.4", Usage(1, 1), user="last"), Recorded)
