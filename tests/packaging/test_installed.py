"""The installed service starts in an empty directory, serves the installed SDK, and verifies its books."""

import json
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.faults.processes import PATIENCE_SECONDS, ServiceProcess
from tests.packaging.installation import run
from token_ledger.storage.embedded import is_embedded_running, start_embedded, stop_embedded

CALLS = """
import sys
import token_ledger_sdk
from token_ledger_sdk import BudgetExceeded, Limits, TokenLedger, Usage

call = dict(agent_type="data_agent", provider="openai", model="gpt-5.4", input_tokens=1_000, max_output_tokens=500)
with TokenLedger() as ledger, ledger.run(user="ada", limits=Limits(tokens=2_000)) as run:
    with run.reserve(**call) as hold:
        settlement = hold.settle(Usage(input_tokens=900, output_tokens=100))
    try:
        run.reserve(**call).__enter__()
    except BudgetExceeded as denied:
        print(denied.refusals[0].available)
print(settlement.cost)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory; if its PostgreSQL still runs after the test, it is stopped."""
    # The path of a unix socket must be short, which pytest's temporary directories may not be.
    with tempfile.TemporaryDirectory(prefix="tl-laptop-") as directory:
        yield Path(directory)
        stop_embedded(Path(directory))


@pytest.mark.parametrize("package", ["token_ledger", "token_ledger.storage.migrations", "token_ledger_sdk"])
def test_the_installed_package_is_imported(package: str, python: Path, tmp_path: Path) -> None:
    where = run(str(python), "-c", f"import {package} as found; print(found.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(python.parents[1])


def test_the_migrations_come_from_the_wheel(python: Path, tmp_path: Path) -> None:
    program = "from token_ledger.storage import migrations as m; print(m.migration_scripts(), m.head_revision())"
    scripts, head = run(str(python), "-c", program, cwd=tmp_path).split()
    assert Path(scripts).is_relative_to(python.parents[1])
    assert head != "None"


async def test_from_an_empty_directory_to_verified_books(
    python: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    command = python.with_name("token-ledger")
    own = {"TOKEN_LEDGER_DATA_DIR": str(data_dir)}
    service = ServiceProcess(None, tmp_path, {"data_dir": str(data_dir)}, command=[command])
    service.start()
    try:
        await service.ready()
        key = json.loads((data_dir / "credentials.json").read_text())["admin_key"]
        assert f"admin key: {key}" in service.log.read_text()
        caller = {"TOKEN_LEDGER_URL": service.url, "TOKEN_LEDGER_KEY": key}
        printed = run(str(python), "-c", CALLS, cwd=tmp_path, variables=caller)
        available, cost = printed.split()
        assert (available, Decimal(cost)) == ("1000", Decimal("0.003750000"))
        report = run(str(command), "verify", "--json", cwd=tmp_path, variables=own)
        found = json.loads(report)
        assert found["clean"] is True
        assert (found["tenants"], found["holds"], found["events"]) == (1, 1, 1)
        service.terminate()
        assert await service.exit_status(PATIENCE_SECONDS) == 0
        assert not is_embedded_running(data_dir)
    finally:
        service.end()
    assert service.unexpected_errors() == []


def test_an_error_is_one_sentence_and_status_1(python: Path, data_dir: Path, tmp_path: Path) -> None:
    command = str(python.with_name("token-ledger"))
    variables = {"TOKEN_LEDGER_DATA_DIR": str(data_dir)}
    assert run(command, "migrate", cwd=tmp_path, status=1, variables=variables) == ""
    start_embedded(data_dir)
    assert run(command, "migrate", cwd=tmp_path, variables=variables).startswith("the schema is up to date; ")
    assert run(command, "migrate", cwd=tmp_path, variables=variables) == "the schema is up to date; 0 prices added\n"
    assert run(command, "verify", "--tenant", "nobody", cwd=tmp_path, status=1, variables=variables) == ""
    assert run(command, "tenant", "acme", cwd=tmp_path, variables=variables).startswith("tl_live_")
    assert run(command, "tenant", "acme", cwd=tmp_path, status=1, variables=variables) == ""
    assert run(command, "--version", cwd=tmp_path).count(".") == 2
