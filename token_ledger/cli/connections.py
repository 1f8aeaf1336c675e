"""Opens the database that the settings name, for as long as a command runs."""

import argparse
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import uuid4

from token_ledger.cli.names import read_name
from token_ledger.config import Settings, shown_address
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.group_commit import BATCH_OPERATIONS, GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.embedded import has_embedded, share_embedded
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.tenants import find_tenant


def _to_standard_error(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def named_database(settings: Settings, tell: Callable[[str], None] = _to_standard_error) -> Iterator[str]:
    """Tell which database the settings name, and yield its address; an embedded one runs at least until the end.

    An embedded PostgreSQL that was found running is left running. Raises ValueError if there is none.
    """
    if settings.database_url is not None:
        tell(f"database: {shown_address(settings.database_url)}")
        yield settings.database_url
        return
    directory = settings.data_dir
    if not has_embedded(directory):
        start = shlex.join(["token-ledger", "serve", "--data-dir", str(directory)])
        raise ValueError(
            f"there is no database in {directory}; name another with --data-dir or --database-url, or make one there"
            f" with: {start}"
        )
    tell(f"database: embedded PostgreSQL in {directory}")
    with share_embedded(directory, leave_running=True) as url:
        yield url


def on_same_database(options: argparse.Namespace) -> str:
    """Return the options that name the database of this command, as another command line takes them."""
    words = []
    if options.data_dir is not None:
        words += ["--data-dir", str(options.data_dir)]
    if options.database_url is not None:
        words += ["--database-url", shown_address(options.database_url)]
    return "".join(f" {shlex.quote(word)}" for word in words)


@asynccontextmanager
async def open_database(url: str, writers: int = 1) -> AsyncIterator[Database]:
    """Open a database with one connection for each writer."""
    database = Database(url, writers=writers, readers=1)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def open_ledger(
    url: str, writers: int = 1, batch_operations: int = BATCH_OPERATIONS
) -> AsyncIterator[tuple[Database, GroupCommit]]:
    """Open a database and a ledger that books to it; it works beside any running service.

    With two writers a batch, of up to `batch_operations`, is decided while the one before is being written. Raises
    ValueError if the price book is empty.
    """
    async with open_database(url, writers) as database:
        async with database.reading() as connection:
            try:
                prices = await load_price_book(connection)
            except LookupError as error:
                raise ValueError(str(error)) from None
        commits = GroupCommit(database, prices, writers=writers, batch_operations=batch_operations)
        yield database, commits
        await commits.drain()


async def tenant_named(database: Database, name: str) -> TenantId:
    """Return the tenant of a name; ValueError if there is none."""
    async with database.reading() as connection:
        tenant = await find_tenant(connection, read_name("the tenant's name", name))
    if tenant is None:
        raise ValueError(f"there is no tenant named {name!r}; token-ledger tenant creates one")
    return tenant


def new_idempotency_key() -> str:
    """Return a key that no other request has: running a command again is a new request, not a repetition."""
    return f"cli:{uuid4().hex}"
