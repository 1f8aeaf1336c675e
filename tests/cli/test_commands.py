"""The table of commands: every row has a function, an explained argument list and help, and errors end in one place."""

import asyncio
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import run, without_database
from token_ledger.cli import commands
from token_ledger.cli.command_rows import Command
from token_ledger.cli.parser import build_parser
from token_ledger.config import Settings

NAMES = [command.name for command in commands.COMMANDS]


@pytest.mark.parametrize("command", commands.COMMANDS, ids=NAMES)
def test_a_command_names_a_function_of_settings_and_options(command: Command) -> None:
    function = pkgutil.resolve_name(command.run)
    assert inspect.getmodule(function) is sys.modules[command.run.partition(":")[0]]
    assert list(inspect.signature(function).parameters) == ["settings", "options"]


@pytest.mark.parametrize("command", commands.COMMANDS, ids=NAMES)
def test_a_command_and_its_arguments_are_explained(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*command.name.split(), "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"usage: token-ledger {command.name} ")
    assert command.help[1:] in shown
    assert command.example.startswith("token-ledger ") or f" token-ledger {command.name}" in command.example
    for argument in command.arguments:
        assert argument.help in shown
        assert argument.is_flag or argument.choices or argument.example, f"{argument.name} has no example"


@pytest.mark.parametrize(
    "command", [each for each in commands.COMMANDS if "…" not in each.example], ids=lambda c: c.name
)
def test_an_example_can_be_parsed(command: Command) -> None:
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command.example)]
    assert build_parser().parse_args(words[1:]).command is command


def test_help_shows_every_command_in_its_group_and_every_exit_status() -> None:
    shown = build_parser().format_help()
    for command in commands.COMMANDS:
        group = shown.split(f"{command.group}:\n")[1].split("\n\n")[0]
        assert f"  {command.name:<14}{command.help}" in group.splitlines()
    for status, meaning in commands.EXIT_STATUSES.items():
        assert f"  {status:<14}{meaning}" in shown.splitlines()


def test_help_does_not_wait_for_what_commands_need() -> None:
    program = "import sys, token_ledger.cli.parser as p; p.build_parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded).isdisjoint({"asyncpg", "fastapi", "pydantic", "sqlalchemy", "uvicorn"})


@pytest.mark.parametrize(
    "arguments", [(), ("fly",), ("keys",), ("keys", "acme", "--fast"), ("key", "a", "--role", "x")]
)
async def test_a_wrong_command_line_has_status_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        await run(*arguments)
    assert ended.value.code == 2
    assert "token-ledger" in capsys.readouterr().err


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the command `keys` fail."""

    def with_error(error: BaseException) -> None:
        def fail(settings: Settings, options: Any) -> int:
            raise error

        monkeypatch.setattr(pkgutil, "resolve_name", lambda name: fail)

    return with_error


async def test_an_unexpected_error_is_one_sentence_that_names_a_file_with_the_traceback(
    fails: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fails(KeyError("user"))
    assert await run("keys", "acme") == 1
    said = without_database(capsys.readouterr().err)
    assert said.startswith("token-ledger: unexpected error: KeyError: 'user'; this is a bug")
    assert said.count("\n") == 1
    file = Path(said.split("with the file ")[1].strip())
    assert file.parent == tmp_path
    assert "Traceback (most recent call last)" in await asyncio.to_thread(file.read_text)
    assert (await asyncio.to_thread(file.stat)).st_mode & 0o077 == 0


async def test_an_interrupted_command_has_status_130(fails: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fails(KeyboardInterrupt())
    assert await run("keys", "acme") == 130
    assert capsys.readouterr().err == ""


def test_output_that_nobody_reads_on_ends_quietly() -> None:
    program = "import sys, token_ledger.cli.main as m; sys.exit(m.main(['keys', 'acme']))"
    replaced = "import pkgutil; pkgutil.resolve_name = lambda name: lambda s, o: print('x' * 100_000) or 0; "
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-c", replaced + program], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")
