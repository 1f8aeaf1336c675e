"""The service beside other programs: it does not use a Redis on the same machine; a browser can read its answers."""

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
from tests.faults.processes import ANSWER_SECONDS, PATIENCE_SECONDS, ServiceProcess, wait_until

pytestmark = pytest.mark.system
REDIS_PORT = 6379
"""The default port of Redis."""


@pytest.fixture
async def service(database_url: str, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    with service_processes(tmp_path) as start:
        running = start(database_url)
        await running.ready()
        yield running


@pytest.fixture
def redis() -> Iterator[None]:
    """A Redis on its default port; if one runs already, that one is used."""
    arguments = ["redis-server", "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(arguments, cwd=directory, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            server.terminate()
            server.wait(PATIENCE_SECONDS)


def connections_received() -> int:
    """Return how many connections Redis has received, this one included."""
    with closing(socket.create_connection(("127.0.0.1", REDIS_PORT), PATIENCE_SECONDS)) as connection:
        connection.sendall(b"INFO stats\r\n")
        text = connection.recv(65_536).decode()
    return int(text.split("total_connections_received:")[1].split("\r\n")[0])


async def test_the_service_does_not_connect_to_redis(redis: None, service: ServiceProcess) -> None:
    async def is_up() -> bool:
        try:
            return connections_received() > 0
        except OSError:
            return False

    await wait_until(is_up, PATIENCE_SECONDS, "Redis to listen")
    before = connections_received()
    async with httpx2.AsyncClient(base_url=service.url, timeout=ANSWER_SECONDS) as client:
        answers = await asyncio.gather(*(client.get(path) for path in ("/readyz", "/healthz", "/openapi.json") * 5))
    assert {answer.status_code for answer in answers} == {200}
    assert connections_received() == before + 1


async def test_a_browser_reads_health_and_problems(service: ServiceProcess, tmp_path: Path) -> None:
    assert '"status":"ok"' in await shown(f"{service.url}/healthz", tmp_path)
    assert "unauthenticated" in await shown(f"{service.url}/v1/budgets", tmp_path)


async def test_a_browser_without_internet_shows_the_documentation(service: ServiceProcess, tmp_path: Path) -> None:
    page = await shown(f"{service.url}/docs", tmp_path)
    assert "Reserve what a call may use" in page
    assert "/v1/reservations/{reservation_id}" in page.replace("\u200b", "").replace("<wbr>", "")
    assert "Failed to load API definition" not in page


async def shown(url: str, profile: Path) -> str:
    """Return the document that Chromium shows for an address, without reaching any other host."""
    arguments = (
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=15000",
        f"--user-data-dir={profile}", "--dump-dom", url,
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await asyncio.wait_for(process.communicate(), 2 * PATIENCE_SECONDS)
    return output.decode()
