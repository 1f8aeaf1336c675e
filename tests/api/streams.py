"""Live streams of a service on a real socket, as clients read them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import uvicorn

from tests.api.waiting import until
from tests.api.world import World
from token_ledger.core.model.principal import Role

SECONDS = 60
"""When a test is given up whose stream shows nothing."""


@asynccontextmanager
async def served(world: World) -> AsyncIterator[str]:
    """Serve a world on a socket, and yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        world.app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=SECONDS
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))

    async def started() -> bool:
        return server.started

    await until(started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        world.service.stopping.set()  # as the server of `serve` does: live streams end
        server.should_exit = True
        await task
        world.service.stopping.clear()


Event = dict[str, Any]


@asynccontextmanager
async def stream(
    world: World, base: str, *, tenant: str = "acme", after: int | None = None, last: str | None = None,
    key: str | None = None, path: str = "/v1/live", usage: bool | None = None,
) -> AsyncIterator[AsyncIterator[Event]]:  # fmt: skip
    """Open a stream and yield its events: `id`, `event`, and `data` as it was parsed."""
    headers = httpx2.Headers({"Authorization": f"Bearer {key or world.keys[tenant, Role.FINANCE]}"})
    if last is not None:
        headers = httpx2.Headers([*headers.raw, (b"Last-Event-ID", last.encode("latin-1"))])
    given = {name: value for name, value in (("after", after), ("usage", usage)) if value is not None}
    async with (
        asyncio.timeout(SECONDS),
        httpx2.AsyncClient(timeout=SECONDS) as client,
        client.stream(
            "GET",
            f"{base}{path}",
            headers=headers,
            params=given,
        ) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response)


async def _events(response: httpx2.Response) -> AsyncIterator[Event]:
    found: Event = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if not line and found:
            yield found
            found = {}
        elif name in ("id", "event"):
            found[name] = value
        elif name == "data":
            found["data"] = json.loads(value)


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    """Return the next so many events."""
    taken = []
    async for found in events:
        taken.append(found)
        if len(taken) == count:
            break
    return taken
