"""Whatever is wrong with the database, every command says so in one sentence, with what to do next."""

from pathlib import Path

import asyncpg
import pytest

from tests.api.faulty_database import STATES, faulty
from tests.cli.commands import rows, run, without_database

NEXT = (
    "run the command again",
    "start PostgreSQL",
    "grant its role more",
    "run token-ledger migrate",
    "primary server",
)


async def commands(url: str, directory: Path) -> list[tuple[str, ...]]:
    """Return a command line for everything that works on a set-up database."""
    assert await run("tenant", "acme") == 0
    [key] = await rows(url, "select key_id from api_keys where name = 'first admin'")
    users, budgets = directory / "users.csv", directory / "budgets.yaml"
    users.write_text("user,cost_center\nada,lab\n")
    budgets.write_text("tenants: [{name: globex}]")
    return [
        ("tenant", "initech"), ("key", "acme"), ("rotate-key", "acme", key["key_id"]),
        ("revoke-key", "acme", key["key_id"]), ("stop-tenant", "acme"), ("resume-tenant", "acme"),
        ("erase-user", "acme", "ada"), ("import-users", "acme", str(users)), ("apply", str(budgets)),
        ("keys", "acme"), ("verify",),
    ]  # fmt: skip


def check_sentence(said: str, *command: str) -> None:
    [sentence] = without_database(said).splitlines()
    assert sentence.startswith("token-ledger: the database "), (command, said)
    assert any(text in sentence for text in NEXT), (command, said)
    assert "bug" not in sentence, (command, said)


async def test_every_command_says_what_is_wrong(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = await commands(database_url, settings)
    owner = await asyncpg.connect(database_url)
    try:
        for state in STATES:
            async with faulty(owner, state):
                for line in lines:
                    capsys.readouterr()
                    assert await run(*line) == 1, (state, line)
                    check_sentence(capsys.readouterr().err, state, *line)
    finally:
        await owner.close()


async def test_a_read_only_database_changes_nothing_and_can_be_read(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    *changing, listing, verifying = await commands(database_url, settings)
    await rows(database_url, "do $$ begin execute format('alter database %I set default_transaction_read_only = on',"
               " current_database()); end $$")  # fmt: skip
    for line in changing:
        capsys.readouterr()
        assert await run(*line) == 1, line
        said = capsys.readouterr().err
        check_sentence(said, *line)
        assert "the database is read-only" in said, line
    assert await run(*listing) == await run(*verifying) == 0
