"""Errors of the command line: each is one sentence that says what is wrong, where, and what to do."""

import re
import tempfile
from pathlib import Path

import asyncpg
import pytest

from tests.cli.commands import rows, run, without_database
from tests.conftest import with_database
from token_ledger.cli.error_messages import error_message
from token_ledger.config import Settings
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import database
from token_ledger.storage.api_keys import new_key
from token_ledger.storage.embedded import start_embedded


async def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail, and return its one sentence."""
    capsys.readouterr()
    assert await run(*arguments) == 1
    said = without_database(capsys.readouterr().err)
    assert said.startswith("token-ledger: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "DATABASE_URL",
            "mysql://root:secret@localhost/x",
            "TOKEN_LEDGER_DATABASE_URL: an address reads postgresql://",
        ),
        ("DATABASE_URL", "foo", "TOKEN_LEDGER_DATABASE_URL: an address reads postgresql://"),
        (
            "DATABASE_URL",
            "postgresql://root:secret@localhost:99999/x",
            "its port is not a number up to 65535; an address reads",
        ),
        ("DATABASE_URL", "postgresql://root:secret@one:5432,two:x/y", "its port is not a number"),
        ("DATABASE_URL", "postgresql://root:secret/s@localhost/y", "its port is not a number"),
        ("DATABASE_URL", "postgresql://root:secret@localhost/x?sslmode=maybe", "can't be used: `sslmode` parameter"),
        ("DATABASE_URL", "postgresql://root:secret@127.0.0.1:1/x", "the database can't be reached"),
        ("RETENTION_MONTHS", "1", "TOKEN_LEDGER_RETENTION_MONTHS: Input should be greater than or equal to 3"),
        ("PORT", "99999", "TOKEN_LEDGER_PORT: Input should be less than or equal to 65535"),
        ("PORT", "http", "TOKEN_LEDGER_PORT: Input should be a valid integer"),
    ],
)
async def test_a_wrong_setting_is_named_and_no_password_is_shown(
    name: str, value: str, message: str, settings: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(f"TOKEN_LEDGER_{name}", value)
    for command in (("keys", "acme"), ("migrate",), ("verify",)):
        said = await complaint(capsys, *command)
        assert message in said
        assert "secret" not in said
        if "can't be" not in message:
            assert await complaint(capsys, "doctor") == said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:@/postgres?host=/tmp/tl", "postgres://ada@localhost", "postgresql+asyncpg://[::1]:5432/x",
        "postgresql://one:5432,two:65535/x", "postgresql://u:p%2F@host:/x", "postgresql://",
    ],
)  # fmt: skip
def test_an_address_is_accepted_in_every_form(url: str) -> None:
    assert Settings(database_url=url).database_url == url


@pytest.mark.usefixtures("settings")
async def test_the_doctor_says_what_to_do_about_a_missing_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKEN_LEDGER_DATABASE_URL", with_database(database_url, "nosuch"))
    assert await run("doctor") == 1
    captured = capsys.readouterr()
    assert without_database(captured.err) == ""
    assert 'database "nosuch" does not exist' in captured.out
    assert "-> start PostgreSQL, or correct TOKEN_LEDGER_DATABASE_URL" in captured.out


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    "arguments",
    [("apply", "none.yaml"), ("import-users", "acme", "none.csv")],
    ids=lambda arguments: str(arguments[0]),
)
async def test_a_file_that_is_not_there_is_named(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no file none." in await complaint(capsys, *arguments)


@pytest.mark.usefixtures("settings")
async def test_a_wrong_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for port in ("99999", "-1"):
        assert "--port: Input should be" in await complaint(capsys, "serve", "--port", port)


@pytest.mark.parametrize("variable", ["TOKEN_LEDGER_DATABASE_URL", "TOKEN_LEDGER_KEY_PEPPER"])
async def test_an_empty_variable_counts_as_not_set(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "")
    assert (Settings().database_url, Settings().key_pepper) == (None, None)


async def test_without_a_schema_commands_say_to_migrate(
    settings: Path, database_url: str, server_url: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await rows(server_url, "create database bare")
    try:
        monkeypatch.setenv("TOKEN_LEDGER_DATABASE_URL", with_database(database_url, "bare"))
        users = settings / "users.csv"
        users.write_text("user,cost_center\nada,lab\n")
        budgets = settings / "budgets.yaml"
        budgets.write_text("tenants: [{name: acme}]")
        for command in (
            ("tenant", "acme"), ("key", "acme"), ("keys", "acme"), ("stop-tenant", "acme"),
            ("erase-user", "acme", "ada"), ("import-users", "acme", str(users)), ("apply", str(budgets)), ("verify",),
        ):  # fmt: skip
            said = await complaint(capsys, *command)
            assert "lacks this version's schema" in said
            assert "run token-ledger migrate" in said
    finally:
        await rows(server_url, "drop database bare with (force)")


async def test_in_a_fresh_data_directory_commands_say_to_migrate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory(prefix="tl-fresh-") as directory:  # the path of a unix socket must be short
        server = start_embedded(Path(directory), keep_running=False)
        try:
            monkeypatch.setenv("TOKEN_LEDGER_DATA_DIR", directory)
            monkeypatch.delenv("TOKEN_LEDGER_DATABASE_URL", raising=False)
            said = await complaint(capsys, "tenant", "acme")
            assert 'role "token_ledger_app" does not exist; run token-ledger migrate' in said
            assert await run("migrate") == 0
            assert await run("tenant", "acme") == 0
        finally:
            server.cleanup()


async def test_with_an_empty_price_book_commands_say_to_migrate(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    await rows(database_url, "delete from prices")
    assert "the price book is empty: run token-ledger migrate" in await complaint(capsys, "stop-tenant", "acme")


@pytest.mark.parametrize(
    ("role", "database_name", "message"),
    [
        ("nobody", None, 'role "nobody" does not exist'),
        (None, "nosuch", 'database "nosuch" does not exist'),
        ("stranger", None, 'permission denied to set role "token_ledger_app"'),
    ],
)
async def test_a_refused_login_is_explained(
    role: str | None, database_name: str | None, message: str, settings: Path, database_url: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await rows(database_url, "drop role if exists stranger")
    await rows(database_url, "create role stranger login")
    try:
        url = with_database(database_url, database_name) if database_name else database_url
        if role:
            url = re.sub("//postgres:?@", f"//{role}@", url)
        monkeypatch.setenv("TOKEN_LEDGER_DATABASE_URL", url)
        said = await complaint(capsys, "keys", "acme")
        assert f"the database refuses the login, or it lacks a privilege: {message}" in said
        assert "correct TOKEN_LEDGER_DATABASE_URL" in said
    finally:
        await rows(database_url, "drop role stranger")


async def test_a_locked_tenant_is_reported_as_busy(
    settings: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    [key] = await rows(database_url, "select key_id from api_keys where name = 'first admin'")
    monkeypatch.setitem(database._WRITER_SETTINGS, "lock_timeout", "100ms")
    monkeypatch.setitem(database.READER_SETTINGS, "lock_timeout", "100ms")
    holder = await asyncpg.connect(database_url)
    try:
        async with holder.transaction():
            await holder.execute("select from tenant_ledgers for update")
            assert "the database" in await complaint(capsys, "stop-tenant", "acme")
            assert "the database is busy" in await complaint(capsys, "key", "acme")
            assert "the database is busy" in await complaint(capsys, "revoke-key", "acme", key["key_id"])
    finally:
        await holder.close()
    assert await run("stop-tenant", "acme") == 0


@pytest.mark.parametrize("hours", ["9999999999999", "169", "-1"])
async def test_an_overlap_is_a_week_at_most(
    hours: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    [key] = await rows(database_url, "select key_id from api_keys where name = 'first admin'")
    said = await complaint(capsys, "rotate-key", "acme", key["key_id"], "--overlap-hours", hours)
    assert "--overlap-hours: the old key can stay valid for 0 to 168 hours" in said
    assert await run("rotate-key", "acme", key["key_id"], "--overlap-hours", "168") == 0


def test_an_unexpected_error_is_written_down_without_secrets() -> None:
    key, key_id = new_key(TenantId(1), "live")
    message = error_message(RuntimeError(f"refused {key} at postgresql://u:password@db/x"))
    written = Path(message.rsplit("the file ", 1)[1])
    told = message + written.read_text()
    written.unlink()
    assert f"tl_live_{key_id}_…" in told
    assert key not in told
    assert "password" not in told
