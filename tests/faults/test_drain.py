"""SIGTERM: what was accepted is answered, nothing new is taken, streams end, the process leaves with status 0."""

import asyncio
import time
from typing import Any

import httpx2
import pytest

from tests.faults.clients import Caller, reservation, settlement
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import ServiceProcess, wait_until

DRAIN_SECONDS = 8


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
    async with journal.locked():
        requests = [asyncio.create_task(caller.post("/v1/reservations", body)) for body in bodies]
        await caller.accepted(len(bodies))
        await journal.waiting()
        service.terminate()
        await nobody_listens(service)
        with pytest.raises(httpx2.ConnectError):
            await caller.get("/healthz")
        assert service.running
        assert not any(request.done() for request in requests)
    answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers] == [201] * len(bodies)
    assert await service.exit_status(DRAIN_SECONDS) == 0
    assert await journal.count("reservations") == len(bodies)
    await journal.adds_up()


async def test_live_streams_end_and_have_shown_what_was_booked(service: ServiceProcess, caller: Caller) -> None:
    shown: list[list[Any]] = [[] for _ in range(5)]
    streams = [asyncio.create_task(caller.live_events(0, seen)) for seen in shown]
    held = await caller.post("/v1/reservations", reservation("the call", user="ada"))
    settled = await caller.post(f"/v1/reservations/{held.json()['reservation_id']}/settle", settlement(400, 100))

    async def every_stream_has_shown_it() -> bool:
        return all(shown)

    await wait_until(every_stream_has_shown_it, 10, "every stream shows the call")
    started = time.monotonic()
    service.terminate()
    await asyncio.gather(*streams)  # each came to its end: a connection that is cut raises
    assert await service.exit_status(DRAIN_SECONDS) == 0
    assert time.monotonic() - started < DRAIN_SECONDS / 2, "streams end at once, they do not use up the time"
    assert [[event["event_id"] for event in seen] for seen in shown] == [[settled.json()["event_id"]]] * 5


async def test_an_idle_service_leaves_at_once(service: ServiceProcess, caller: Caller) -> None:
    """A client's idle connection, kept open for its next call, holds nothing up."""
    assert (await caller.get("/v1/runs")).status_code == 200
    started = time.monotonic()
    service.terminate()
    assert await service.exit_status(DRAIN_SECONDS) == 0
    assert time.monotonic() - started < DRAIN_SECONDS / 2


async def nobody_listens(service: ServiceProcess) -> None:
    async def is_refused() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    await wait_until(is_refused, DRAIN_SECONDS, "new connections are refused")
