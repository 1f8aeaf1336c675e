"""What a batch left is known to the next one, unless anybody else changed it or a batch failed meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api.waiting import until
from tests.core.given import Ledger as CoreLedger
from tests.core.given import budget
from tests.ledger.test_deciding_ahead import HeldCommit, Wrapped, hold, new_transactions
from tests.proof.ledger import Ledger, open_ledger
from token_ledger.core.batch import commands
from token_ledger.core.batch.administration import CreateBudget, EraseUser
from token_ledger.core.batch.outcomes import BudgetAnswer, Changed, Denied, Granted, Outcome, RunAnswer, Settled
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.batch_transaction import BatchTransactions
from token_ledger.ledger.errors import OutcomeUnknown
from token_ledger.ledger.plan import Predecessor
from token_ledger.proof.verify import verify_database
from token_ledger.storage.load.accounts import LOAD_ACCOUNTS
from token_ledger.storage.load.kept_state import KeptState, Known
from token_ledger.storage.load.keys import LOAD_KEYS
from token_ledger.storage.load.locks import LOCK_AT, LOCK_ONE, Locked
from token_ledger.storage.load.not_asked import NO_NAMES
from token_ledger.storage.load.reservations import LOAD_RESERVATIONS
from token_ledger.storage.upkeep.erasures import erase_next
from token_ledger.storage.write.one_statement import BOOK


class Recorded(Wrapped):
    """It notes the queries that are sent; that of holds only if it names some, as it also asks for due ones."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.queries: list[str] = []

    async def fetch(self, query: str, *arguments: Any) -> Any:
        if query is not LOAD_RESERVATIONS or arguments[0] != NO_NAMES:
            self.queries.append(query)
        return await self._connection.fetch(query, *arguments)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """One budget, with room for two holds and a settled call."""
    async with open_ledger(database_url) as opened:
        made = CreateBudget("k", b"x", "cap", (), Limits(tokens=3_100), Window.TOTAL)
        await opened.ask(made, BudgetAnswer)
        yield opened
        await opened.commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def run(
    ledger: Ledger, transactions: BatchTransactions, *batch: commands.Command, on: type[Wrapped] = Recorded
) -> tuple[Sequence[Outcome | Exception | None], list[str]]:
    """Run a batch; return its outcomes and the queries that it took."""
    pool = await ledger.database.writer_pool()
    async with pool.acquire() as connection:
        recorded = on(connection)
        done = await transactions.run(recorded, {ledger.tenant: batch}, None, lambda *_: None)
        return done.outcomes[ledger.tenant], getattr(recorded, "queries", [])


def settle(granted: Any, key: str, *, part: bool = False) -> commands.Settle:
    assert isinstance(granted, Granted)
    return commands.Settle(key, b"x", granted.reservation.reservation_id, Usage(10, 10), part=part)


async def test_what_the_last_batch_left_is_not_loaded(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger)
    [first, second], loaded = await run(ledger, transactions, hold("ada", "a"), hold("bob", "b"))
    [settled, third], known = await run(ledger, transactions, settle(first, "sa"), hold("eve", "e"))
    assert LOAD_ACCOUNTS in loaded
    assert isinstance(settled, Settled)
    assert isinstance(third, Granted), "the settle gave its room back"
    assert {LOAD_ACCOUNTS, LOAD_RESERVATIONS}.isdisjoint(known)
    _, known = await run(ledger, transactions, settle(second, "sb"))
    assert {LOAD_ACCOUNTS, LOAD_RESERVATIONS}.isdisjoint(known)


async def test_an_answer_stays_what_it_was(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger)
    [opened], _ = await run(ledger, transactions, commands.OpenRun("r", b"x", "ada", limits=Limits(tokens=2_000)))
    assert isinstance(opened, RunAnswer)
    await run(ledger, transactions, hold("ada", "a", run_id=opened.run.run_id))
    assert [account.held_tokens for account in opened.accounts] == [0]


async def test_what_another_process_changed_is_loaded(ledger: Ledger) -> None:
    one, other = await new_transactions(ledger), await new_transactions(ledger)
    [first], _ = await run(ledger, one, hold("ada", "a"))
    [second], _ = await run(ledger, other, hold("bob", "b"))
    [denied], queries = await run(ledger, one, hold("eve", "e"))
    assert isinstance(second, Granted)
    assert isinstance(denied, Denied)
    assert LOAD_ACCOUNTS in queries
    await run(ledger, other, settle(first, "sa"))
    [again], _ = await run(ledger, one, commands.Release("r", b"x", first.reservation.reservation_id))  # type: ignore[union-attr]
    assert not isinstance(again, Granted | Denied)
    assert await ledger.owner.fetchval("select held_tokens from accounts") == 1_500


