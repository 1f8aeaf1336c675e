"""The same random batches through group commit on a real PostgreSQL, beside the books in memory and the model.

The database's clock decides: the instant of every batch is taken from its report and given to the other two.
"""

import asyncio
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.simulation import commands as calls
from tests.simulation.postgres_rows import kept_rows, stored_rows
from tests.simulation.price_list import STAND_IN, insert_prices
from tests.simulation.rules import LedgerRules, recent, run_simulation, seen
from token_ledger.core.batch.administration import SetPrice
from token_ledger.core.batch.commands import Command, Extend, Record, Reserve
from token_ledger.core.batch.outcomes import Changed, Outcome
from token_ledger.core.model.price import PriceBook
from token_ledger.ledger import group_commit, one_statement
from token_ledger.ledger.group_commit import BatchReport, GroupCommit
from token_ledger.ledger.one_statement import AtOnce, OneStatement
from token_ledger.ledger.plan import Commands, Predecessor
from token_ledger.ledger.remembered import Remembered
from token_ledger.proof.verify import verify
from token_ledger.storage.clocks import ClockWatch
from token_ledger.storage.database import Database
from token_ledger.storage.load import kept_state
from token_ledger.storage.load.kept_state import KeptState
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import check_rates, load_price_book
from token_ledger.storage.tenants import add_tenant
from token_ledger.storage.write.one_statement import Became

Result = TypeVar("Result")
_STAND_IN_KEY = "stand-in"


class MixedRoads(OneStatement):
    """Books by one statement now and then: at random it takes the lock, forgets what it knows, or finds it stale."""

    def __init__(
        self, remembered: Remembered, clocks: ClockWatch, count: Callable[[str], None], chance: random.Random
    ) -> None:
        super().__init__(remembered, clocks, count)
        self._chance = chance

    async def decide(self, commands: Commands, predecessor: Predecessor | None) -> AtOnce | None:
        if self._chance.random() < 0.1:
            self._remembered.kept = KeptState(most=self._chance.choice((3, 20, 1_000)))
        if self._chance.random() < 0.1:
            return None
        decided = await super().decide(commands, predecessor)
        if decided is not None and self._chance.random() < 0.2:
            lock = replace(decided.lock, batch_stamp=decided.lock.batch_stamp ^ 1)
            return replace(decided, lock=lock)
        return decided


