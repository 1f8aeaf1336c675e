"""A workload of agents: they reserve and then settle, release or abandon the hold, and report calls without a hold.

Every agent has its own random generator, so the seed decides what is requested; which process answers, and when, is
left to chance. Each request is repeated with its key until it is answered, and every acknowledgment is remembered.
"""

import asyncio
import os
import random
from dataclasses import dataclass, field
from typing import Final

from tests.faults import clients
from tests.faults.journal import Journal

SEED: Final = int(os.environ.get("TOKEN_LEDGER_FAULT_SEED") or random.SystemRandom().randrange(2**32))
"""Set TOKEN_LEDGER_FAULT_SEED to the printed number to repeat the same requests."""
ABANDONED_SECONDS: Final = 2
"""The time to live of abandoned holds."""


@dataclass(slots=True)
class Workload:
    """Agents that call until told to stop, and everything that was acknowledged to them."""

    caller: clients.Caller
    agents: int
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    settled: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Reservation to its event and the expected cost."""
    recorded: dict[str, int] = field(default_factory=dict)
    """Event without a hold to its expected cost."""
    parts: dict[str, int] = field(default_factory=dict)
    """Event that did not end its hold to its expected cost."""
    released: set[str] = field(default_factory=set)
    abandoned: set[str] = field(default_factory=set)
    granted: dict[str, str] = field(default_factory=dict)
    """Key of a reserve to its reservation."""
    denied: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Run all agents until `stopping` is set; each finishes its current call."""
        print(f"TOKEN_LEDGER_FAULT_SEED={SEED}")
        async with asyncio.TaskGroup() as group:
            for number in range(self.agents):
                group.create_task(self._agent(number))

    @property
    def acknowledged(self) -> int:
        """How many operations were answered."""
        done = (self.granted, self.settled, self.parts, self.released, self.recorded, self.denied)
        return sum(len(each) for each in done)

    async def _agent(self, number: int) -> None:
        chance = random.Random(f"{SEED}:{number}")
        call = 0
        while not self.stopping.is_set():
            call += 1
            kind = chance.random()
            if kind < 0.15:
                await self._record(f"{number}:{call}", chance)
            elif kind < 0.25:
                await self._lease(f"{number}:{call}", chance)
            else:
                await self._call(f"{number}:{call}", chance)

    async def _call(self, key: str, chance: random.Random) -> None:
        ending = chance.choices(("settle", "release", "abandon"), (8, 1, 1))[0]
        input_tokens, output_tokens = chance.randrange(1, 3_000), chance.randrange(0, 1_000)
        ttl = ABANDONED_SECONDS if ending == "abandon" else 300
        user = f"user-{chance.randrange(5)}"
        answer = await self.caller.insist("/v1/reservations", clients.reservation(key, user=user, ttl_seconds=ttl))
        if answer.status_code == 402:
            self.denied.add(answer.json()["denial_id"])
            return
        assert answer.status_code == 201, answer.text
        hold = self.granted[key] = answer.json()["reservation_id"]
        await self._end(hold, ending, input_tokens, output_tokens)

    async def _end(self, hold: str, ending: str, input_tokens: int, output_tokens: int) -> None:
        """Settle, release or abandon a hold."""
        if ending == "abandon":
            self.abandoned.add(hold)
        elif ending == "release":
            released = await self.caller.insist(f"/v1/reservations/{hold}/release", {})
            assert released.status_code == 200, released.text
            self.released.add(hold)
        else:
            path = f"/v1/reservations/{hold}/settle"
            settled = await self.caller.insist(path, clients.settlement(input_tokens, output_tokens))
            assert settled.status_code == 200, settled.text
            cost = clients.cost_nanos(input_tokens, output_tokens)
            assert settled.json()["cost"] == clients.money(cost)
            self.settled[hold] = settled.json()["event_id"], cost

    async def _lease(self, key: str, chance: random.Random) -> None:
        """Make several calls on one lease, then settle, release or abandon it."""
        ending = chance.choice(("settle", "release", "abandon"))
        ttl = ABANDONED_SECONDS if ending == "abandon" else 300
        body = clients.reservation(key, user=f"user-{chance.randrange(5)}", ttl_seconds=ttl) | {"calls": 4}
        answer = await self.caller.insist("/v1/leases", body)
        if answer.status_code == 402:
            self.denied.add(answer.json()["denial_id"])
            return
        assert answer.status_code == 201, answer.text
        hold = self.granted[key] = answer.json()["lease_id"]
        path = f"/v1/reservations/{hold}/settle"
        for call in range(3):
            input_tokens, output_tokens = chance.randrange(1, 1_000), chance.randrange(0, 500)
            part = clients.settlement(input_tokens, output_tokens) | {"part": True, "idempotency_key": f"{key}/{call}"}
            drawn = await self.caller.insist(path, part)
            assert drawn.status_code == 200, drawn.text
            self.parts[drawn.json()["event_id"]] = clients.cost_nanos(input_tokens, output_tokens)
        await self._end(hold, ending, 10, 10)

    async def _record(self, key: str, chance: random.Random) -> None:
        input_tokens, output_tokens = chance.randrange(1, 3_000), chance.randrange(0, 1_000)
        event = {"source": "gateway", "idempotency_key": key, "user": "user-0", "agent_type": "report_agent"}
        body = {"events": [{**event, **clients.MODEL, **clients.settlement(input_tokens, output_tokens)}]}
        answer = await self.caller.insist("/v1/events", body)
        [result] = answer.json()["results"]
        assert result["status"] == "booked", result
        self.recorded[result["event_id"]] = clients.cost_nanos(input_tokens, output_tokens)

    async def is_booked(self, journal: Journal) -> None:
        """Check, once every agent has finished, that the books hold exactly what was acknowledged, once each."""
        await journal.holds_are_gone()
        events = await journal.events()
        expected = [*self.settled.values(), *self.recorded.items(), *self.parts.items()]
        assert sorted((event.event_id, event.cost_nanos) for event in events) == sorted(expected)
        by_hold = {
            event.reservation_id: event.event_id
            for event in events
            if event.reservation_id is not None and event.event_id not in self.parts
        }
        assert by_hold == {hold: event for hold, (event, _) in self.settled.items()}
        states = dict(await journal.rows("reservation_id::text, state", "reservations"))
        wanted = dict.fromkeys(self.settled, "settled") | dict.fromkeys(self.released, "released")
        assert states == wanted | dict.fromkeys(self.abandoned, "expired")
        assert len(states) == len(self.granted), "every granted key has its own hold"
        assert set(dict(await journal.rows("denial_id::text, code", "denials"))) == self.denied
        await journal.adds_up()