async def test_nothing_is_known_of_a_batch_that_failed(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger)
    [first], _ = await run(ledger, transactions, hold("ada", "a"))

    class Fails(HeldCommit):
        def __init__(self, connection: Any) -> None:
            super().__init__(connection, fails=True)
            self.may_commit.set()

    with pytest.raises(OutcomeUnknown):
        await run(ledger, transactions, hold("bob", "b"), settle(first, "lost"), on=Fails)
    [second], _ = await run(ledger, transactions, hold("eve", "e"))
    [settled, third], _ = await run(ledger, transactions, settle(first, "sa"), hold("zoe", "z"))
    assert isinstance(second, Granted)
    assert isinstance(settled, Settled)
    assert isinstance(third, Granted)
    assert await ledger.owner.fetchval("select held_tokens from accounts") == 3_000


@pytest.mark.parametrize("fails", ["decided ahead", "at its commit"])
async def test_nothing_is_known_of_a_batch_decided_ahead_that_failed(ledger: Ledger, fails: str) -> None:
    transactions = await new_transactions(ledger)
    decided: asyncio.Queue[Predecessor] = asyncio.Queue()
    pool = await ledger.database.writer_pool()
    async with pool.acquire() as one, pool.acquire() as other:
        written = HeldCommit(one)
        batch: dict[TenantId, Sequence[commands.Command]] = {ledger.tenant: [hold("ada", "a")]}
        first = asyncio.create_task(transactions.run(written, batch, None, lambda _, each: decided.put_nowait(each)))
        predecessor = await decided.get()
        refused = HeldCommit(other, fails=True)
        refused.may_commit.set()
        # The second batch has taken what the first left, and fails before or after the first is committed.
        [given] = predecessor.books.writes.new_reservations
        settled = commands.Settle("lost", b"x", given.reservation_id, Usage(10, 10))
        second: dict[TenantId, Sequence[commands.Command]] = {ledger.tenant: [hold("bob", "b"), settled]}
        ahead = asyncio.create_task(transactions.run(refused, second, predecessor, lambda *_: None))
        await until(ledger.waits_for_lock)
        if fails == "decided ahead":
            ahead.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ahead
            other.terminate()
        written.may_commit.set()
        await first
        if fails == "at its commit":
            with pytest.raises(OutcomeUnknown):
                await ahead
    [granted, denied], _ = await run(ledger, transactions, hold("eve", "e"), hold("zoe", "z"))
    assert isinstance(granted, Granted)
    assert isinstance(denied, Denied)
    assert await ledger.owner.fetchval("select held_tokens from accounts") == 3_000
    [outcome], _ = await run(ledger, transactions, settle((await first).outcomes[ledger.tenant][0], "sa"))
    assert isinstance(outcome, Settled)


class Told(Wrapped):
    """It tells when a batch is decided or waits for the lock: it sends the one statement, or takes the lock."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.is_sent = asyncio.Event()

    async def fetch(self, query: str, *arguments: Any) -> Any:
        if query in (BOOK, LOCK_ONE):
            self.is_sent.set()
        return await self._connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        if query == LOCK_AT:
            self.is_sent.set()
        return await self._connection.fetchrow(query, *arguments)


class HeldLoad(Wrapped):
    """It begins to load what a batch needs, under the lock, when the test lets it."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.loads, self.may_load = asyncio.Event(), asyncio.Event()

    async def fetch(self, query: str, *arguments: Any) -> Any:
        if query == LOAD_KEYS:
            self.loads.set()
            await self.may_load.wait()
        return await self._connection.fetch(query, *arguments)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "under the lock"])
async def test_what_a_batch_left_is_known_to_one_batch_only(ledger: Ledger, *, at_once: bool) -> None:
    """One that was to be decided ahead of it comes late, and another one has what it left by then."""
    transactions = await new_transactions(ledger, one_statement=at_once)
    await run(ledger, transactions, hold("ada", "a", input_tokens=10))
    decided: list[Predecessor] = []
    pool = await ledger.database.writer_pool()
    async with pool.acquire() as one, pool.acquire() as other:

        async def begin(connection: Any, predecessor: Predecessor | None, *batch: commands.Command) -> None:
            announced = lambda _, each: decided.append(each)  # noqa: E731 - a function would be three lines
            await transactions.run(connection, {ledger.tenant: batch}, predecessor, announced)

        await begin(one, None, hold("ada", "b", input_tokens=10))
        loading, late = HeldLoad(one), Told(other)
        # What expires holds takes the lock, on either road.
        first = asyncio.create_task(begin(loading, None, hold("ada", "c", input_tokens=10), commands.ExpireDue()))
        await loading.loads.wait()
        second = asyncio.create_task(begin(late, decided[0], hold("ada", "d", input_tokens=10)))
        await late.is_sent.wait()
        loading.may_load.set()
        await asyncio.gather(first, second)
    assert await ledger.owner.fetchval("select held_calls from accounts") == 4


