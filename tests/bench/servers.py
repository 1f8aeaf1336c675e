"""Starts the servers that are measured: an embedded PostgreSQL with template databases, and HTTP servers.

Everything is in a temporary directory, listens on 127.0.0.1 or a unix socket, and is removed at the end.
"""

import asyncio
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import asyncpg

from tests.bench.rows import Failure
from tests.conftest import with_database
from token_ledger.storage.embedded import embedded_url, start_embedded

_START_SECONDS = 30
Fill = Callable[[str], Awaitable[None]]
"""Fills the empty database at an address."""


class BenchServer:
    """One PostgreSQL for measurements and yardsticks. Databases are copied from templates made on first use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._server = start_embedded(directory, keep_running=False)
        self._url = embedded_url(self._server)
        self._templates: set[str] = set()
        self._numbers = itertools.count(1)

    def program(self, name: str) -> Path:
        """Return a program that comes with the server, such as pgbench."""
        return Path(self._server.bin_path) / name

    def template(self, name: str, fill: Fill) -> str:
        """Return the address of a template, filled on first use; close all connections to it before copying."""
        url = with_database(self._url, name)
        if name not in self._templates:
            self.execute(f"create database {name}")
            asyncio.run(_await(fill(url)))
            self._templates.add(name)
        return url

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        """Copy a template for one run, and drop the copy at once, so that its vacuum does not disturb the next run."""
        name = f"run_{next(self._numbers)}"
        self.execute(f"create database {name} template {template} strategy file_copy")
        try:
            yield with_database(self._url, name)
        finally:
            self.execute(f"drop database {name} with (force)")

    def checkpoint(self) -> None:
        """Write all changes to disk, so that the next part does not pay for the one before."""
        self.execute("checkpoint")

    def value(self, query: str, url: str) -> Any:
        """Return the one value of a query, asked as the superuser."""

        async def ask() -> Any:
            connection = await asyncpg.connect(url)
            try:
                return await connection.fetchval(query)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def execute(self, statement: str, url: str | None = None) -> None:
        """Execute one statement outside a transaction, as the superuser."""

        async def run() -> None:
            connection = await asyncpg.connect(url or self._url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())

    def processor_seconds(self) -> float:
        """Return the processor time that the server's processes have used, also those that have ended."""
        [found] = self.directory.rglob("postmaster.pid")
        postmaster = int(found.read_text().split()[0])
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, rest = stat.read_text().split(" ", 1)
            except OSError:  # it has just ended
                continue
            fields = rest.rpartition(")")[2].split()
            own, ended = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
            if int(pid) == postmaster:
                ticks += own + ended
            elif int(fields[1]) == postmaster:
                ticks += own
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Stop the server."""
        self._server.cleanup()


@contextmanager
def bench_server() -> Iterator[BenchServer]:
    """Start a server in a directory of its own; stop it and remove the directory at the end."""
    directory = Path(tempfile.mkdtemp(prefix="tl-bench-"))  # short: the path of a unix socket is limited
    try:
        server = BenchServer(directory)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def http_server(
    command: Callable[[int], Sequence[str]], ready_path: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run an HTTP server within the block; `command` returns its command line for a port. Yield its address."""
    with http_process(command, ready_path, log, environment) as (address, _):
        yield address


def most_memory_bytes(pid: int) -> int:
    """Return the peak resident memory of a process (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@contextmanager
def http_process(
    command: Callable[[int], Sequence[str]], ready_path: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """Run an HTTP server within the block; yield its address and its process id."""
    port = _free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOKEN_LEDGER_")}
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command(port), env=inherited | dict(environment or {}), stdin=subprocess.DEVNULL, stdout=output,
            stderr=output,
        )  # fmt: skip
        try:
            _wait_until_ready(process, port, ready_path, log)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(port, path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failure(f"the server did not start within {_START_SECONDS} s: {log.read_text()[-2000:]}")
        time.sleep(0.05)


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def _await(made: Awaitable[None]) -> None:
    await made
