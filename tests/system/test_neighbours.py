"""The service beside programs that people run next to it: a Redis that it must not need, a browser that reads it."""

import asyncio
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.faults.conftest import service_processes
from tests.faults.processes import ServiceProcess, wait_until

pytestmark = pytest.mark.system
REDIS_PORT = 6379
"""The port that a program with a Redis default would try."""


@pytest.fixture
async def service(database_url: str, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    with service_processes(tmp_path) as start:
        running = start(database_url)
        await running.ready()
        yield running


@pytest.fixture
def redis() -> Iterator[None]:
    """A Redis on its default port, unless one is there already."""
    arguments = ["redis-server", "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(arguments, cwd=directory, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            server.terminate()
            server.wait(10)


def connections_received() -> int:
    """Return how many connections Redis ever received, this one included."""
    with closing(socket.create_connection(("127.0.0.1", REDIS_PORT), 5)) as connection:
        connection.sendall(b"INFO stats\r\n")
        text = connection.recv(65_536).decode()
    return int(text.split("total_connections_received:")[1].split("\r\n")[0])


async def test_no_redis_is_ever_asked(redis: None, service: ServiceProcess) -> None:
    async def is_up() -> bool:
        try:
            return connections_received() > 0
        except OSError:
            return False

    await wait_until(is_up, 10, "Redis to listen")
    before = connections_received()
    async with httpx2.AsyncClient(base_url=service.url) as client:
        answers = await asyncio.gather(*(client.get(path) for path in ("/readyz", "/metrics", "/openapi.json") * 5))
    assert {answer.status_code for answer in answers} == {200}
    assert connections_received() == before + 1


async def test_a_browser_reads_health_and_problems(service: ServiceProcess, tmp_path: Path) -> None:
    assert '"status":"ok"' in await shown(f"{service.url}/healthz", tmp_path)
    assert "unauthenticated" in await shown(f"{service.url}/v1/budgets", tmp_path)


async def shown(url: str, profile: Path) -> str:
    """Return what Chromium shows at an address."""
    arguments = (
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--dump-dom", url,
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output.decode()
