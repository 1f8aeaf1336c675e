"""Brings a database to the schema of this version, with the migrations inside the wheel."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

import token_ledger
from alembic import command
from token_ledger.storage.database import plain_dsn

_MIGRATION_LOCK = 7_022_026
"""Advisory lock: of several processes that migrate at once, one does and the others wait."""


def migration_scripts() -> Path:
    """Return the directory of the migrations: inside the installed package, or beside it in a checkout."""
    package = Path(token_ledger.__file__).parent
    installed = package / "_alembic"
    return installed if installed.is_dir() else package.parent / "alembic"


def migration_config() -> Config:
    """Return Alembic's configuration, made without a configuration file."""
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


def head_revision() -> str | None:
    """Return the revision that this version needs."""
    return ScriptDirectory.from_config(migration_config()).get_current_head()


def current_revision(connection: Connection) -> str | None:
    """Return the revision that a database is at."""
    return MigrationContext.configure(connection).get_current_revision()
