"""Clocks that are wrong: nothing is booked at a wrong time, and tenants whose time was wrong go on by themselves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.ledger.clock import OwnClocks, make_clock, set_clock
from tests.proof.ledger import Ledger, open_ledger, reserve
from token_ledger.cli.doctor import Level, examine
from token_ledger.config import Settings
from token_ledger.core.batch.administration import CreateBudget, GiveGrant
from token_ledger.core.batch.commands import Command, Record, Settle
from token_ledger.core.batch.outcomes import BudgetAnswer, GrantAnswer, Granted, Settled
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.principal import Role
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.errors import Unavailable
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.api_keys import add_key
from token_ledger.storage.clocks import STEADY_SECONDS, ClockDoubted, ClockWatch
from token_ledger.storage.database import Database, DatabaseAway
from token_ledger.storage.upkeep.leadership import Leadership
from token_ledger.worker.holds import expire_due_holds
from token_ledger.worker.partitions import make_partitions
from token_ledger.worker.retention import Retention

FAR = timedelta(days=400)
EVENT: dict[str, Any] = {"agent_type": "data", "provider": "openai", "model": "gpt-5.4", "user": "ada"}


class Process:
    """A process with clocks of its own, on the ledger's database."""

    def __init__(self, ledger: Ledger, watch: ClockWatch | None = None) -> None:
        self.ledger = ledger
        self.clocks = OwnClocks()
        self.database = Database(ledger.database.dsn, writers=2, readers=2, clocks=watch or self.clocks.watch)
        self.commits = GroupCommit(self.database, ledger._prices)

    async def ask(self, command: Command, ledger: Ledger | None = None) -> Any:
        return await self.commits.submit((ledger or self.ledger).tenant, command)

    async def refuses(self, command: Command, why: str) -> None:
        with pytest.raises(Unavailable, match=why):
            await self.ask(command)


@pytest.fixture
async def ledgers(database_url: str) -> AsyncIterator[list[Ledger]]:
    await make_clock(database_url)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_ledger(database_url, name, "UTC")) for name in ("acme", "other")]
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


@pytest.fixture
async def process(ledgers: list[Ledger]) -> AsyncIterator[Process]:
    made = Process(ledgers[0])
    yield made
    await made.commits.drain()
    await made.database.close()


async def _stored(ledger: Ledger) -> list[Any]:
    return [
        await ledger.owner.fetchval(f"select count(*) from {table}")
        for table in ("reservations", "usage_events", "accounts", "denials", "quarantine", "operation_keys")
    ] + [await ledger.owner.fetchval("select array_agg(booked_at order by tenant_id) from tenant_ledgers")]


WRONG = {
    "far ahead": (FAR, "the database's clock is 400 days ahead of this process's"),
    "far behind": (-FAR, "the database's clock is 400 days behind this process's"),
    "a little too far ahead": (timedelta(seconds=100), "100 s ahead of"),
    "a little too far behind": (-timedelta(seconds=100), "100 s behind"),
}


@pytest.mark.parametrize("label", WRONG)
async def test_while_the_database_s_clock_is_wrong_nothing_is_booked_and_afterwards_all_goes_on(
    label: str, process: Process, ledgers: list[Ledger]
) -> None:
    ahead, why = WRONG[label]
    held = await process.ask(reserve(key="before"))
    settle = Settle("settle", b"x", held.reservation.reservation_id, Usage(10, 5))
    # An instant that is right to a second needs no clock.
    await ledgers[0].owner.execute("update tenant_ledgers set booked_at = booked_at - interval '2 seconds'")
    before = await _stored(ledgers[0])
    await set_clock(ledgers[0].owner, ahead)
    for command in (reserve(key="meanwhile"), settle, Record("record", b"x", "batch", usage=Usage(1, 1), **EVENT)):
        await process.refuses(command, why)
    with pytest.raises(DatabaseAway, match=why):
        async with process.database.reading(ledgers[0].tenant) as connection:
            await add_key(connection, ledgers[0].tenant, Role.AGENT, "a key", environment="test", pepper=b"x")
    for do in (Retention(process.database, 3).drop_months(), make_partitions(process.database)):
        with pytest.raises(DatabaseAway, match=why):
            await do
    leadership = Leadership(process.database.dsn, process.clocks.watch)
    with pytest.raises(DatabaseAway, match=f"the lead is left to others: .*{why}"):
        await leadership.claim()
    assert await _stored(ledgers[0]) == before
    await set_clock(ledgers[0].owner, timedelta())
    assert isinstance(await process.ask(settle), Settled)
    assert isinstance(await process.ask(reserve(key="meanwhile")), Granted)
    assert await leadership.claim()
    # A leader whose clock goes wrong leads no more.
    await set_clock(ledgers[0].owner, ahead)
    async with asyncio.timeout(60):
        await leadership.hold()
    await set_clock(ledgers[0].owner, timedelta())


