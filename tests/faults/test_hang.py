"""PostgreSQL hangs: connections stay open and nothing answers. Callers get 503 in bounded time, and then go on.

The time is bounded by the callers: they wait for an answer for ANSWER_SECONDS and no longer.
"""

import asyncio

import httpx2
import pytest

from tests.faults.clients import Caller, reservation
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import ServiceProcess
from tests.faults.proxy import DatabaseProxy


@pytest.fixture
async def service(proxy: DatabaseProxy, start_service: StartService) -> ServiceProcess:
    await proxy.start()
    started = start_service(proxy.url)
    await started.ready()
    return started


@pytest.fixture
async def caller(database_url: str, service: ServiceProcess, caller_of: MakeCaller) -> Caller:
    return await caller_of(database_url, service)


async def test_a_hanging_database_is_503_in_bounded_time_for_every_kind_of_request(
    database_url: str, proxy: DatabaseProxy, service: ServiceProcess, caller: Caller, caller_of: MakeCaller
) -> None:
    stranger = await caller_of(database_url, service)
    # Open the connections of both pools, so that they are stale later.
    warm = [caller.post("/v1/reservations", reservation(f"warm-{number}", user="ada")) for number in range(8)]
    assert {answer.status_code for answer in await asyncio.gather(*warm)} == {201}
    reads = await asyncio.gather(*(caller.get("/v1/accounts") for _ in range(8)))
    assert {answer.status_code for answer in reads} == {200}

    proxy.hang()
    bodies = [reservation(f"call-{number}", user="ada") for number in range(8)]
    requests = [
        *(caller.post("/v1/reservations", body) for body in bodies),
        caller.get("/v1/accounts"),
        caller.get("/v1/runs"),
        stranger.post("/v1/reservations", bodies[0]),
    ]
    for answer in await asyncio.gather(*(asyncio.ensure_future(request) for request in requests)):
        check_unavailable(answer)
    # Asked after those, because what it said in the second before is good for a second.
    check_unavailable(await caller.get("/readyz"))
    assert (await caller.get("/healthz")).status_code == 200

    proxy.flow()
    await service.ready()
    answers = await asyncio.gather(*(caller.insist("/v1/reservations", body) for body in bodies))
    assert {answer.status_code for answer in answers} == {201}
    journal = Journal(database_url, caller.tenant)
    assert await journal.count("reservations") == 16
    await journal.adds_up()


def check_unavailable(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "unavailable"
    assert answer.headers["retry-after"] == "1"


async def test_a_commit_that_is_never_answered_has_an_unknown_outcome(
    database_url: str, proxy: DatabaseProxy, caller: Caller
) -> None:
    body = reservation("the call", user="ada")
    proxy.hang_at_commit(reaches_server=True)
    answer = await caller.post("/v1/reservations", body)
    assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
    journal = Journal(database_url, caller.tenant)
    assert await journal.count("reservations") == 1
    proxy.flow()
    again = await caller.insist("/v1/reservations", body)
    assert (again.status_code, again.json()["replayed"]) == (201, True)
    await journal.adds_up()
