"""Deciding ahead: a batch sees all changes of its predecessor, and its decisions stand only if that was committed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.waiting import until
from tests.core.given import NOW, PRICES, budget
from tests.core.given import Ledger as CoreLedger
from tests.core.given import reserve as core_reserve
from tests.proof.ledger import Ledger, open_ledger, reserve
from token_ledger.core.batch import commands
from token_ledger.core.batch.administration import ChangeBudget, CreateBudget, GiveGrant
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.lay_over import lay_over
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import (
    BudgetAnswer,
    Code,
    GrantAnswer,
    Granted,
    Recorded,
    Refused,
    RunAnswer,
    Settled,
)
from token_ledger.core.decisions.decide import decide
from token_ledger.core.model.budget import Enforcement, Limits
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.run import RunState
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.batch_transaction import BatchTransactions
from token_ledger.ledger.errors import Unstorable
from token_ledger.ledger.plan import Predecessor
from token_ledger.proof.verify import verify_database
from token_ledger.storage import database
from token_ledger.storage.clocks import ClockWatch
from token_ledger.storage.prices import load_price_book


class Wrapped:
    """A connection of which one thing is different."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class HeldCommit(Wrapped):
    """It commits when the test lets it, or fails at the commit."""

    def __init__(self, connection: Any, *, fails: bool = False) -> None:
        super().__init__(connection)
        self._fails = fails
        self.may_commit = asyncio.Event()

    async def execute(self, statement: str, *arguments: Any) -> Any:
        if statement == "commit":
            await self.may_commit.wait()
            if self._fails:
                statement = "rollback"
        result = await self._connection.execute(statement, *arguments)
        if statement == "rollback":
            raise ConnectionError("the connection was lost before its commit")
        return result


class LaterClock(Wrapped):
    """The database's clock has gone on by some time, as what is decided ahead sees it."""

    def __init__(self, connection: Any, passed: timedelta) -> None:
        super().__init__(connection)
        self._passed = passed

    async def fetchval(self, statement: str) -> datetime:
        assert statement == "select clock_timestamp()"
        now: datetime = await self._connection.fetchval(statement)
        return now + self._passed


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that a test holds up is not given up, however long that takes on a slow machine."""
    for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
        monkeypatch.setitem(database._WRITER_SETTINGS, setting, "0")
    monkeypatch.setattr(database, "COMMAND_SECONDS", None)


@pytest.fixture
async def ledger(database_url: str, _patient: None) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url) as opened:
        opened.database.clocks.bound_seconds = 10_000  # hours pass between two batches
        yield opened
        await opened.commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


class Transactions(BatchTransactions):
    """They know what became of the batches that were to be one statement."""

    def __init__(self, prices: PriceBook, clocks: ClockWatch, *, one_statement: bool) -> None:
        self.became: Counter[str] = Counter()
        super().__init__(prices, clocks, one_statement=one_statement, count_at_once=self._count)

    def _count(self, became: str) -> None:
        self.became[became] += 1


async def new_transactions(ledger: Ledger, *, one_statement: bool = False) -> Transactions:
    """Return batch transactions that remember nothing, like those of another process; they take the lock."""
    await ledger.commits.drain()
    async with ledger.database.reading() as connection:
        prices = await load_price_book(connection)
    return Transactions(prices, ledger.database.clocks, one_statement=one_statement)


async def decide_second_ahead(
    ledger: Ledger,
    first: Sequence[commands.Command],
    second: Sequence[commands.Command],
    *,
    passed: timedelta = timedelta(),
    fails: bool = False,
    meanwhile: Sequence[commands.Command] = (),
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Decide a batch on top of another that is being written; if that `fails`, run `meanwhile` in its place.

    The second is decided some time after the first: `passed`.
    """
    transactions, tenant = await new_transactions(ledger), ledger.tenant
    decided: asyncio.Queue[Predecessor] = asyncio.Queue()
    pool = await ledger.database.writer_pool()
    async with pool.acquire() as one, pool.acquire() as other:
        written = HeldCommit(one, fails=fails)
        running = transactions.run(written, {tenant: first}, None, lambda _, each: decided.put_nowait(each))
        first_run = asyncio.create_task(running)
        predecessor = await decided.get()
        if fails:
            written.may_commit.set()
            await asyncio.wait([first_run])
            if meanwhile:
                await (await new_transactions(ledger)).run(one, {tenant: meanwhile}, None, lambda *_: None)
        later = LaterClock(other, passed)
        ahead = asyncio.create_task(transactions.run(later, {tenant: second}, predecessor, lambda *_: None))
        if not fails:
            await until(ledger.waits_for_lock)  # so it is decided
            written.may_commit.set()
        done = await ahead
        return ([] if fails else (await first_run).outcomes[tenant]), done.outcomes[tenant]


