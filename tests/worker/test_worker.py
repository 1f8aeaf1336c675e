"""Several processes with a worker: what is due is done once, whichever of them leads."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.api.waiting import until
from tests.proof.ledger import HOLD, Ledger, open_ledger
from token_ledger.core.batch.administration import CreateBudget, EraseUser, GiveGrant
from token_ledger.core.batch.commands import Command, ExpireDue, Lease, TendAccounts
from token_ledger.core.batch.outcomes import BudgetAnswer, Changed, GrantAnswer, Granted, Outcome
from token_ledger.core.model.budget import Enforcement, Limits
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import Window
from token_ledger.ledger.errors import Unavailable
from token_ledger.proof.verify import verify_database
from token_ledger.storage.upkeep import leadership
from token_ledger.storage.upkeep.leadership import LEADER_LOCK, NotLeading
from token_ledger.worker import accounts, schedule, worker
from token_ledger.worker.accounts import tend_accounts
from token_ledger.worker.holds import expire_due_holds
from token_ledger.worker.partitions import make_partitions
from token_ledger.worker.worker import Worker


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url, zone="UTC") as opened:
        yield opened


def _count(duty: str, tenant: str) -> None:
    """Count no failures."""


class Process:
    """A worker whose commands are counted before they reach the ledger."""

    def __init__(self, ledger: Ledger, commands: Counter[type[Command]]) -> None:
        async def submit(tenant: TenantId, command: Command) -> Outcome:
            commands[type(command)] += 1
            return await ledger.commits.submit(tenant, command)

        self.worker = Worker(ledger.database, submit, _count)
        self.task = asyncio.create_task(self.worker.work())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def _processes(ledger: Ledger, count: int) -> AsyncIterator[tuple[list[Process], Counter[type[Command]]]]:
    commands: Counter[type[Command]] = Counter()
    processes = [Process(ledger, commands) for _ in range(count)]
    try:
        yield processes, commands
    finally:
        for process in processes:
            await process.stop()


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "CLAIM_SECONDS", 0.02)
    for name in ("CONNECT_SECONDS", "ANSWER_SECONDS"):  # a server on a busy machine is not away
        monkeypatch.setattr(leadership, name, 60)
    for name in ("EXPIRE_HOLDS_SECONDS", "TEND_ACCOUNTS_SECONDS"):
        monkeypatch.setattr(schedule, name, 0.02)


async def _make_due(ledger: Ledger, reservation_id: int) -> None:
    await ledger.owner.execute("update reservations set expires_at = now() where reservation_id = $1", reservation_id)


def _is(ledger: Ledger, query: str, wanted: Any) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        return bool(await ledger.owner.fetchval(query) == wanted)

    return is_so


HELD = "select count(*) from reservations where state = 'held'"


async def test_the_leader_erases_users(ledger: Ledger) -> None:
    await ledger.settle(await ledger.hold(user="zaphodx"), 10, 1)
    await ledger.ask(EraseUser("k", b"x", "zaphodx", "root"), Changed)
    async with _processes(ledger, 2):
        await until(_is(ledger, "select count(*) from erasures where journal = 'done'", 1))
    assert await ledger.owner.fetchval("select count(*) from usage_events where user_id = 'zaphodx'") == 0
    assert await ledger.owner.fetchval("select count(*) from daily_usage where user_id = 'zaphodx'") == 0


async def _leader(processes: list[Process]) -> Process:
    async def one_leads() -> bool:
        return sum(process.worker.leads for process in processes) == 1

    await until(one_leads)
    return next(process for process in processes if process.worker.leads)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.usefixtures("_quick")
async def test_due_work_is_done_once_however_many_workers_there_are(count: int, ledger: Ledger) -> None:
    async with _processes(ledger, count) as (processes, commands):
        await _leader(processes)
        for number in range(1, 6):
            await _make_due(ledger, await ledger.hold())
            await until(_is(ledger, HELD, 0))
            assert commands[ExpireDue] == number
        assert sum(process.worker.leads for process in processes) == 1


@pytest.mark.usefixtures("_quick")
async def test_a_stopped_leader_is_replaced_and_nothing_is_done_twice(ledger: Ledger) -> None:
    async with _processes(ledger, 3) as (processes, commands):
        for number in range(1, 3):
            leader = await _leader(processes)
            await leader.stop()
            processes.remove(leader)
            await _make_due(ledger, await ledger.hold())
            await until(_is(ledger, HELD, 0))
            assert commands[ExpireDue] == number


@pytest.mark.usefixtures("_quick")
async def test_a_leader_that_loses_its_connection_stops_leading_and_may_lead_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    led: list[bool] = []

    def lead_is_lost(_: str) -> None:
        # Looked at as soon as the process has done what it does then: a moment later it may lead again.
        asyncio.get_running_loop().call_soon(lambda: led.append(leader.worker.leads))

    monkeypatch.setattr(worker.log, "warning", lead_is_lost)
    async with _processes(ledger, 2) as (processes, commands):
        for number in range(3):
            leader = await _leader(processes)
            await ledger.owner.execute(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1 and granted"
                " and database = (select oid from pg_database where datname = current_database())", LEADER_LOCK,
            )  # fmt: skip

            async def has_stepped_back(number: int = number) -> bool:
                return led == [False] * (number + 1)

            await until(has_stepped_back)
        await _leader(processes)
        await _make_due(ledger, await ledger.hold())
        await until(_is(ledger, HELD, 0))
        assert commands[ExpireDue] == 1


@pytest.mark.usefixtures("_quick")
async def test_a_leader_that_was_frozen_does_nothing_more(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was frozen in the middle of its duties, and its connection still seems to be there when it wakes."""
    now = [0.0]
    monkeypatch.setattr(leadership, "steady_seconds", lambda: now[0])
    monkeypatch.setattr(leadership, "BEAT_SECONDS", 3_600)
    late: list[str] = []

    async def submit(tenant: TenantId, command: Command) -> Outcome:
        late.append("submit")
        return await ledger.commits.submit(tenant, command)

    leader = Worker(ledger.database, submit, _count)
    working = asyncio.create_task(leader.work())
    try:

        async def leads() -> bool:
            return leader.leads

        await until(leads)
        now[0] += leadership.LEASE_SECONDS
        tenant, calls = ledger.tenant, ExpireDue()
        late.clear()
        for begin in (lambda: leader._submit_as_leader(tenant, calls), lambda: _read(leader)):
            with pytest.raises(NotLeading):
                await begin()
        await _make_due(ledger, await ledger.hold())
        assert late == []
        assert await ledger.owner.fetchval(HELD) == 1
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _read(leader: Worker) -> None:
    async with leader._database.checked(leader._leadership.check).reading():
        raise AssertionError("the transaction began")


