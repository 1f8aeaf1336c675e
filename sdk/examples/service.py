"""Starts and stops a complete Token Ledger, service and embedded PostgreSQL, in a directory of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil  # type: ignore[import-untyped]
from token_ledger.storage.embedded import stop_embedded

COMMAND = Path(sys.executable).with_name("token-ledger")
START_SECONDS = 60
STOP_SECONDS = 25
PID_FILE = "service.pid"
LOG_FILE = "service.log"


class ServiceFailed(Exception):
    """The service did not start; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class OwnService:
    """A running service: its addresses, and the directory with its database, keys and log."""

    url: str
    metrics_url: str
    directory: Path

    @property
    def admin_key(self) -> str:
        """The admin key of the service's first tenant."""
        key: str = json.loads((self.directory / "credentials.json").read_text())["admin_key"]
        return key


def start() -> OwnService:
    """Start a service on a free port with an empty database, and wait until it is ready; raises ServiceFailed.

    It runs in a session of its own, so that Ctrl-C in the terminal reaches only this program.
    """
    directory = Path(tempfile.mkdtemp(prefix="token-ledger-demo-"))
    try:
        port, metrics_port = _free_port(), _free_port()
        arguments = ["serve", "--quiet", "--host", "127.0.0.1", "--port", str(port), "--data-dir", str(directory)]
        with open(directory / LOG_FILE, "wb") as log:
            process = subprocess.Popen(
                [COMMAND, *arguments],
                stdout=log, stderr=log, start_new_session=True,
                env={**environment(directory), "TOKEN_LEDGER_METRICS_PORT": str(metrics_port)},
            )  # fmt: skip
        (directory / PID_FILE).write_text(str(process.pid))
        service = OwnService(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics", directory)
        _wait_until_ready(service, process)
    except BaseException:
        stop(directory)
        raise
    return service


def stop(directory: Path) -> None:
    """Stop the service of a directory, then its PostgreSQL, if that still runs, and remove the directory.

    A second Ctrl-C is ignored meanwhile, as it would leave the database running.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _stop_service(directory)
        stop_embedded(directory)
        shutil.rmtree(directory)
    finally:
        signal.signal(signal.SIGINT, before)


def verify(service: OwnService) -> tuple[bool, str]:
    """Run `token-ledger verify` on the service's database; return whether it is clean, and its output."""
    done = subprocess.run([COMMAND, "verify"], env=environment(service.directory), capture_output=True, text=True)
    return done.returncode == 0, (done.stdout or done.stderr).strip()


def environment(directory: Path) -> dict[str, str]:
    """Return the environment without Token Ledger settings of the user, so that no other database is touched."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOKEN_LEDGER_")}
    return {**kept, "TOKEN_LEDGER_DATA_DIR": str(directory)}


def is_own(directory: Path) -> bool:
    """Whether a directory was made by `start`."""
    return (directory / PID_FILE).exists()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(service: OwnService, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx2.get(f"{service.url}/readyz", timeout=1).status_code == httpx2.codes.OK:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)
    raise ServiceFailed(f"the service did not start:\n{(service.directory / LOG_FILE).read_text()}")


def _stop_service(directory: Path) -> None:
    try:
        process = psutil.Process(int((directory / PID_FILE).read_text()))
        if str(directory) not in process.cmdline():
            return  # the process id belongs to another process now
        # Children that are setting up PostgreSQL must finish: a half-made database can't be stopped.
        children = process.children(recursive=True)
        process.terminate()
        _, alive = psutil.wait_procs([process, *children], timeout=STOP_SECONDS)
    except (FileNotFoundError, psutil.NoSuchProcess):
        return
    for late in alive:
        late.kill()
    psutil.wait_procs(alive)
