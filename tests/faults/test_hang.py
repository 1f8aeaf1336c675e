"""PostgreSQL hangs: connections stay open and nothing answers. Callers get 503 in bounded time, and then go on."""

import asyncio
import time

import httpx2

from tests.faults.clients import reservation
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import ANSWER_SECONDS
from tests.faults.proxy import DatabaseProxy


async def test_a_hanging_database_is_503_in_bounded_time_for_every_kind_of_request(
    database_url: str, proxy: DatabaseProxy, start_service: StartService, caller_of: MakeCaller
) -> None:
    await proxy.start()
    service = start_service(proxy.url)
    await service.ready()
    caller = await caller_of(database_url, service)
    stranger = await caller_of(database_url, service)
    # Connections of both pools are open and will go stale.
    warm = [caller.post("/v1/reservations", reservation(f"warm-{number}", user="ada")) for number in range(8)]
    assert {answer.status_code for answer in await asyncio.gather(*warm)} == {201}
    reads = await asyncio.gather(*(caller.get("/v1/accounts") for _ in range(8)))
    assert {answer.status_code for answer in reads} == {200}

    proxy.hang()
    bodies = [reservation(f"call-{number}", user="ada") for number in range(8)]
    started = time.monotonic()
    requests = [
        *(caller.post("/v1/reservations", body) for body in bodies),
        caller.get("/v1/accounts"),
        caller.get("/v1/runs"),
        stranger.post("/v1/reservations", bodies[0]),
        caller.get("/readyz"),
    ]
    for answer in await asyncio.gather(*(asyncio.ensure_future(request) for request in requests)):
        check_unavailable(answer)
    assert time.monotonic() - started < ANSWER_SECONDS
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
    database_url: str, proxy: DatabaseProxy, start_service: StartService, caller_of: MakeCaller
) -> None:
    await proxy.start()
    service = start_service(proxy.url)
    await service.ready()
    caller = await caller_of(database_url, service)
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
