"""Tenants share a process: one whose lock another session holds delays only itself.

The lock is held until the others are answered, and the batches of PATIENT wait for it without end. So a call that
waited for it would never be answered, and no time needs to be measured.
"""

import asyncio

import httpx2

from tests.faults.clients import Caller, reservation
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import PATIENT, ServiceProcess

CALLERS = 8
CALLS = 25


async def test_a_tenant_whose_lock_is_held_elsewhere_delays_only_itself(
    shared_database_url: str, start_service: StartService, caller_of: MakeCaller
) -> None:
    service = start_service(shared_database_url, command=PATIENT)
    await service.ready()
    held = await caller_of(shared_database_url, service)
    hot = [await caller_of(shared_database_url, service) for _ in range(2)]
    journal = Journal(shared_database_url, held.tenant)
    async with journal.locked():
        waiting = [asyncio.create_task(held.post("/v1/reservations", body(f"held-{n}"))) for n in range(CALLERS)]
        await journal.waiting()
        agents = [agent(tenant, number) for tenant in hot for number in range(CALLERS)]
        await asyncio.gather(*agents)
        assert not any(call.done() for call in waiting)
    answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in answers] == [201] * CALLERS
    for tenant, calls in ((held, CALLERS), (hot[0], CALLERS * CALLS), (hot[1], CALLERS * CALLS)):
        journal = Journal(shared_database_url, tenant.tenant)
        assert await journal.count("reservations") == calls
        await journal.adds_up()


async def test_a_batch_of_many_tenants_leaves_out_one_whose_lock_is_held_elsewhere(
    shared_database_url: str, start_service: StartService, caller_of: MakeCaller
) -> None:
    """Two tenants block both writers, so that the calls of two more tenants wait and form one batch."""
    service = start_service(shared_database_url, command=PATIENT, writer_connections="2")
    await service.ready()
    first, second, held, free = [await caller_of(shared_database_url, service) for _ in range(4)]
    locks = [Journal(shared_database_url, tenant.tenant) for tenant in (first, second, held)]

    async def calls(tenant: Caller) -> asyncio.Task[httpx2.Response]:
        call = asyncio.create_task(tenant.post("/v1/reservations", body("the call")))
        await tenant.accepted(1)
        return call

    async with locks[1].locked(), locks[2].locked():
        async with locks[0].locked():
            waiting = [await calls(first), await calls(second)]
            await locks[0].waiting(batches=2)
            waiting += [await calls(held), await calls(free)]
            assert not any(call.done() for call in waiting)
        answered = await asyncio.gather(waiting[0], waiting[3])
        assert [answer.status_code for answer in answered] == [201, 201]
        assert not any(call.done() for call in waiting[1:3])
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {201}


async def test_a_lock_that_is_never_released_is_503_and_nothing_is_booked(
    shared_database_url: str, pair: tuple[ServiceProcess, ServiceProcess], caller_of: MakeCaller
) -> None:
    caller = await caller_of(shared_database_url, pair[0])
    journal = Journal(shared_database_url, caller.tenant)
    async with journal.locked():
        answer = await caller.post("/v1/reservations", body("the call"))
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert await journal.count("reservations") == 0
    again = await caller.insist("/v1/reservations", body("the call"))
    assert (again.status_code, again.json()["replayed"]) == (201, False)


async def agent(tenant: Caller, number: int) -> None:
    for call in range(CALLS):
        answer = await tenant.post("/v1/reservations", body(f"{number}-{call}"))
        assert answer.status_code == 201, answer.text


def body(key: str) -> dict[str, object]:
    return reservation(key, user="ada")
