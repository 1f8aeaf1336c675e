"""Brings a database to the schema of this version, with the migrations inside the wheel.

Alembic is loaded only to migrate: with the highlighter of its templates it takes 11 MiB, and the service needs none.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

import token_ledger
from token_ledger.storage.database import plain_dsn

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATION_LOCK = 7_022_026
"""Advisory lock: of several processes that migrate at once, one does and the others wait."""
_REVISIONS = re.compile(r'^(revision|down_revision) = "(.+)"$', re.MULTILINE)
_CURRENT = "select version_num from alembic_version"


def migration_scripts() -> Path:
    """Return the directory of the migrations: inside the installed package, or beside it in a checkout."""
    package = Path(token_ledger.__file__).parent
    installed = package / "_alembic"
    return installed if installed.is_dir() else package.parent / "alembic"


def migration_config() -> "Config":
    """Return Alembic's configuration, made without a configuration file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migration_scripts()))
    config.set_main_option("path_separator", "os")
    return config


async def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database at `url`, as the owner of its tables. Safe to call from several processes at once."""
    import asyncpg

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(plain_dsn(url), timeout=10)
    )
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"select pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


class UnknownSchema(ValueError):
    """The database has the schema of another version."""


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic.script import ScriptDirectory

    from alembic import command

    config = migration_config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = current_revision(connection)
    if current is not None and current not in known:
        raise UnknownSchema(
            f"the database has the schema {current}, which this version ({token_ledger.__version__}) does not know: it"
            " was made by a newer version, or by one before the first release; use the version that made it, or another"
            " database"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def head_revision() -> str:
    """Return the revision that this version needs: the one that no other migration follows."""
    scripts = (path.read_text() for path in migration_scripts().glob("versions/*.py"))
    steps: list[dict[str, str]] = [dict(_REVISIONS.findall(script)) for script in scripts]
    [head] = {step["revision"] for step in steps} - {step.get("down_revision") for step in steps}
    return head


def current_revision(connection: Connection) -> str | None:
    """Return the revision that a database is at, None for one without a schema."""
    if connection.scalar(text("select to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = connection.scalar(text(_CURRENT))
    return revision