class Server:
    """A database with the simulation's prices, a group commit on it, and an event loop for both."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.chance = random.Random(seed)
        self.became: Counter[str] = Counter()
        self.loop = asyncio.new_event_loop()
        self.anchor = datetime.now(UTC)
        self.reports: list[BatchReport] = []
        self.numbers = itertools.count()
        self.run(self._open())

    async def _open(self) -> None:
        self.owner = await asyncpg.connect(self.url)
        await insert_prices(self.owner, self.anchor)
        self.database = Database(self.url)
        # Each example ends with a proof: its checks are planned once.
        planned_once = f"{self.url}{'&' if '?' in self.url else '?'}plan_cache_mode=force_generic_plan"
        self.verified = Database(planned_once, writers=1, readers=1, read_seconds=None)
        async with self.database.reading() as connection:
            self.prices: PriceBook = await load_price_book(connection)
        self.restart()

    def restart(self) -> None:
        """Go on as a process that has just started and knows only what is in the database."""
        # Small batches, so that commands that come together make several.
        self.commits = GroupCommit(self.database, self.prices, batch_operations=3, report=self.reports.append)
        transactions = self.commits._transactions
        clocks = self.database.clocks
        transactions._one_statement = MixedRoads(transactions._remembered, clocks, self._count, self.chance)

    def _count(self, became: str) -> None:
        self.became[became] += 1

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self.commits.drain())
        self.run(self.database.close())
        self.run(self.verified.close())
        self.run(self.owner.close())
        self.loop.close()


class PostgresRules(LedgerRules):
    """The same callers; their batches run on the database, and the books in memory follow."""

    server: Server
    # An open account takes over a changed budget in the next batch that loads it. The books in memory have all accounts
    # in every batch and would be earlier, so budgets do not change here.
    LIMITS = tuple(kind for kind in LedgerRules.LIMITS if kind != "budget")

    # Only the database's clock moves time here, so there is no start to choose.
    @initialize(zone=st.sampled_from(("UTC", "Asia/Kathmandu", "America/New_York")), setup=calls.setups)
    def begin(self, zone: str, setup: list[Command]) -> None:
        self.name = f"tenant-{next(self.server.numbers)}"
        self.tenant = self.server.run(self.add_tenant(zone))
        self.clock = self.server.anchor
        prices = self.server.run(self.set_stand_in())
        self.open_books(zone, prices, self.server.anchor)
        self.memory.config = replace(self.memory.config, name=self.name)  # refusals name it
        self.memory.sequence = 1
        for command in setup:
            self.ask(command)
        self.commit(0)

    def ask(self, command: Command) -> None:
        # The database's clock goes on while hypothesis draws, and how fast must not decide which holds are open.
        if isinstance(command, Reserve | Extend):
            command = replace(command, ttl_seconds=max(command.ttl_seconds, 3_600))
        super().ask(command)

    async def add_tenant(self, zone: str) -> Any:
        async with self.server.database.reading() as connection:
            return await add_tenant(connection, self.name, zone)

    async def set_stand_in(self) -> PriceBook:
        """Let a price stand in, in a batch before all others, and return the tenant's price book."""
        rates = {"base": STAND_IN}
        command = SetPrice(_STAND_IN_KEY, b"x", "*", "*", rates, check_rates(rates), "root", self.server.anchor)
        answer = await self.server.commits.submit(self.tenant, command)
        assert isinstance(answer, Changed), answer
        await self.server.commits.drain()
        async with self.server.database.reading(self.tenant) as connection:
            return await load_tenant_book(connection, self.tenant, self.server.prices)

    @precondition(lambda self: any(hold["state"] == "held" for hold in self.model.holds.values()))
    @rule(pick=recent)
    def let_time_pass(self, pick: int) -> None:
        """Make a hold due, instead of waiting for it."""
        held = [number for number, hold in self.model.holds.items() if hold["state"] == "held"]
        number = held[-1 - pick % len(held)]
        due = self.clock - timedelta(seconds=1)
        update = "update reservations set expires_at = $3 where tenant_id = $1 and reservation_id = $2"
        assert self.server.run(self.server.owner.execute(update, self.tenant, number, due)) == "UPDATE 1"
        self.server.restart()  # the end of a hold never changes, so a process may remember it
        self.memory.rows.reservations[number].expires_at = self.model.holds[number]["expires_at"] = due

    @precondition(lambda self: any(type(command) in (Reserve, Record) for command in self.sent))
    @rule(data=st.data())
    def repeat_alone(self, data: st.DataObject) -> None:
        """Book a call, and send what has asked for it again, alone: the short way takes its key for a new one."""
        self.ask(data.draw(self.call("reserve")))
        self.commit(0)
        self.pending.append([command for command in self.sent if type(command) in (Reserve, Record)][-1])
        self.commit(0)

    def run_batch(
        self, batch: Sequence[Command], seconds: int
    ) -> list[tuple[datetime, Sequence[Command], Sequence[Outcome] | None]]:
        self.server.reports.clear()
        answers = self.server.run(self.submit(batch))
        decided: list[tuple[datetime, Sequence[Command], Sequence[Outcome] | None]] = []
        # A batch may be reported before the one that it was decided on top of.
        for report in sorted(self.server.reports, key=lambda report: report.decided[0][1]):
            ((tenant, now, _),) = report.decided
            assert tenant == self.tenant
            decided.append((now, [command for command, _ in report.outcomes], [out for _, out in report.outcomes]))
        # Every caller got the answer to its own command. Commands that came together have no fixed order: the halves
        # of a batch that failed may come after the next batch.
        answered = [
            (command, answer)
            for _, commands, outcomes in decided
            for command, answer in zip(commands, outcomes or (), strict=True)
        ]
        assert sorted(map(_ids, zip(batch, answers, strict=True))) == sorted(map(_ids, answered))
        seen["several batches"] += len(decided) > 1
        return decided

    async def submit(self, batch: Sequence[Command]) -> list[Outcome]:
        answers = await asyncio.gather(*(self.server.commits.submit(self.tenant, command) for command in batch))
        await self.server.commits.drain()
        return answers

    def after_commit(self) -> None:
        stored = self.server.run(stored_rows(self.server.owner, self.tenant))
        stored["keys"] = {name: row for name, row in stored["keys"].items() if _STAND_IN_KEY not in name}
        kept = kept_rows(self.memory)
        for table, rows in kept.items():
            named = stored[table].keys() | rows.keys()
            wrong = [(name, stored[table].get(name), rows.get(name)) for name in named]
            assert [row for row in wrong if row[1] != row[2]] == [], f"{table}: stored beside what the core decided"

    def teardown(self) -> None:
        super().teardown()
        report = self.server.run(verify(self.server.verified, self.name))
        assert report.clean, report.findings


def _ids(pair: tuple[Command, Outcome]) -> tuple[int, int]:
    command, answer = pair
    return id(command), id(answer)


def test_database_keeps_what_the_core_decided(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Decide ahead even if only one command waits.
    monkeypatch.setattr(group_commit, "MANY_OPERATIONS", 1)
    number = int(os.environ.get("TOKEN_LEDGER_SIMULATION_SEED", random.randrange(2**32)))
    # Few are kept, and the short way is tried again soon.
    for name, value in (("MOST_HOLDS", 6), ("MOST_RUNS", 3)):
        monkeypatch.setattr(kept_state, name, value)
    for name in ("PAUSE_AFTER_REFUSAL", "PAUSE_AFTER_UNUSUAL"):
        monkeypatch.setattr(one_statement, name, 1)
    monkeypatch.setattr(one_statement, "PAUSES", dict.fromkeys(Became, 1))
    server = Server(database_url, number)
    PostgresRules.server = server
    try:
        run_simulation(
            # Shrinking on a database takes minutes; the seed replays the example as it was found.
            PostgresRules, number, max_examples=200, stateful_step_count=20, phases=(Phase.generate,),
        )  # fmt: skip
    finally:
        server.close()
    reached = {kind for kind, count in seen.items() if count}
    assert reached >= {
        "granted",
        "denied",
        "settled",
        "recorded",
        "quarantined",
        "refused",
        "run",
        "budget",
        "replayed",
        "grant",
        "increase",
        "lease",
        "part",
        "changed",
        "preflight",
        "assumed",
    }
    assert server.became.keys() >= {"booked", "stale", "refused", "unusual"}, "what became of what was decided at once"
    assert server.became["booked"] > 30, server.became
