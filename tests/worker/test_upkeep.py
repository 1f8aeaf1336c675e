"""Several processes with a worker: what is due is done, once, whoever of them leads."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.analytics.busy import HOLD, Ledger, open_ledger
from tests.api.waiting import until
from token_ledger.analytics.verify import verify_database
from token_ledger.core.administration import CreateBudget, EraseUser, GiveGrant
from token_ledger.core.budget import Enforcement, Limits
from token_ledger.core.commands import Command, ExpireDue, OpenLease, TendAccounts
from token_ledger.core.outcomes import BudgetAnswer, Changed, GrantAnswer, Granted, Outcome
from token_ledger.core.tenant import TenantId
from token_ledger.core.window import Window
from token_ledger.ledger.errors import Unavailable
from token_ledger.storage.leadership import LEADER_LOCK
from token_ledger.worker import duties, upkeep
from token_ledger.worker.duties import Duties
from token_ledger.worker.upkeep import Upkeep


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url, zone="UTC") as opened:
        yield opened


class Process:
    """A worker whose commands are counted on their way to the ledger."""

    def __init__(self, ledger: Ledger, commands: Counter[type[Command]]) -> None:
        async def submit(tenant: TenantId, command: Command) -> Outcome:
            commands[type(command)] += 1
            return await ledger.commits.submit(tenant, command)

        self.upkeep = Upkeep(ledger.database, submit)
        self.task = asyncio.create_task(self.upkeep.work())

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
    for name in ("CLAIM_SECONDS", "EXPIRY_SECONDS", "TENDING_SECONDS"):
        monkeypatch.setattr(upkeep, name, 0.02)


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
        return sum(process.upkeep.leads for process in processes) == 1

    await until(one_leads)
    return next(process for process in processes if process.upkeep.leads)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.usefixtures("_quick")
async def test_what_is_due_is_done_once_however_many_there_are(count: int, ledger: Ledger) -> None:
    async with _processes(ledger, count) as (processes, commands):
        await _leader(processes)
        for number in range(1, 6):
            await _make_due(ledger, await ledger.hold())
            await until(_is(ledger, HELD, 0))
            assert commands[ExpireDue] == number
        assert sum(process.upkeep.leads for process in processes) == 1


@pytest.mark.usefixtures("_quick")
async def test_a_leader_that_is_gone_is_replaced_and_nothing_is_done_twice(ledger: Ledger) -> None:
    async with _processes(ledger, 3) as (processes, commands):
        for number in range(1, 3):
            leader = await _leader(processes)
            await leader.stop()
            processes.remove(leader)
            await _make_due(ledger, await ledger.hold())
            await until(_is(ledger, HELD, 0), seconds=5)
            assert commands[ExpireDue] == number


@pytest.mark.usefixtures("_quick")
async def test_a_leader_that_loses_its_connection_steps_back_until_it_is_its_turn_again(ledger: Ledger) -> None:
    async with _processes(ledger, 2) as (processes, commands):
        for _ in range(3):
            leader = await _leader(processes)
            await ledger.owner.execute(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1 and granted"
                " and database = (select oid from pg_database where datname = current_database())", LEADER_LOCK,
            )  # fmt: skip

            async def has_stepped_back(leader: Process = leader) -> bool:
                return not leader.upkeep.leads

            await until(has_stepped_back, seconds=2)
        await _leader(processes)
        await _make_due(ledger, await ledger.hold())
        await until(_is(ledger, HELD, 0), seconds=5)
        assert commands[ExpireDue] == 1


@pytest.mark.usefixtures("_quick")
async def test_what_fails_is_tried_again_and_keeps_nothing_else_from_being_done(ledger: Ledger) -> None:
    failures = 0

    async def submit(tenant: TenantId, command: Command) -> Outcome:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise Unavailable("the database is too slow")
        return await ledger.commits.submit(tenant, command)

    await _use_a_window(ledger)
    await _make_due(ledger, await ledger.hold(user="bob"))
    working = asyncio.create_task(Upkeep(ledger.database, submit).work())
    try:
        await until(_is(ledger, "select count(*) from accounts where closed_at is not null", 1))
        await until(_is(ledger, HELD, 0))
        assert failures == 2
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_more_holds_than_a_batch_takes_are_expired_in_one_go(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.hold(user=f"user-{number % 7}") for number in range(150)))
    await ledger.owner.execute("update reservations set expires_at = now()")
    await ledger.restart()
    await Duties(ledger.database, ledger.commits.submit).expire_due_holds()
    assert await ledger.owner.fetchval(HELD) == 0


async def _use_a_window(ledger: Ledger, **fields: Any) -> None:
    """Use an account of yesterday's, on which nothing is held any more."""
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
    await Duties(ledger.database, ledger.commits.submit).tend_accounts()
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
    """Of a lease every call may be made and tokens still be held for larger ones."""
    budget = CreateBudget("k", b"x", "soft", (), Limits(10**6), Window.DAY, Enforcement.SOFT)
    await ledger.ask(budget, BudgetAnswer)
    lent = await ledger.ask(OpenLease("k", b"x", **HOLD, user="ada", calls=1), Granted)
    await ledger.settle(lent.reservation.reservation_id, 10, 1, part=True)
    await ledger.move_back(2)
    await ledger.owner.execute("update reservations set expires_at = now() + interval '1 hour'")
    duty = Duties(ledger.database, ledger.commits.submit)
    await duty.tend_accounts()
    await ledger.commits.submit(ledger.tenant, TendAccounts((await ledger.account_of("soft"),)))
    assert await ledger.owner.fetchval("select count(*) from accounts where closed_at is not null") == 0
    await ledger.let_expire(lent.reservation.reservation_id)
    await duty.tend_accounts()
    assert await ledger.owner.fetchval("select count(*) from accounts where closed_at is not null") == 1
    assert (await verify_database(database_url)).clean


async def test_many_accounts_are_tended_in_slices(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "ACCOUNTS_AT_ONCE", 3)
    monkeypatch.setattr(duties, "ACCOUNTS_PER_LOOK", 7)
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

    await Duties(ledger.database, submit).tend_accounts()
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
    await Duties(ledger.database, ledger.commits.submit).make_partitions()
    assert await ledger.owner.fetchval(count) == 4
