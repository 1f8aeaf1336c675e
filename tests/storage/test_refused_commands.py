"""What the database refuses although nothing before did: its sender fails, and nobody else pays for it.

A constraint that the service does not know stands for whatever a release has overlooked.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import pytest

from token_ledger.core.batch.commands import Command, Release, Reserve
from token_ledger.core.batch.outcomes import Granted
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger import parts
from token_ledger.ledger.errors import Unavailable, Unstorable
from token_ledger.ledger.group_commit import BatchReport, GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.tenants import add_tenant

REFUSED = "refused"
WRITERS = "select pid from pg_stat_activity where application_name = 'token-ledger writer' and datname = $1"
_numbers = itertools.count()


@dataclass
class Ledger:
    """A group commit with one writer on a database of its own, its tenants, and what was committed."""

    commits: GroupCommit
    database: Database
    owner: Any
    url: str
    tenants: list[TenantId]
    reports: list[BatchReport] = field(default_factory=list)

    async def writers(self) -> set[int]:
        """Return which connections the process writes on."""
        name = await self.owner.fetchval("select current_database()")
        return {row["pid"] for row in await self.owner.fetch(WRITERS, name)}

    async def all(self, tenant: TenantId, commands: list[Command]) -> list[Any]:
        """Submit commands at once and return their outcomes and errors."""
        self.reports.clear()
        submitted = (self.commits.submit(tenant, command) for command in commands)
        return await asyncio.gather(*submitted, return_exceptions=True)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    database = Database(database_url)
    owner = await asyncpg.connect(database_url)
    try:
        await owner.execute(
            f"alter table reservations add constraint unknown check (tool is distinct from '{REFUSED}')"
        )
        tenants = []
        for name in ("acme", "globex", "initech"):
            async with database.reading() as connection:
                made = await add_tenant(connection, name, "UTC")
            assert made is not None
            tenants.append(made)
        async with database.reading() as connection:
            prices = await load_price_book(connection)
        reports: list[BatchReport] = []
        commits = GroupCommit(database, prices, writers=1, report=reports.append)
        found = Ledger(commits, database, owner, database_url, tenants, reports)
        await found.all(tenants[0], [reserve()])
        yield found
        await commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.findings
    finally:
        await owner.close()
        await database.close()


def reserve(tool: str | None = None) -> Reserve:
    key = f"key-{next(_numbers)}"
    return Reserve(key, b"x", "data_agent", "openai", "gpt-5.4", 10, 5, user="ada", cost_center="research", tool=tool)


@pytest.mark.parametrize("bad", [[0], [255], [100], [3, 70, 71, 200], range(0, 256, 5), range(256)], ids=str)
async def test_all_others_are_committed_on_the_same_connection(bad: Any, ledger: Ledger) -> None:
    writers = await ledger.writers()
    commands: list[Command] = [reserve(REFUSED if place in bad else None) for place in range(256)]
    outcomes = await ledger.all(ledger.tenants[0], commands)
    assert [type(outcome) for outcome in outcomes] == [Unavailable if n in bad else Granted for n in range(256)]
    assert all("unknown" in str(outcome) for outcome in outcomes if isinstance(outcome, Unavailable))
    # The first batch may have begun before all were submitted. Many at fault are not looked for at once.
    assert len(ledger.reports) <= 2 or len(bad) > 4
    assert sum(report.operations for report in ledger.reports) == 256 - len(bad)
    assert await ledger.writers() == writers
    held = await ledger.owner.fetchval("select count(*) from reservations where state = 'held'")
    assert held == 1 + 256 - len(bad)


@pytest.mark.parametrize("key_id", ["another", "the same"])
async def test_others_are_decided_while_hundreds_at_fault_wait(key_id: str, ledger: Ledger) -> None:
    tenant, failed, before = ledger.tenants[0], 0, []

    async def one_at_fault() -> None:
        nonlocal failed
        with pytest.raises(Unavailable):
            await ledger.commits.submit(tenant, reserve(REFUSED), "the same", request)
        failed += 1

    request = object()
    waiting = [asyncio.create_task(one_at_fault()) for _ in range(256)]
    await asyncio.sleep(0)
    while failed < 256:
        assert isinstance(await ledger.commits.submit(tenant, reserve(), key_id), Granted)
        before.append(failed)
    await asyncio.gather(*waiting)
    # The first search for them takes longest.
    assert before[0] <= parts.MOST_REFUSED_PARTS
    assert max(after - earlier for earlier, after in itertools.pairwise(before)) <= 4
    assert len(before) > 60


async def test_a_key_is_trusted_again_after_full_batches_of_good_commands(ledger: Ledger) -> None:
    tenant = ledger.tenants[0]

    async def sizes_of(*commands: Command) -> list[int]:
        await ledger.all(tenant, list(commands))
        return [report.operations for report in ledger.reports]

    await sizes_of(*(reserve(REFUSED) for _ in range(256)))
    assert await sizes_of(*(reserve() for _ in range(600))) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 89]
    assert await sizes_of(*(reserve() for _ in range(256))) == [256]


async def test_sixteen_savepoints_find_the_culprit_among_256(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    execute = asyncpg.Connection.execute

    async def counted(self: Any, query: str, *arguments: Any, **more: Any) -> str:
        sent.append(query)
        return await execute(self, query, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, "execute", counted)
    await ledger.all(ledger.tenants[0], [reserve(REFUSED if place == 99 else None) for place in range(256)])
    assert sent.count("savepoint part") <= 16
    assert sent.count("rollback to savepoint part") <= 8
    assert sent.count("commit") <= 2


async def test_commands_see_what_the_parts_before_them_did(ledger: Ledger) -> None:
    tenant = ledger.tenants[0]
    [given] = await ledger.all(tenant, [reserve()])
    held = given.reservation.reservation_id
    again = reserve()
    ends = [Release(f"end-{next(_numbers)}", b"x", held) for _ in range(2)]
    outcomes = await ledger.all(tenant, [again, ends[0], *(reserve(REFUSED) for _ in range(9)), ends[1], again])
    assert outcomes[0].reservation.reservation_id == outcomes[-1].reservation.reservation_id
    assert [type(outcome).__name__ for outcome in (outcomes[1], outcomes[-2])] == ["Released", "Released"]
    assert [outcome.replayed for outcome in (outcomes[1], outcomes[-2])] == [False, True]


async def test_quiet_tenants_of_its_batch_are_committed_together(ledger: Ledger) -> None:
    ledger.reports.clear()
    work = [ledger.commits.submit(tenant, reserve()) for tenant in ledger.tenants for _ in range(20)]
    work.insert(30, ledger.commits.submit(ledger.tenants[1], reserve(REFUSED)))
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert [place for place, outcome in enumerate(outcomes) if not isinstance(outcome, Granted)] == [30]
    assert len(ledger.reports) <= 2


@pytest.mark.parametrize("limit", [2**80, "a number"], ids=["too large to encode", "no number"])
async def test_what_can_not_be_encoded_keeps_the_connection(limit: Any, ledger: Ledger) -> None:
    writers = await ledger.writers()
    bad = replace(reserve(), run_id=limit)
    outcomes = await ledger.all(ledger.tenants[0], [reserve(), bad, reserve()])
    assert [type(outcome) for outcome in outcomes] == [Granted, Unstorable, Granted]
    alone = await ledger.all(ledger.tenants[0], [bad])
    assert [type(outcome) for outcome in alone] == [Unstorable]
    assert await ledger.writers() == writers


async def test_a_failure_that_is_nobodys_fault_is_not_searched_for(ledger: Ledger) -> None:
    writers = await ledger.writers()
    await ledger.owner.execute("revoke insert on reservations from token_ledger_app")
    outcomes = await ledger.all(ledger.tenants[0], [reserve() for _ in range(64)])
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    await ledger.owner.execute("grant insert on reservations to token_ledger_app")
    assert await ledger.writers() == writers
    assert all(isinstance(outcome, Granted) for outcome in await ledger.all(ledger.tenants[0], [reserve()]))