@pytest.mark.parametrize("ahead", [FAR, -FAR, timedelta(seconds=100), -timedelta(seconds=100)])
async def test_a_process_whose_own_clock_is_wrong_refuses_and_others_go_on(
    ahead: timedelta, process: Process, ledgers: list[Ledger]
) -> None:
    process.clocks.ahead = ahead.total_seconds()
    await process.refuses(reserve(key="a call"), "nothing is booked until they agree")
    await ledgers[0].hold(key="of another process")
    process.clocks.ahead = 0.0
    assert isinstance(await process.ask(reserve(key="a call")), Granted)


async def test_small_differences_are_no_error(process: Process, ledgers: list[Ledger]) -> None:
    for seconds in (25, -25, 0):
        await set_clock(ledgers[0].owner, timedelta(seconds=seconds))
        assert isinstance(await process.ask(reserve(key=f"at {seconds}")), Granted)
    instants = await ledgers[0].owner.fetch("select created_at from reservations order by reservation_id")
    assert [row[0] for row in instants] == sorted(row[0] for row in instants)


@pytest.mark.parametrize("jump", [timedelta(hours=3), -timedelta(hours=3)])
async def test_clocks_that_jump_together_are_believed_once_they_have_agreed_for_a_while(
    jump: timedelta, process: Process, ledgers: list[Ledger]
) -> None:
    """The database and the process are on one machine, whose clock is set."""
    await process.ask(reserve(key="before"))
    process.clocks.ahead = jump.total_seconds()
    await set_clock(ledgers[0].owner, jump)
    direction = "forward" if jump > timedelta() else "back"
    await process.refuses(reserve(key="a call"), f"have jumped 3 hours {direction}: they are believed if they agree")
    process.clocks.passed = STEADY_SECONDS / 2
    process.clocks.ahead += STEADY_SECONDS / 2
    await set_clock(ledgers[0].owner, jump + timedelta(seconds=STEADY_SECONDS / 2))
    await process.refuses(reserve(key="a call"), "jumped")
    process.clocks.passed = STEADY_SECONDS + 1
    process.clocks.ahead = jump.total_seconds() + STEADY_SECONDS + 1
    await set_clock(ledgers[0].owner, jump + timedelta(seconds=STEADY_SECONDS + 1))
    assert isinstance(await process.ask(reserve(key="a call")), Granted)
    await set_clock(ledgers[0].owner, timedelta())


async def test_a_clock_that_was_doubted_once_is_not_gone_by_next_time(process: Process, ledgers: list[Ledger]) -> None:
    """A batch that is tried by one statement asks for no time before: it goes by what was heard last."""
    held = await process.ask(reserve(key="before"))
    await process.ask(Settle("settle", b"x", held.reservation.reservation_id, Usage(10, 5)))
    jump = timedelta(hours=3)
    process.clocks.ahead = jump.total_seconds()
    await set_clock(ledgers[0].owner, jump)
    for key in ("a call", "another", "and another"):
        await process.refuses(reserve(key=key), "have jumped 3 hours forward")
    await set_clock(ledgers[0].owner, timedelta())


async def _spoil(ledger: Ledger, *keys: str) -> list[int]:
    """Give holds while the clock is ahead, as a version that believed every clock would have."""
    believer = Process(ledger, ClockWatch(bound_seconds=1e12))
    await set_clock(ledger.owner, FAR)
    given = [(await believer.ask(reserve(key=key))).reservation.reservation_id for key in keys]
    await set_clock(ledger.owner, timedelta())
    await believer.database.close()
    assert await ledger.owner.fetchval(
        "select booked_at > pg_catalog.now() + interval '399 days' from tenant_ledgers where tenant_id = $1",
        ledger.tenant,
    )
    return given