def hold(user: str, key: str, **fields: Any) -> commands.Command:
    """Return a reserve of 1,500 tokens."""
    return replace(reserve(user=user, **fields), key=key)


async def limit(ledger: Ledger, *selector: tuple[str, str], window: Window = Window.DAY, **fields: Any) -> int:
    """Make a budget of 100,000 tokens and return its id."""
    made = CreateBudget("k", b"x", "cap", selector, Limits(tokens=100_000), window, **fields)
    return (await ledger.ask(made, BudgetAnswer)).budget.budget_id


@pytest.mark.parametrize("meanwhile", [(), (commands.ExpireDue(),), (hold("zoe", "other"),)])
async def test_decisions_on_top_of_a_failed_batch_do_not_stand(
    meanwhile: tuple[commands.Command, ...], ledger: Ledger
) -> None:
    await limit(ledger)
    await ledger.hold(user="bob")
    lost = [hold("eve", f"lost-{number}") for number in range(5)]
    _, outcomes = await decide_second_ahead(
        ledger, lost, [hold("ada", "new"), hold("eve", "lost-3")], fails=True, meanwhile=meanwhile
    )
    assert [isinstance(outcome, Granted) and outcome.replayed for outcome in outcomes] == [False, False]
    holds = 3 + sum(not isinstance(command, commands.ExpireDue) for command in meanwhile)
    assert await ledger.owner.fetchval("select count(*) from reservations") == holds
    assert await ledger.owner.fetchval("select held_tokens from accounts") == holds * 1_500


async def test_a_command_that_can_not_be_stored_does_not_harm_later_batches(ledger: Ledger) -> None:
    """Many callers at once, so that batches are decided ahead; one command in a hundred makes its batch fail."""
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
            settled = await ledger.commits.submit(
                ledger.tenant, commands.Settle(key, b"x", reservation_id, Usage(10, 10))
            )
            assert isinstance(settled, Settled)

    await asyncio.gather(*(caller(number) for number in range(400)))


async def test_a_grant_that_ends_between_two_batches_lapses(ledger: Ledger) -> None:
    await limit(ledger, ("user", "*"), window=Window.TOTAL)
    for user in ("bob", "eve"):
        await ledger.hold(user=user, ttl_seconds=86_400)
    account = await ledger.account_of("cap", '{"user":"bob"}')
    ends = datetime.now(UTC) + timedelta(hours=1)
    await ledger.ask(GiveGrant("k", b"x", account, Limits(tokens=50_000), "more", "root", ends), GrantAnswer)
    first, second = (hold(user, user, ttl_seconds=86_400) for user in ("bob", "eve"))
    await decide_second_ahead(ledger, [first], [second], passed=timedelta(hours=1))
    await ledger.hold(user="bob")
    # What the hold had taken of the grant stays.
    assert await ledger.owner.fetchval("select limit_tokens from accounts where account_id = $1", account) == 101_500
    assert await ledger.owner.fetchval("select lapsed_at is not null from grants")


@pytest.mark.parametrize(("external_id", "alone"), [("chat", True), (None, False)])
def test_nothing_is_decided_ahead_of_the_end_of_a_run_with_an_external_id(external_id: str | None, alone: bool) -> None:
    books = CoreLedger()
    run = books.opened(external_id=external_id)
    books.one(commands.EndRun("end", b"", run.run_id, RunState.CLOSED))
    assert books.books.writes.stands_alone is alone