async def test_a_database_that_fell_back_is_noticed_although_its_numbers_come_again(ledger: Ledger) -> None:
    """As after a fail-over to a replica that lagged: another batch gets the number of the one that is lost."""
    one, other = await new_transactions(ledger), await new_transactions(ledger)
    await run(ledger, one, hold("ada", "a"))
    tables = ("accounts", "tenant_ledgers", "reservations", "operation_keys")
    for table in tables:
        await ledger.owner.execute(f"create table before_{table} as select * from {table}")
    await run(ledger, one, hold("bob", "b"))
    await ledger.owner.execute("delete from reservations; delete from operation_keys")
    for table in tables[2:]:
        await ledger.owner.execute(f"insert into {table} select * from before_{table}")
    await ledger.owner.execute(
        "update accounts as a set held_tokens = b.held_tokens, held_nanos = b.held_nanos, held_calls = b.held_calls"
        " from before_accounts as b where a.account_id = b.account_id;"
        "update tenant_ledgers as t set sequence = b.sequence, booked_at = b.booked_at from before_tenant_ledgers as b"
        " where t.tenant_id = b.tenant_id"
    )
    await run(ledger, other, commands.ExpireDue())
    [second], queries = await run(ledger, one, hold("eve", "e"))
    assert isinstance(second, Granted), "nobody has the room of the lost hold"
    assert LOAD_ACCOUNTS in queries
    for table in tables:
        await ledger.owner.execute(f"drop table before_{table}")


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "under the lock"])
async def test_what_is_kept_of_an_erased_user_is_booked_under_the_pseudonym(ledger: Ledger, *, at_once: bool) -> None:
    """A hold and a run are kept before their user is erased, and again before their rows are renamed."""
    transactions = await new_transactions(ledger, one_statement=at_once)
    [opened], _ = await run(ledger, transactions, commands.OpenRun("r", b"x", "ada"))
    assert isinstance(opened, RunAnswer)
    run_id = opened.run.run_id
    [first, second], _ = await run(
        ledger, transactions, hold("ada", "a", input_tokens=10), hold("ada", "b", input_tokens=10, run_id=run_id)
    )
    assert isinstance(first, Granted)
    assert isinstance(second, Granted)
    holds = [first.reservation.reservation_id, second.reservation.reservation_id]
    [erased], _ = await run(ledger, transactions, EraseUser("erase", b"x", "ada", "root"))
    assert isinstance(erased, Changed)
    pseudonym = erased.entry.target
    for turn in range(2):
        extend = commands.Extend(f"extend-{turn}", b"x", holds[0], 600 + turn)
        part, new = settle(second, f"part-{turn}", part=True), hold("ada", f"new-{turn}", input_tokens=10)
        await run(ledger, transactions, extend, part, new)
    known = transactions._remembered.kept.get(ledger.tenant)
    assert known is not None
    assert known.holds.keys() >= set(holds)
    assert run_id in known.runs
    while await ledger.owner.fetchval("select journal from erasures") != "quarantine":
        async with ledger.database.reading(ledger.tenant) as connection:
            await erase_next(connection, ledger.tenant, 2_000, 0)
    in_run = commands.Record("e", b"x", "tests", "data", "openai", "gpt-5.4", Usage(5, 5), run_id=run_id)
    await run(ledger, transactions, settle(first, "sa"), settle(second, "sb"), in_run)
    users = "select user_id, count(*) from usage_events group by 1"
    assert [tuple(row) for row in await ledger.owner.fetch(users)] == [(pseudonym, 5)]
    assert await ledger.owner.fetchval("select count(*) from reservations where user_id = 'ada'") == 2


async def test_whatever_changes_accounts_takes_a_sequence_number(ledger: Ledger) -> None:
    changing = await ledger.owner.fetch(
        "select proname, prosrc from pg_proc where prosrc ~ '(update|into|from) accounts'"
    )
    changing = [row for row in changing if "update accounts" in row["prosrc"]]
    sources = {row["proname"]: row["prosrc"] for row in changing}
    # An erasure begins in a batch, which has one.
    assert sources.keys() == {"token_ledger_begin_erasure", "token_ledger_erase", "token_ledger_book"}
    erase, book = sources["token_ledger_erase"], sources["token_ledger_book"]
    assert erase.index("set sequence = sequence + 1") < erase.index("update accounts")
    assert book.index("set sequence = l.sequence + 1") < book.index("update accounts")


def test_the_tenant_whose_last_batch_is_the_longest_ago_gives_way() -> None:
    kept = KeptState(most=4)  # each has an account and a hold
    ledgers = {tenant: CoreLedger(budget(tokens=10_000)) for tenant in (1, 2, 3)}
    for tenant, each in ledgers.items():
        each.granted()
        object.__setattr__(each.books.config, "tenant_id", TenantId(tenant))
        known = Known()
        known.add(each.books, 0)
        kept.keep(TenantId(tenant), known)
    books = ledgers[1].books
    locks = [
        Locked(TenantId(tenant), books.sequence + 1, books.config.version, datetime.now(UTC), books.now, 0, 0, 0)
        for tenant in (1, 2, 3, 3)
    ]
    assert [len(kept.take(lock).by_id) for lock in locks] == [0, 1, 1, 0]
