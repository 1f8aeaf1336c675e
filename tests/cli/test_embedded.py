"""The embedded PostgreSQL: which commands make one, who starts and who stops it, and what stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.cli.commands import run
from token_ledger.storage.embedded import stop_embedded

COMMAND = Path(sys.executable).with_name("token-ledger")
SECONDS = 90


class Terminal:
    """Runs commands as somebody does who has set no variable, in a home directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        self.data = directory / "data"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKEN_LEDGER_", "XDG_"))}
        self._environment = {**kept, "HOME": str(self.home)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments], env=self._environment, capture_output=True, text=True, timeout=SECONDS
        )

    def on_data(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(*arguments, "--data-dir", str(self.data))

    def serve(self) -> subprocess.Popen[str]:
        """Start a service, and wait until it prints that it listens."""
        process = subprocess.Popen(
            [COMMAND, "serve", "--quiet", "--port", "0", "--data-dir", str(self.data)],
            env=self._environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        return process

    def postmaster(self) -> psutil.Process | None:
        """The main process of the PostgreSQL that runs in the data directory."""
        try:
            words = (self.data / "postgres" / "postmaster.pid").read_text().split()
        except FileNotFoundError:
            return None
        return psutil.Process(int(words[0])) if words else None

    def wait_for_postmaster(self) -> None:
        """Return as soon as a PostgreSQL runs in the data directory."""
        deadline = time.monotonic() + SECONDS
        while self.postmaster() is None:
            assert time.monotonic() < deadline, f"no PostgreSQL was started within {SECONDS} s"
            time.sleep(0.02)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(prefix="tl-cli-") as directory:  # the path of a unix socket must be short
        opened = Terminal(Path(directory))
        yield opened
        stop_embedded(opened.data)


def end(process: subprocess.Popen[str], number: signal.Signals) -> int:
    process.send_signal(number)
    status = process.wait(SECONDS)
    assert process.stdout is not None
    process.stdout.close()
    return status


async def test_no_command_but_serve_makes_a_database(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(terminal.home))
    for variable in ("TOKEN_LEDGER_DATABASE_URL", "TOKEN_LEDGER_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    users = terminal.home / "users.csv"
    users.write_text("user,cost_center\nada,lab\n")
    budgets = terminal.home / "budgets.yaml"
    budgets.write_text("tenants: [{name: acme}]")
    for arguments in (
        ("verify",), ("doctor",), ("migrate",), ("tenant", "acme"), ("key", "acme"), ("keys", "acme"),
        ("stop-tenant", "acme"), ("resume-tenant", "acme"), ("revoke-key", "acme", "x"), ("rotate-key", "acme", "x"),
        ("apply", str(budgets)), ("import-users", "acme", str(users)), ("erase-user", "acme", "ada"),
    ):  # fmt: skip
        assert await run(*arguments, "--data-dir", str(terminal.data)) == 1, arguments
        assert capsys.readouterr().err == (
            f"token-ledger: there is no database in {terminal.data}; name another with --data-dir or --database-url, or"
            f" make one there with: token-ledger serve --data-dir {terminal.data}\n"
        )
    assert await run("verify") == 1
    assert f"there is no database in {terminal.home / '.local'}" in capsys.readouterr().err
    assert await run("stop", "--data-dir", str(terminal.data)) == 0
    assert terminal.on_data("worker").returncode == 1
    assert not terminal.data.exists()
    assert {path.name for path in terminal.home.iterdir()} == {"users.csv", "budgets.yaml"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_verify_beside_a_service_uses_its_database_and_nothing_is_left_running(
    number: signal.Signals, terminal: Terminal
) -> None:
    process = terminal.serve()
    postmaster = terminal.postmaster()
    assert postmaster is not None
    verified = terminal.on_data("verify")
    assert verified.stdout.startswith("verify: clean (1 tenants")
    assert verified.stderr == f"database: embedded PostgreSQL in {terminal.data}\n"
    assert terminal.postmaster() == postmaster
    assert list(terminal.home.iterdir()) == []
    assert end(process, number) == 0
    assert not postmaster.is_running()
    assert terminal.postmaster() is None
    assert terminal.on_data("verify").returncode == 0
    assert terminal.postmaster() is None


def test_the_last_of_two_services_stops_the_database(terminal: Terminal) -> None:
    first = terminal.serve()
    postmaster = terminal.postmaster()
    second = terminal.serve()
    assert end(first, signal.SIGTERM) == 0
    assert terminal.postmaster() == postmaster
    assert terminal.on_data("verify").returncode == 0
    assert end(second, signal.SIGTERM) == 0
    assert terminal.postmaster() is None


def test_a_service_that_was_killed_does_not_keep_the_database_running(terminal: Terminal) -> None:
    process = terminal.serve()
    os.killpg(process.pid, signal.SIGKILL)
    end(process, signal.SIGKILL)
    assert terminal.postmaster() is not None
    # A command leaves a database as it found it.
    assert terminal.on_data("verify").returncode == 0
    assert terminal.postmaster() is not None
    assert end(terminal.serve(), signal.SIGTERM) == 0
    assert terminal.postmaster() is None


def test_stop_ends_what_a_killed_service_left_running(terminal: Terminal) -> None:
    process = terminal.serve()
    postmaster = terminal.postmaster()
    end(process, signal.SIGKILL)
    stopped = terminal.on_data("stop")
    assert (stopped.returncode, stopped.stdout) == (0, f"stopped the PostgreSQL running in {terminal.data}\n")
    assert postmaster is not None
    assert not postmaster.is_running()
    again = terminal.on_data("stop")
    assert (again.returncode, again.stdout) == (0, f"there is no PostgreSQL running in {terminal.data}\n")
    assert terminal.on_data("stop", "--database-url", "postgresql://db/ledger").returncode == 1


def test_a_command_that_is_stopped_ends_the_database_that_it_started(terminal: Terminal) -> None:
    end(terminal.serve(), signal.SIGTERM)
    waiting = subprocess.Popen([COMMAND, "worker", "--quiet", "--data-dir", str(terminal.data)], start_new_session=True)
    terminal.wait_for_postmaster()
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(SECONDS) in (0, 130)
    assert terminal.postmaster() is None
