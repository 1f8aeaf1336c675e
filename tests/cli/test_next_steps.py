"""What commands say to do next, and what they refuse with the right way."""

import shlex
from pathlib import Path

import pytest

from tests.cli.commands import rows, run
from token_ledger.config import shown_address


async def test_a_new_tenant_has_its_key_alone_on_standard_output(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("tenant", "acme") == 0
    said = capsys.readouterr()
    assert said.out.startswith("tl_live_")
    assert said.out.count("\n") == 1
    assert "token-ledger key acme --role agent" in said.err


async def test_a_tenant_that_a_file_makes_gets_a_key_with_the_command_that_is_printed(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN_LEDGER_DATABASE_URL")
    path = settings / "budgets.yaml"
    path.write_text("tenants: [{name: acme corp}]")
    assert await run("apply", str(path), "--database-url", database_url, "--plan") == 0
    assert "key" not in capsys.readouterr().err
    assert await run("apply", str(path), "--database-url", database_url) == 0
    said = capsys.readouterr().err
    assert "acme corp has no API key yet" in said
    command = shlex.split(said.partition("make one with: token-ledger ")[2])
    assert await run(*command) == 0
    assert capsys.readouterr().out.startswith("tl_live_")
    [key] = await rows(database_url, "select role from api_keys")
    assert key["role"] == "admin"
    assert await run("apply", str(path), "--database-url", database_url) == 0
    assert "key" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("acme", "--role", "operator"), "write: token-ledger key - --role operator"),
        (("-", "--role", "admin"), "- stands for no tenant"),
        (("-",), "- stands for no tenant"),
    ],
)
async def test_a_key_of_a_wrong_role_is_refused_with_the_right_way(
    arguments: tuple[str, ...], message: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    capsys.readouterr()
    assert await run("key", *arguments) == 1
    assert message in capsys.readouterr().err
    assert len(await rows(database_url, "select from api_keys")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("key", "acme", "--role", "user"), "user is the role of one person's token"),
        (("key", "acme", "--role", "owner"), "'owner' is no role of a key; use one of agent, finance, admin, operator"),
        (("stop", "acme"), "token-ledger stop-tenant TENANT"),
        (("stop", "acme", "--reason", "runaway"), "token-ledger stop-tenant TENANT"),
        (("resume", "acme"), "token-ledger resume-tenant TENANT"),
    ],
)
async def test_a_command_line_that_cannot_be_meant_is_refused_with_the_right_way(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        await run(*arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://db.internal/ledger", "postgresql://db.internal/ledger"),
        ("postgresql://ledger@db.internal:5432/ledger", "postgresql://ledger@db.internal:5432/ledger"),
        ("postgresql://ledger:secret@db/ledger", "postgresql://ledger:…@db/ledger"),
        ("postgresql://ledger:se@cr:et@db/ledger", "postgresql://ledger:…@db/ledger"),
        ("postgresql://ledger:123/secret@db/ledger", "postgresql://ledger:…@db/ledger"),
        ("postgresql://ledger:#secret?@db/ledger", "postgresql://ledger:…@db/ledger"),
        ("postgresql://db/ledger?user=ada&password=secret", "postgresql://db/ledger"),
        ("postgresql://postgres:@/ledger?host=/run/pg&password=secret", "postgresql://postgres@/ledger?host=/run/pg"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert shown_address(url) == shown


async def test_every_command_says_which_database_it_works_on(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (("migrate",), ("tenant", "acme"), ("keys", "acme"), ("verify",), ("stop-tenant", "acme")):
        assert await run(*arguments) == 0
        assert capsys.readouterr().err.startswith(f"database: {shown_address(database_url)}\n")


async def test_a_schema_that_is_not_known_is_reported_in_one_sentence(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await rows(database_url, "update alembic_version set version_num = '2031_01_01_later'")
    assert await run("migrate") == 1
    said = capsys.readouterr().err
    assert "the database has the schema 2031_01_01_later, which this version" in said
    assert "a bug" not in said