@pytest.mark.usefixtures("_quick")
async def test_a_failing_duty_is_tried_again_and_does_not_hold_up_the_others(ledger: Ledger) -> None:
    failures = 0

    async def submit(tenant: TenantId, command: Command) -> Outcome:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise Unavailable("the database is too slow")
        return await ledger.commits.submit(tenant, command)

    await _use_a_window(ledger)
    await _make_due(ledger, await ledger.hold(user="bob"))
    working = asyncio.create_task(Worker(ledger.database, submit, _count).work())
    try:
        await until(_is(ledger, "select count(*) from accounts where closed_at is not null", 1))
        await until(_is(ledger, HELD, 0))
        assert failures == 2
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_more_holds_than_fit_into_a_batch_are_expired_in_one_round(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.hold(user=f"user-{number % 7}") for number in range(150)))
    await ledger.owner.execute("update reservations set expires_at = now()")
    await ledger.restart()
    await expire_due_holds(ledger.database, ledger.commits.submit)
    assert await ledger.owner.fetchval(HELD) == 0


async def _use_a_window(ledger: Ledger, **fields: Any) -> None:
    """Leave an account whose window has ended and on which nothing is held."""
    budget = CreateBudget("k", b"x", "per user", (("user", "*"),), Limits(100_000), Window.DAY, **fields)
    await ledger.ask(budget, BudgetAnswer)
    await ledger.settle(await ledger.hold(), 10, 1)
    await ledger.move_back(2)


