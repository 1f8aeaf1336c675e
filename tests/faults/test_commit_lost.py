"""The connection to PostgreSQL is lost at a commit: the answer is 503 `outcome_unknown`, and the key resolves it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.faults.clients import Caller, cost_nanos, money, reservation, settlement
from tests.faults.conftest import MakeCaller, service_processes
from tests.faults.journal import Journal
from tests.faults.processes import ANSWER_SECONDS, PATIENT, ServiceProcess
from tests.faults.proxy import At, DatabaseProxy


@pytest.fixture(scope="module")
async def proxy(shared_database_url: str) -> AsyncIterator[DatabaseProxy]:
    between = DatabaseProxy(shared_database_url)
    await between.start()
    yield between
    await between.stop()


@pytest.fixture(scope="module")
async def service(proxy: DatabaseProxy, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServiceProcess]:
    with service_processes(tmp_path_factory.mktemp("commit")) as start:
        started = start(proxy.url, command=PATIENT)
        await started.ready()
        yield started


@pytest.fixture
async def caller(shared_database_url: str, service: ServiceProcess, caller_of: MakeCaller) -> Caller:
    return await caller_of(shared_database_url, service)


@pytest.fixture
def journal(shared_database_url: str, caller: Caller) -> Journal:
    return Journal(shared_database_url, caller.tenant)


@pytest.mark.parametrize("at", At)
async def test_the_same_key_resolves_an_unknown_outcome_to_one_booking(
    at: At, proxy: DatabaseProxy, caller: Caller, journal: Journal
) -> None:
    booked_by_then = 1 if at is At.AFTER_COMMIT else 0
    cuts_before = proxy.cuts
    await caller.open_budget("ada", calls=3)

    reserve = "/v1/reservations", reservation("the call", user="ada")
    proxy.cut(at)
    check_unknown(await caller.post(*reserve))
    assert await journal.count("reservations") == booked_by_then
    held = await resolved(caller, *reserve, replayed=at is At.AFTER_COMMIT)
    assert await journal.count("reservations") == 1

    # An administrator's own keys are not among those that one statement may book.
    settle = f"/v1/reservations/{held['reservation_id']}/settle", {"idempotency_key": "mine", **settlement(400, 100)}
    proxy.cut(at)
    check_unknown(await caller.post(*settle))
    assert len(await journal.events()) == booked_by_then
    settled = await resolved(caller, *settle, replayed=at is At.AFTER_COMMIT)
    assert settled["cost"] == money(cost_nanos(400, 100))
    assert [event.event_id for event in await journal.events()] == [settled["event_id"]]

    released = (await caller.post("/v1/reservations", reservation("not made", user="ada"))).json()["reservation_id"]
    release = f"/v1/reservations/{released}/release", dict[str, Any]()
    proxy.cut(at)
    check_unknown(await caller.post(*release))
    assert (await resolved(caller, *release, replayed=at is At.AFTER_COMMIT))["state"] == "released"

    assert proxy.cuts == cuts_before + 3
    [account] = (await caller.get("/v1/accounts")).json()["accounts"]
    assert account["balance"]["settled"]["calls"] == 1
    assert account["balance"]["held"] == {"tokens": 0, "cost": money(0), "calls": 0}
    await journal.adds_up()


@pytest.mark.parametrize("at", At)
async def test_a_lost_denial_is_answered_again_as_the_same_denial(
    at: At, proxy: DatabaseProxy, caller: Caller, journal: Journal
) -> None:
    await caller.open_budget("ada", calls=0)
    body = reservation("the call", user="ada")
    proxy.cut(at)
    check_unknown(await caller.post("/v1/reservations", body))
    denial = await caller.insist("/v1/reservations", body)
    assert (denial.status_code, denial.json()["replayed"]) == (402, at is At.AFTER_COMMIT)
    assert await journal.count("denials") == 1


@pytest.mark.parametrize("at", At)
async def test_every_caller_of_a_lost_batch_gets_503_and_each_key_books_once(
    at: At, proxy: DatabaseProxy, caller: Caller, journal: Journal
) -> None:
    """Forty callers wait for a lock, so that one commit has the first call and another all the others."""
    await caller.open_budget("ada", calls=25)
    bodies = [reservation(f"call-{number}", user="ada") for number in range(40)]
    async with journal.locked():
        first = asyncio.create_task(caller.post("/v1/reservations", bodies[0]))
        await journal.waiting()
        others = [asyncio.create_task(caller.post("/v1/reservations", body)) for body in bodies[1:]]
        await caller.accepted(len(bodies))
        proxy.cut(at, times=2)
    for answer in await asyncio.gather(first, *others):
        check_unknown(answer)
    booked = await journal.count("reservations"), await journal.count("denials")
    assert booked == ((25, 15) if at is At.AFTER_COMMIT else (0, 0))
    again = await asyncio.gather(*(caller.insist("/v1/reservations", body) for body in bodies))
    assert sorted(answer.status_code for answer in again) == [201] * 25 + [402] * 15
    assert await journal.count("reservations") == 25
    assert await journal.count("denials") == 15
    await journal.adds_up()


@pytest.mark.parametrize("at", At)
async def test_a_call_whose_one_statement_is_lost_is_resolved_at_once(
    at: At, proxy: DatabaseProxy, caller: Caller, journal: Journal
) -> None:
    """All commands of such a batch have keys, so it is run again, and they tell whether it was booked."""
    await caller.open_budget("ada", calls=9)
    held = [(await caller.post("/v1/reservations", reservation(f"{n}", user="ada"))).json() for n in range(4)]
    paths = [f"/v1/reservations/{each['reservation_id']}/settle" for each in held]
    at_once = 0
    for path in paths:
        proxy.cut(at)
        settled = await caller.post(path, settlement(400, 100))
        if settled.status_code == 503:  # on a slow machine it may have been booked under the lock
            check_unknown(settled)
            settled = await caller.insist(path, settlement(400, 100))
        else:
            at_once += 1
            assert at is At.AFTER_COMMIT or not settled.json()["replayed"]
        assert settled.status_code == 200, settled.text
    assert at_once
    assert len(await journal.events()) == 4
    await journal.adds_up()


async def test_a_connection_lost_before_the_commit_is_not_noticed_by_the_caller(
    caller: Caller, journal: Journal
) -> None:
    """If a pooled connection was stale, the batch is run again at once."""
    assert (await caller.post("/v1/reservations", reservation("warm", user="ada"))).status_code == 201
    await journal.end_writers()
    answer = await caller.post("/v1/reservations", reservation("after", user="ada"))
    assert (answer.status_code, answer.json()["replayed"]) == (201, False)
    assert await journal.count("reservations") == 2
    await journal.adds_up()


def check_unknown(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "outcome_unknown"
    assert int(answer.headers["retry-after"]) <= ANSWER_SECONDS


async def resolved(caller: Caller, path: str, body: dict[str, Any], *, replayed: bool) -> dict[str, Any]:
    """Send the same key twice more: the first may be new, the second is a repetition."""
    first = await caller.post(path, body)
    second = await caller.post(path, body)
    assert first.status_code in (200, 201), first.text
    assert first.json() | {"replayed": True} == second.json()
    assert first.json()["replayed"] is replayed
    value: dict[str, Any] = first.json()
    return value
