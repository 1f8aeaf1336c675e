"""Agents and the service are killed: every call that an agent was answered is booked exactly once."""

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from token_ledger_sdk import TokenLedger
from token_ledger_sdk.spool.survey import survey

from tests.faults.agent import AGENTS, DENIED, LEASED, POOR
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import PATIENCE_SECONDS, PEPPER, ServiceProcess, wait_until
from tests.faults.workload import SEED
from token_ledger.cli.keys import make_key
from token_ledger.config import Settings
from token_ledger.core.model.principal import Role

PROCESSES = 20 // AGENTS
ROUNDS = 3


class Agents:
    """Processes of agents, with a spool of their own and a file for what they were answered."""

    def __init__(self, directory: Path, url: str, key: str) -> None:
        self.spool = directory / "spool"
        self._journal = directory / "answered"
        self._journal.touch()
        self._environment = {
            **os.environ, "TOKEN_LEDGER_URL": url, "TOKEN_LEDGER_KEY": key, "TOKEN_LEDGER_SPOOL": str(self.spool)
        }  # fmt: skip
        self.started = 0
        self.alive: dict[subprocess.Popen[bytes], int] = {}

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.agent", str(self.started), str(self._journal)]
        self.alive[subprocess.Popen(command, env=self._environment, stdin=subprocess.PIPE)] = self.started
        self.started += 1

    def kill(self, victim: subprocess.Popen[bytes]) -> None:
        del self.alive[victim]
        victim.kill()
        victim.wait(PATIENCE_SECONDS)
        assert victim.stdin is not None
        victim.stdin.close()

    def kill_all(self) -> None:
        for victim in [*self.alive]:
            self.kill(victim)

    def answered(self) -> Counter[str]:
        """Return what was written down, and how often; a line that is not whole was not written down."""
        return Counter(self._journal.read_text().rpartition("\n")[0].split("\n")) - Counter([""])

    async def go_on(self, lines: int) -> None:
        """Wait until so many more calls were answered."""
        before = self.answered().total()

        async def have() -> bool:
            assert all(each.poll() is None for each in self.alive), "an agent ended by itself"
            return self.answered().total() >= before + lines

        await wait_until(have, PATIENCE_SECONDS, "the agents go on")

    async def have_leases(self) -> None:
        """Wait until all processes have made calls from leases: one that has just begun can't go on by itself."""

        async def have() -> bool:
            made = Counter(name.rpartition("-")[0] for name in self.answered().elements())
            return all(made[f"{number}-{LEASED}"] > 1 for number in self.alive.values())

        await wait_until(have, PATIENCE_SECONDS, "all have leases")

    async def are_denied(self) -> None:
        """Wait until a call was denied."""

        async def was_denied() -> bool:
            return self.answered()[DENIED] > 0

        await wait_until(was_denied, PATIENCE_SECONDS, "a budget is used up")


@pytest.fixture
def agents_of(tmp_path: Path) -> Iterator[list[Agents]]:
    """Keeps the agents that a test makes, to end them."""
    made: list[Agents] = []
    yield made
    for each in made:
        each.kill_all()


async def service_of(database_url: str, start_service: StartService) -> ServiceProcess:
    service = start_service(database_url)
    await service.ready()
    return service


async def test_killed_agents_and_services_lose_no_call_and_book_none_twice(
    database_url: str, start_service: StartService, caller_of: MakeCaller, agents_of: list[Agents], tmp_path: Path
) -> None:
    print(f"TOKEN_LEDGER_FAULT_SEED={SEED}")
    service = await service_of(database_url, start_service)
    caller = await caller_of(database_url, service)
    limit_tokens = 400
    await caller.open_budget(POOR, tokens=limit_tokens)
    agents = Agents(tmp_path, service.url, caller.key)
    agents_of.append(agents)
    for _ in range(PROCESSES):
        agents.start()
    chance = random.Random(SEED)
    journal = Journal(database_url, caller.tenant)
    for _ in range(ROUNDS):
        await agents.go_on(chance.randrange(1, 60))
        await books_more(journal, chance.randrange(1, 60))
        await agents.have_leases()
        service.kill()
        await agents.go_on(1)  # from a lease, while the service is away
        for victim in chance.sample([*agents.alive], 2):
            agents.kill(victim)
        service.start()
        await service.ready()
        for _ in range(2):
            agents.start()
        await agents.go_on(chance.randrange(1, 60))
        agents.kill(chance.choice([*agents.alive]))
        agents.start()
    await books_more(journal, 20)
    await agents.are_denied()
    await agents.have_leases()
    service.kill()
    await agents.go_on(1)
    agents.kill_all()  # so what they were answered now is not booked yet
    service.start()
    await service.ready()
    settings = Settings(key_pepper=SecretStr(PEPPER))
    # Of the same role: the service keeps the idempotency keys of admins and agents apart.
    newer_key = await make_key(settings, database_url, caller.tenant, Role.ADMIN, "newer")
    await heir_sends(agents.spool, service.url, newer_key)
    await all_is_booked(agents.answered(), journal)
    [(settled,)] = await journal.rows(
        "coalesce(sum(input_tokens + output_tokens), 0)::bigint", "usage_events", f"user_id = '{POOR}'"
    )
    assert 0 < settled <= limit_tokens


async def books_more(journal: Journal, events: int) -> None:
    """Wait until so many more calls are booked, by those who made them or their heirs."""
    before = await journal.count("usage_events")

    async def has() -> bool:
        return await journal.count("usage_events") >= before + events

    await wait_until(has, PATIENCE_SECONDS, "calls are booked")


async def heir_sends(spool: Path, url: str, key: str) -> None:
    """Let a new client with this key, which was not used on this machine yet, send what the dead have left."""

    def send() -> None:
        with TokenLedger(url, key, spool=spool) as ledger:
            ledger.flush()

    assert any(each.records for each in survey(spool)), "the dead left nothing"
    await asyncio.to_thread(send)
    left = [each for each in survey(spool) if each.records]
    assert left == []


async def all_is_booked(answered: Counter[str], journal: Journal) -> None:
    """Check that each call that was answered is booked once, and no call twice."""
    calls = {name for name in answered if name != DENIED}
    booked = Counter(name for (name,) in await journal.rows("response_id", "usage_events"))
    faults = {
        "lost": len(calls - booked.keys()),
        "double": sum(number > 1 for number in booked.values()),
        "unbooked": await journal.count("quarantine"),
    }
    print(f"{len(calls)} calls answered, {booked.total()} booked: {faults}")
    assert faults == {"lost": 0, "double": 0, "unbooked": 0}
    await journal.adds_up()