async def test_attach_does_not_join_a_sub_run_whose_parent_was_cancelled(ledger: Ledger) -> None:
    run = (await ledger.ask(commands.OpenRun("k", b"x", "bob"), RunAnswer)).run
    part = (await ledger.ask(commands.OpenRun("k", b"x", parent_run_id=run.run_id, external_id="part"), RunAnswer)).run
    attach = commands.OpenRun("k", b"x", "bob", external_id="part", attach=True)
    assert (await ledger.ask(attach, RunAnswer)).run.run_id == part.run_id
    _, now = await asyncio.gather(
        ledger.ask(commands.EndRun("k", b"x", run.run_id, RunState.CANCELLED), RunAnswer), ledger.ask(attach, RunAnswer)
    )
    assert now.run.run_id != part.run_id
    assert (await ledger.ask(attach, RunAnswer)).run.run_id == now.run.run_id


# Nothing is decided ahead of the end of a run with an external_id.
@pytest.mark.parametrize(("ends", "ahead"), [("it", False), ("its parent", False), ("its parent", True)])
async def test_attach_joins_the_newest_run_that_stays_open(ends: str, ahead: bool, ledger: Ledger) -> None:
    thread = commands.OpenRun("k", b"x", "bob", external_id="thread")
    older = (await ledger.ask(thread, RunAnswer)).run.run_id
    parent = (await ledger.ask(commands.OpenRun("k", b"x", "bob"), RunAnswer)).run.run_id
    newest = (await ledger.ask(replace(thread, user=None, parent_run_id=parent), RunAnswer)).run.run_id
    end = commands.EndRun("end", b"x", newest if ends == "it" else parent, RunState.CANCELLED)
    attach, of_another = (replace(thread, key=user, user=user, attach=True) for user in ("bob", "eve"))
    if ahead:
        _, (joined, refused) = await decide_second_ahead(ledger, [end], [attach, of_another])
    else:
        _, joined, refused = await asyncio.gather(
            *(ledger.commits.submit(ledger.tenant, each) for each in (end, attach, of_another))
        )
    assert isinstance(joined, RunAnswer)
    assert joined.run.run_id == older
    assert isinstance(refused, Refused)
    assert refused.code is Code.RUN_OF_ANOTHER


async def test_a_new_rollover_knows_what_the_window_before_has_used(ledger: Ledger) -> None:
    number = await limit(ledger, ("user", "*"))
    await ledger.settle(await ledger.hold(user="bob"), 99_000, 1_000)
    await ledger.move_back(1)
    for table, column in (("budgets", "created_at"), ("audit_log", "booked_at"), ("budget_terms", "since")):
        await ledger.owner.execute(f"update {table} set {column} = {column} - interval '5 days'")
    await ledger.restart()
    first = ChangeBudget("c", b"x", number, rollover=Limits(tokens=8_000), actor="root")
    await asyncio.gather(
        *(ledger.commits.submit(ledger.tenant, command) for command in (first, hold("bob", "b"), hold("eve", "e")))
    )
    account = await ledger.account_of("cap", '{"user":"bob"}')
    limit_tokens = await ledger.owner.fetchval("select limit_tokens from accounts where account_id = $1", account)
    assert limit_tokens == 100_000, "everything of the day before was used"


def test_an_account_made_by_the_predecessor_is_rolled_over_from() -> None:
    hourly = budget(tokens=10_000, window=Window.HOUR, rollover=Limits(tokens=8_000))
    before = CoreLedger(hourly)
    before.granted(input_tokens=9_000, max_output_tokens=500)
    loaded = Loaded()
    lay_over(loaded, before.books)
    later = Books(before.books.config, PRICES, 2, NOW + timedelta(hours=1), loaded)
    decide(later, [core_reserve(key="later")])
    assert [account.limit_tokens for account in later.writes.new_accounts] == [10_500]


async def test_commands_that_need_more_ids_than_a_batch_has_are_split_into_several(ledger: Ledger) -> None:
    for number in range(20):
        made = CreateBudget(
            f"b{number}", b"x", f"b{number}", (("user", "*"),), Limits(10, 10, 1), Window.DAY, Enforcement.SOFT
        )
        await ledger.ask(made, BudgetAnswer)
    events = [
        commands.Record(f"e{number}", b"x", "x", "data", "openai", "gpt-5.4", Usage(100, 10), user=f"user-{number}")
        for number in range(257)
    ]
    outcomes = await asyncio.gather(*(ledger.commits.submit(ledger.tenant, event) for event in events))
    assert all(isinstance(outcome, Recorded) for outcome in outcomes)
    await ledger.ask(commands.Record("k", b"x", "x", "data", "openai", "gpt-5.4", Usage(1, 1), user="last"), Recorded)
