"""Many callers at once, through several processes, compete for a budget that only some of them fit into."""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.faults.clients import Caller, cost_nanos, money, reservation, settlement
from tests.faults.conftest import MakeCaller
from tests.faults.journal import Journal
from tests.faults.processes import ServiceProcess

Pair = tuple[ServiceProcess, ServiceProcess]

CALLERS = 240
ROUNDS = 3
HELD_TOKENS = 1_500
HELD_NANOS = cost_nanos(1_000, 500)


@dataclass(frozen=True, slots=True)
class Contest:
    """A budget that exactly `winners` callers fit into, and the figures of a refusal once it is full."""

    unit: str
    winners: int
    limits: dict[str, Any]
    refused: dict[str, Any]


def contests() -> list[Contest]:
    """Return a contest per unit; in tokens and money, one more unit would fit another call."""
    tokens = 83 * HELD_TOKENS + HELD_TOKENS - 1
    nanos = 101 * HELD_NANOS + HELD_NANOS - 1
    return [
        Contest("calls", 57, {"calls": 57}, {"limit": 57, "held": 57, "available": 0, "requested": 1}),
        Contest(
            "tokens", 83, {"tokens": tokens},
            {"limit": tokens, "held": 83 * HELD_TOKENS, "available": HELD_TOKENS - 1, "requested": HELD_TOKENS},
        ),
        Contest(
            "cost", 101, {"cost": money(nanos)},
            {
                "limit": money(nanos), "held": money(101 * HELD_NANOS),
                "available": money(HELD_NANOS - 1), "requested": money(HELD_NANOS),
            },
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("contest", contests(), ids=lambda contest: contest.unit)
async def test_exactly_as_many_calls_are_granted_as_fit(
    contest: Contest, shared_database_url: str, pair: Pair, caller_of: MakeCaller
) -> None:
    caller = await caller_of(shared_database_url, *pair)
    journal = Journal(shared_database_url, caller.tenant)
    for number in range(ROUNDS):
        user = f"round-{number}"
        await caller.open_budget(user, **contest.limits)
        answers = await all_at_once(caller, user)
        assert Counter(answer.status_code for answer in answers) == {
            201: contest.winners,
            402: CALLERS - contest.winners,
        }
        for answer in answers:
            if answer.status_code == 402:
                check_denial(answer.json(), contest, user)
        assert len({answer.json()["reservation_id"] for answer in answers if answer.status_code == 201}) == (
            contest.winners
        )
    assert await journal.count("reservations") == ROUNDS * contest.winners
    assert await journal.count("denials") == ROUNDS * (CALLERS - contest.winners)
    await journal.adds_up()


async def test_room_freed_by_settles_is_granted_again_but_never_twice(
    shared_database_url: str, pair: Pair, caller_of: MakeCaller
) -> None:
    """Every call holds 1,500 tokens and uses 500, so settles free room while others ask for it.

    The last granted call finds 1,500 available and leaves 1,000: that makes 58 calls, in any order.
    """
    caller = await caller_of(shared_database_url, *pair)
    await caller.open_budget("ada", tokens=30_000)

    async def agent(number: int) -> int:
        granted = 0
        for attempt in itertools.count():
            answer = await caller.insist("/v1/reservations", reservation(f"{number}-{attempt}", user="ada"))
            if answer.status_code == 201:
                granted += 1
                path = f"/v1/reservations/{answer.json()['reservation_id']}/settle"
                settled = await caller.insist(path, settlement(400, 100))
                assert settled.status_code == 200, settled.text
            elif answer.json()["refusals"][0]["held"] == 0:
                break  # no hold is open that could still free room
        return granted

    assert sum(await asyncio.gather(*(agent(number) for number in range(60)))) == 58
    [account] = (await caller.get("/v1/accounts")).json()["accounts"]
    assert account["balance"]["settled"] == {"tokens": 29_000, "cost": money(58 * cost_nanos(400, 100)), "calls": 58}
    assert account["balance"]["held"]["calls"] == 0
    journal = Journal(shared_database_url, caller.tenant)
    assert [event.cost_nanos for event in await journal.events()] == [cost_nanos(400, 100)] * 58
    await journal.adds_up()


async def test_one_key_from_many_callers_is_one_hold(
    shared_database_url: str, pair: Pair, caller_of: MakeCaller
) -> None:
    caller = await caller_of(shared_database_url, *pair)
    await caller.open_budget("ada", calls=1)
    body = reservation("the same", user="ada")
    answers = await asyncio.gather(*(caller.insist("/v1/reservations", body) for _ in range(CALLERS)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["reservation_id"] for answer in answers}) == 1
    # A busy service may close a connection that it kept, and then the first answer may be lost.
    assert [answer.json()["replayed"] for answer in answers].count(False) == 1 or caller.lost
    path = f"/v1/reservations/{answers[0].json()['reservation_id']}/settle"
    settled = await asyncio.gather(*(caller.insist(path, settlement(900, 100)) for _ in range(CALLERS)))
    assert {answer.status_code for answer in settled} == {200}
    assert len({answer.json()["event_id"] for answer in settled}) == 1
    journal = Journal(shared_database_url, caller.tenant)
    assert [event.cost_nanos for event in await journal.events()] == [cost_nanos(900, 100)]
    await journal.adds_up()


async def test_a_hold_ended_by_one_process_is_ended_for_the_other(
    shared_database_url: str, pair: Pair, caller_of: MakeCaller
) -> None:
    """A process remembers the holds that it granted, but must respect what another process did to them since."""
    caller = await caller_of(shared_database_url, *pair)
    await caller.open_budget("ada", calls=3)
    made = [await caller.post("/v1/reservations", reservation(f"call-{n}", user="ada"), via=0) for n in range(3)]
    paths = [f"/v1/reservations/{answer.json()['reservation_id']}" for answer in made]
    settled = await caller.post(f"{paths[0]}/settle", settlement(400, 100), via=1)
    released = await caller.post(f"{paths[1]}/release", {}, via=1)
    assert (settled.status_code, released.status_code) == (200, 200)

    again = await caller.post(f"{paths[0]}/settle", settlement(400, 100), via=0)
    assert again.json() == settled.json() | {"replayed": True}
    other_key = {"idempotency_key": "another", **settlement(400, 100)}
    ended = [
        await caller.post(f"{paths[0]}/settle", other_key, via=0),
        await caller.post(f"{paths[0]}/release", {}, via=0),
        await caller.post(f"{paths[1]}/settle", settlement(400, 100), via=0),
    ]
    assert [answer.json()["code"] for answer in ended] == ["reservation_not_open"] * 3
    # A hold that is released is as a release wants it, whatever its key.
    released_again = await caller.post(f"{paths[1]}/release", {"idempotency_key": "another"}, via=0)
    assert released_again.json() == released.json() | {"replayed": True}
    assert (await caller.post(f"{paths[2]}/settle", settlement(900, 100), via=0)).status_code == 200
    journal = Journal(shared_database_url, caller.tenant)
    assert [event.cost_nanos for event in await journal.events()] == [cost_nanos(400, 100), cost_nanos(900, 100)]
    [account] = (await caller.get("/v1/accounts")).json()["accounts"]
    assert (account["balance"]["settled"]["calls"], account["balance"]["held"]["calls"]) == (2, 0)
    await journal.adds_up()


async def all_at_once(caller: Caller, user: str) -> list[httpx2.Response]:
    """Let all callers reserve at the same moment, alternating between the processes."""
    return await asyncio.gather(
        *(
            caller.insist("/v1/reservations", reservation(f"{user}:{number}", user=user), via=number % 2)
            for number in range(CALLERS)
        )
    )


def check_denial(problem: dict[str, Any], contest: Contest, user: str) -> None:
    """Check that a refusal names the budget and has the figures at the time of the decision."""
    assert problem["code"] == "budget_exceeded"
    assert problem["directive"] == {"stop": True}
    [refusal] = problem["refusals"]
    assert (refusal["budget"], refusal["unit"]) == (user, contest.unit)
    assert refusal["subject"] == {"agent_type": "data_agent"}
    assert refusal["enforcement"] == "hard"
    assert {name: refusal[name] for name in contest.refused} == contest.refused
