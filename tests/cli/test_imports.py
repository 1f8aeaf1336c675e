"""`import`: a mapping is shown before it is used, a dry run books nothing, and the summary accounts for every row."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.cli.commands import rows, run
from tests.cli.test_prices import Capture, acme, said
from tests.imports.log_samples import CLAUDE_CODE, bytes_of
from token_ledger.cli.main import INTERRUPTED
from token_ledger.imports.kinds import KINDS, Form, rows_of
from token_ledger.imports.rows import Defaults
from token_ledger.imports.stated_costs import StatedCosts
from token_ledger.proof.verify import verify_database

__all__ = ["acme"]

TABLE = """when;who;model;provider;prompt_tokens;completion_tokens;cost
2025-03-01T10:00:00Z;ada;gpt-4o;openai;1000;100;0,005
2025-03-01T11:00:00Z;bob;gpt-4o;openai;2000;200;0,0061
2025-03-02T10:00:00Z;ada;nobody-knows;house;500;50;
2025-03-02T10:00:00Z;ada;gpt-4o;openai;-5;1;0
"""
MAPPING = """columns:
  occurred_at: when
  user: who
  model: model
  provider: provider
  input_tokens: prompt_tokens
  output_tokens: completion_tokens
  cost: cost
constants:
  agent_type: importer
delimiter: semicolon
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    return _file(tmp_path, TABLE)


def _file(directory: Path, text: str) -> Path:
    path = directory / "usage.csv"
    path.write_text(text)
    return path


async def test_a_dry_run_shows_what_an_import_books(acme: str, table: Path, capsys: Capture) -> None:
    command = ("import", "csv", str(table), "--mapping", str(table.parent / "mapping.yaml"), "--json")
    tried = json.loads(await said(capsys, *command, "--dry-run"))
    assert await rows(acme, "select 1 from usage_events") == []
    booked = json.loads(await said(capsys, *command))
    assert {**tried, "dry_run": False} == booked
    assert (booked["rows"], booked["booked"], booked["quarantined"]) == (4, 3, {"invalid_request": 1})
    assert [(use["day"], use["model"], use["cost"], use["unpriced"]) for use in booked["uses"]] == [
        ("2025-03-01", "gpt-4o", "0.010500000", 0), ("2025-03-02", "nobody-knows", "0.000000000", 1),
    ]  # fmt: skip
    assert f"{table}, line 5:" in booked["examples"]["invalid_request"][0]
    again = json.loads(await said(capsys, *command))
    assert (again["booked"], again["duplicates"], again["quarantined"]) == (0, 3, {"invalid_request": 1})
    stored = await rows(acme, "select path, counts_since from usage_events order by event_id")
    assert len(stored) == 3
    assert all(row["counts_since"] is not None for row in stored)
    assert (await verify_database(acme)).clean


async def test_only_the_last_batch_waits_for_the_disk(
    acme: str, table: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    execute = asyncpg.Connection.execute

    async def noted(connection: Any, query: str, *values: Any, **others: Any) -> str:
        if query.endswith("commit"):
            ended.append(query)
        return await execute(connection, query, *values, **others)

    monkeypatch.setattr(asyncpg.Connection, "execute", noted)
    await said(capsys, "import", "csv", str(table), "--mapping", str(table.parent / "mapping.yaml"))
    assert ended[0] == "set local synchronous_commit = off; commit"
    assert ended[-1] == "commit"


async def test_the_summary_is_for_people(acme: str, table: Path, capsys: Capture) -> None:
    mapping = str(table.parent / "mapping.yaml")
    shown = await said(capsys, "import", "csv", str(table), "--mapping", mapping, "--dry-run")
    lines = [" ".join(line.replace("│", " ").split()) for line in shown.splitlines()]
    assert "2025-03-01 openai/gpt-4o 2 3,000 0 300 0.010500000 0" in lines
    assert "total 3 3,500 0 350 0.010500000 1" in lines
    told = [
        "the files state a cost of 0.0111 dollars; the ledger prices calls itself",
        "rows read: 4",
        "would be booked: 3",
        "would be quarantined, invalid_request: 1",
    ]
    assert [line for line in lines if line in told] == told
    assert lines[-1] == "nothing was booked; leave --dry-run out to book it"


async def test_a_guess_is_shown_before_it_is_used(acme: str, tmp_path: Path, capsys: Capture) -> None:
    table = _file(tmp_path, TABLE.replace("when;", "timestamp;"))
    command = ("import", "csv", str(table), "--user", "ada", "--agent-type", "importer")
    assert await run(*command) == 1
    error = capsys.readouterr().err
    assert "input_tokens: prompt_tokens" in error
    assert "run the command again with --guess" in error
    assert await rows(acme, "select 1 from usage_events") == []
    assert "booked: 3" in await said(capsys, *command, "--guess")


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("csv", "nowhere.csv"), "there is no file nowhere.csv"),
        (("claude-code", "{table}", "--guess"), "claude-code has fields of its own"),
        (("csv", "{table}", "--mapping", "{table}"), "usage.csv"),
        (("csv", "{table}", "--guess", "--time-zone", "Mars/Base"), "Mars/Base"),
        (("csv", "{table}", "--guess", "--tenant", "globex"), "globex"),
    ],
)
async def test_what_is_wrong_is_said(
    acme: str, table: Path, capsys: Capture, arguments: tuple[str, ...], wrong: str
) -> None:
    assert await run("import", *(each.format(table=table) for each in arguments)) == 1
    assert wrong in capsys.readouterr().err.splitlines()[-1]


async def test_of_several_tenants_one_has_to_be_named(acme: str, table: Path, capsys: Capture) -> None:
    await run("tenant", "globex")
    capsys.readouterr()
    assert await run("import", "csv", str(table), "--guess") == 1
    assert "say with --tenant whose usage this is; there are 2 tenants: acme, globex" in capsys.readouterr().err


async def test_an_interrupt_ends_the_reading_at_once_and_nothing_is_booked(acme: str, tmp_path: Path) -> None:
    pipe = tmp_path / "session.jsonl"
    os.mkfifo(pipe)
    program = Path(sys.executable).with_name("token-ledger")
    process = await asyncio.create_subprocess_exec(
        program, "import", "claude-code", pipe, "--database-url", acme, stdout=DEVNULL, stderr=DEVNULL
    )
    with await asyncio.to_thread(pipe.open, "wb") as written:  # which waits until it is being read
        written.write(bytes_of(CLAUDE_CODE[0]))
        written.flush()

        process.send_signal(signal.SIGINT)

        assert await asyncio.wait_for(process.wait(), 60) == INTERRUPTED
    assert await rows(acme, "select 1 from usage_events") == []


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_a_reader(name: str, tmp_path: Path) -> None:
    """A file of zeros is of no kind, and every reader says so."""
    path = tmp_path / "zeros.jsonl"
    path.write_bytes(bytes(100))
    mapping = None
    if KINDS[name].form is Form.TABLE:
        from token_ledger.imports.mapping import TableMapping

        mapping = TableMapping.model_validate({"columns": {"model": "m", "occurred_at": "t", "input_tokens": "i"}})
    with pytest.raises(ValueError, match=r"zeros\.jsonl"):
        list(rows_of(KINDS[name], [path], Defaults(user="ada"), StatedCosts(), mapping))
