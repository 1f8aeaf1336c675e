"""Runs every other test that works on a database on Debian's PostgreSQL 15, the oldest supported version."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import fastest_directory

pytestmark = pytest.mark.system

BINARIES = Path("/usr/lib/postgresql/15/bin")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server_15() -> Iterator[str]:
    """A PostgreSQL 15 on a loopback port, run by an account other than root."""
    assert (BINARIES / "initdb").exists(), "PostgreSQL 15 is missing: make test-system installs it"
    directory = Path(tempfile.mkdtemp(prefix="tl-pg15-", dir=fastest_directory()))
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    if account is not None:
        os.chown(directory, account.pw_uid, account.pw_gid)
    data = directory / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync=off"

    def run(*command: str) -> None:
        user = account.pw_name if account is not None else None
        subprocess.run([str(BINARIES / command[0]), *command[1:]], check=True, user=user, stdout=subprocess.DEVNULL)

    run("initdb", "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=utf8")
    run("pg_ctl", "-w", "-D", str(data), "-o", options, "-l", str(directory / "log"), "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-w", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(directory)


@pytest.mark.timeout(2_400)
def test_every_test_passes_on_postgresql_15(server_15: str) -> None:
    environment = {**os.environ, "TOKEN_LEDGER_TEST_URL": server_15}
    suite = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
        "-m",
        "database and not system and not fuzz",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *suite], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