async def test_a_tenant_whose_time_is_ahead_is_put_back_by_itself(process: Process, ledgers: list[Ledger]) -> None:
    ledger = ledgers[0]
    await ledger.ask(CreateBudget("k", b"x", "by day", (), Limits(90_000), Window.DAY), BudgetAnswer)
    await ledger.ask(CreateBudget("k", b"x", "ever", (), Limits(90_000), Window.TOTAL), BudgetAnswer)
    await ledger.hold(key="before")  # expires when the clock is ahead
    account = await ledger.account_of("ever")
    await ledger.ask(GiveGrant("k", b"x", account, Limits(100), "more", "root"), GrantAnswer)
    settled, expired = await _spoil(ledger, "settled", "expired")
    await process.refuses(reserve(key="a call"), "the tenant's last instant is 400 days ahead of the database's clock")
    process.clocks.passed = process.clocks.ahead = STEADY_SECONDS + 1
    await set_clock(ledger.owner, timedelta(seconds=STEADY_SECONDS + 1))
    # No caller is needed: the worker finds the tenant, although none of its holds is due by the clock.
    await expire_due_holds(process.database, process.commits.submit)
    given = (await process.ask(reserve(key="a call"))).reservation
    assert abs(given.created_at - datetime.now(UTC)) < timedelta(minutes=5)
    event = (await process.ask(Settle("settle", b"x", settled, Usage(10, 5)))).event
    assert event.posted_at < datetime.now(UTC) + timedelta(minutes=5)
    windows = await ledger.owner.fetch(
        "select window_start from accounts where budget = 'by day' and account_id = any ($1)", given.path
    )
    assert [row[0].date() for row in windows] == [given.created_at.date()]
    await process.ask(GiveGrant("another grant", b"x", account, Limits(10), "more", "root"))
    # The holds expire when those do that are given now.
    ends = await ledger.owner.fetch("select reservation_id, expires_at from reservations where state = 'held'")
    assert {row[0] for row in ends} == {expired, given.reservation_id}
    assert max(row[1] for row in ends) <= given.expires_at
    process.clocks.passed += 301
    process.clocks.ahead += 301
    await set_clock(ledger.owner, timedelta(seconds=STEADY_SECONDS + 302))
    await expire_due_holds(process.database, process.commits.submit)
    assert await ledger.owner.fetchval("select count(*) from reservations where state = 'held'") == 0
    order = "select booked_at from usage_events where tenant_id = $1 order by event_id"
    assert len(await ledger.owner.fetch(order, ledger.tenant)) == 1


async def test_a_tenant_whose_time_is_ahead_holds_up_no_other(process: Process, ledgers: list[Ledger]) -> None:
    await _spoil(ledgers[0], "ahead")
    asked = [process.ask(reserve(key="a call"), ledger) for ledger in ledgers]
    spoiled, other = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(spoiled, Unavailable)
    assert isinstance(other, Granted)


async def test_doctor_says_which_tenants_are_ahead_and_which_clock_is_wrong(
    ledgers: list[Ledger], database_url: str
) -> None:
    settings = Settings(database_url=database_url)
    await _spoil(ledgers[0], "ahead")
    findings = {each.check: each for each in (await examine(settings, database_url)).findings}
    assert findings["tenants' clocks"].level is Level.WARNING
    assert "acme by 400 days" in findings["tenants' clocks"].found
    assert findings["clock"].level is Level.OK
    await set_clock(ledgers[1].owner, FAR)
    findings = {each.check: each for each in (await examine(settings, database_url)).findings}
    assert findings["clock"].level is Level.FAILURE
    assert "the database is 400 days ahead of this machine" in findings["clock"].found
    await set_clock(ledgers[1].owner, timedelta())
    # Nothing was booked for the first tenant since: the process that verifies finds its books as they are.


def test_a_clock_is_judged_by_when_it_was_asked() -> None:
    """A process that was frozen while it waited for the answer finds nothing wrong with it."""
    now = [1_000.0]
    watch = ClockWatch(wall=lambda: now[0], steady=lambda: now[0])
    watch.check(datetime.fromtimestamp(1_000, UTC), watch.ask())
    asked = watch.ask()
    now[0] += 500
    for answered in (1_000, 1_250, 1_500, 1_559, 941):
        watch.check(datetime.fromtimestamp(answered, UTC), asked)
    for answered in (1_561, 939):
        with pytest.raises(ClockDoubted):
            watch.check(datetime.fromtimestamp(answered, UTC), asked)


def test_a_clock_that_is_right_again_is_believed_at_once() -> None:
    now, shift = [1_000.0], [0.0]
    watch = ClockWatch(wall=lambda: now[0] + shift[0], steady=lambda: now[0])

    def look() -> None:
        watch.check(datetime.fromtimestamp(now[0] + shift[0], UTC), watch.ask())

    look()
    for away in (86_400.0, -86_400.0):
        shift[0] = away
        with pytest.raises(ClockDoubted):
            look()
        now[0] += 30
        shift[0] = 0.0
        look()
    assert not ClockWatch().is_steady
    assert watch.is_steady