async def test_accounts_whose_window_has_ended_are_closed_and_grants_lapse(ledger: Ledger, database_url: str) -> None:
    budget = CreateBudget("k", b"x", "ever", (), Limits(100_000), Window.TOTAL)
    await ledger.ask(budget, BudgetAnswer)
    await _use_a_window(ledger)
    await ledger.settle(await ledger.hold(user="bob"), 10, 1)
    account = await ledger.account_of("ever")
    await ledger.ask(GiveGrant("k", b"x", account, Limits(5_000), "a busy day", "root"), GrantAnswer)
    await ledger.owner.execute("update grants set expires_at = now()")
    await ledger.owner.execute("update accounts set grants_until = now() where account_id = $1", account)
    await tend_accounts(ledger.database, ledger.commits.submit)
    closed = await ledger.owner.fetch(
        "select budget, window_end < now() as ended, closed_at from accounts order by 1, 2"
    )
    assert [(row["budget"], row["ended"], row["closed_at"] is not None) for row in closed] == [
        ("ever", None, False), ("per user", False, False), ("per user", True, True),
    ]  # fmt: skip
    assert await ledger.owner.fetchval("select limit_tokens from accounts where account_id = $1", account) == 100_000
    assert await ledger.owner.fetchval("select count(*) from grants where lapsed_at is not null") == 1
    assert (await verify_database(database_url)).clean


async def test_an_account_is_not_closed_while_anything_is_held_on_it(ledger: Ledger, database_url: str) -> None:
    """All calls of a lease may be made while it still holds tokens."""
    budget = CreateBudget("k", b"x", "soft", (), Limits(10**6), Window.DAY, Enforcement.SOFT)
    await ledger.ask(budget, BudgetAnswer)
    lent = await ledger.ask(Lease("k", b"x", **HOLD, user="ada", calls=1), Granted)
    await ledger.settle(lent.reservation.reservation_id, 10, 1, part=True)
    await ledger.move_back(2)
    await ledger.owner.execute("update reservations set expires_at = now() + interval '1 hour'")
    await tend_accounts(ledger.database, ledger.commits.submit)
    await ledger.commits.submit(ledger.tenant, TendAccounts((await ledger.account_of("soft"),)))
    assert await ledger.owner.fetchval("select count(*) from accounts where closed_at is not null") == 0
    await ledger.let_expire(lent.reservation.reservation_id)
    await tend_accounts(ledger.database, ledger.commits.submit)
    assert await ledger.owner.fetchval("select count(*) from accounts where closed_at is not null") == 1
    assert (await verify_database(database_url)).clean


async def test_many_accounts_are_tended_in_several_commands(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "ACCOUNTS_PER_COMMAND", 3)
    monkeypatch.setattr(accounts, "ACCOUNTS_PER_ROUND", 7)
    budget = CreateBudget("k", b"x", "per user", (("user", "*"),), Limits(100_000), Window.DAY)
    await ledger.ask(budget, BudgetAnswer)
    for number in range(17):
        await ledger.settle(await ledger.hold(user=f"user-{number}"), 10, 1)
    await ledger.move_back(2)
    sizes: list[int] = []

    async def submit(tenant: TenantId, command: Command) -> Outcome:
        assert isinstance(command, TendAccounts)
        sizes.append(len(command.account_ids))
        return await ledger.commits.submit(tenant, command)

    await tend_accounts(ledger.database, submit)
    assert await ledger.owner.fetchval("select count(*) from accounts where closed_at is null") == 0
    assert sum(sizes) == 17
    assert max(sizes) <= 3


async def test_partitions_are_made_ahead(ledger: Ledger) -> None:
    await ledger.owner.execute(
        "do $$ begin execute (select 'drop table ' || max(inhrelid::regclass::text) from pg_inherits"
        " where inhparent = 'usage_events'::regclass); end $$"
    )
    count = "select count(*) from pg_inherits where inhparent = 'usage_events'::regclass"
    assert await ledger.owner.fetchval(count) == 3
    await make_partitions(ledger.database)
    assert await ledger.owner.fetchval(count) == 4
