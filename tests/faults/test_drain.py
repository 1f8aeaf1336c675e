"""SIGTERM: accepted requests are answered, new ones refused, streams end, and the process exits with status 0."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.faults.clients import Caller, reservation, settlement
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import PATIENCE_SECONDS, ServiceProcess, wait_until

DRAIN_SECONDS = 3_600
"""Longer than any test waits for the end of the service, so one that has ended did not wait for that time to pass."""


@pytest.fixture
async def service(database_url: str, start_service: StartService) -> ServiceProcess:
    started = start_service(database_url, drain_seconds=str(DRAIN_SECONDS))
    await started.ready()
    return started


@pytest.fixture
async def caller(database_url: str, service: ServiceProcess, caller_of: MakeCaller) -> Caller:
    return await caller_of(database_url, service)


async def test_requests_under_way_are_answered_and_new_ones_are_refused(
    database_url: str, service: ServiceProcess, caller: Caller
) -> None:
    journal = Journal(database_url, caller.tenant)
    bodies = [reservation(f"call-{number}", user="ada") for number in range(30)]
    half = asyncio.Event()
    requests = [asyncio.create_task(caller.post_in_halves("/v1/reservations", body, half)) for body in bodies]
    await caller.accepted(0, halves=len(bodies))
    service.terminate()
    await nobody_listens(service)
    with pytest.raises(httpx2.ConnectError):
        await caller.get("/healthz")
    assert service.running
    assert not any(request.done() for request in requests)
    half.set()
    answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers] == [201] * len(bodies)
    assert await service.exit_status(PATIENCE_SECONDS) == 0
    assert await journal.count("reservations") == len(bodies)
    await journal.adds_up()


async def test_a_batch_under_way_is_committed_or_rolled_back_and_its_callers_are_told(
    database_url: str, service: ServiceProcess, caller: Caller
) -> None:
    """The batch waits for a lock while the service is told to stop; after five seconds it may give up with 503."""
    journal = Journal(database_url, caller.tenant)
    bodies = [reservation(f"call-{number}", user="ada") for number in range(30)]
    async with journal.locked():
        requests = [asyncio.create_task(caller.post("/v1/reservations", body)) for body in bodies]
        await caller.accepted(len(bodies))
        service.terminate()
        await nobody_listens(service)
    answers = await asyncio.gather(*requests)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {201, 503}
    assert await service.exit_status(PATIENCE_SECONDS) == 0
    assert await journal.count("reservations") == statuses.count(201)
    await journal.adds_up()


async def test_live_streams_end_after_showing_what_was_booked(service: ServiceProcess, caller: Caller) -> None:
    shown: list[list[Any]] = [[] for _ in range(5)]
    streams = [asyncio.create_task(caller.live_events(0, seen)) for seen in shown]
    held = await caller.post("/v1/reservations", reservation("the call", user="ada"))
    settled = await caller.post(f"/v1/reservations/{held.json()['reservation_id']}/settle", settlement(400, 100))

    async def every_stream_has_shown_it() -> bool:
        return all(shown)

    await wait_until(every_stream_has_shown_it, PATIENCE_SECONDS, "every stream shows the call")
    service.terminate()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*streams)  # each ended properly: a cut connection raises
    assert await service.exit_status(PATIENCE_SECONDS) == 0
    assert [[event["event_id"] for event in seen] for seen in shown] == [[settled.json()["event_id"]]] * 5


async def test_an_idle_service_exits_at_once(service: ServiceProcess, caller: Caller) -> None:
    """A connection that a client keeps open for its next call delays nothing."""
    assert (await caller.get("/v1/runs")).status_code == 200
    service.terminate()
    assert await service.exit_status(PATIENCE_SECONDS) == 0


async def nobody_listens(service: ServiceProcess) -> None:
    async def is_refused() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    await wait_until(is_refused, PATIENCE_SECONDS, "new connections are refused")
