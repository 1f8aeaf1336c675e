"""The commands for the database: `migrate`, `doctor`, `verify` and `stop`."""

import argparse
import asyncio
import json

from token_ledger.cli.connections import named_database
from token_ledger.cli.doctor import examine
from token_ledger.config import Settings
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import DatabaseAway
from token_ledger.storage.embedded import stop_embedded
from token_ledger.storage.migrations import migrate
from token_ledger.storage.prices import seed_prices


def migrate_database(settings: Settings, options: argparse.Namespace) -> int:
    """Bring the schema to this version, and fill an empty price book."""
    with named_database(settings) as url:
        added = prepare_database(url)
    print(f"the schema is up to date; {added} prices added")
    return 0


def prepare_database(url: str) -> int:
    """Migrate a database and seed its price book; return how many prices were added. Raises DatabaseAway."""

    async def prepare() -> int:
        try:
            await migrate(url)
        except OSError as error:
            raise DatabaseAway(f"the database can't be reached: {str(error) or type(error).__name__}") from error
        return await seed_prices(url)

    return asyncio.run(prepare())


def diagnose(settings: Settings, options: argparse.Namespace) -> int:
    """Print what is wrong with a database and the settings, and what to do about it."""
    with named_database(settings) as url:
        diagnosis = asyncio.run(examine(settings, url))
    print(json.dumps(diagnosis.as_json()) if options.json else diagnosis.as_text())
    return 0 if diagnosis.well else 1


def verify_books(settings: Settings, options: argparse.Namespace) -> int:
    """Print whether the books follow from the journal, and where they do not."""
    with named_database(settings) as url:
        report = asyncio.run(verify_database(url, options.tenant))
    print(json.dumps(report.as_json()) if options.json else report.as_text())
    return 0 if report.clean else 1


def stop_database(settings: Settings, options: argparse.Namespace) -> int:
    """Stop the embedded PostgreSQL of a data directory."""
    if options.database_url is not None:
        raise ValueError("stop ends an embedded PostgreSQL; name its directory with --data-dir, not --database-url")
    stopped = stop_embedded(settings.data_dir)
    print(f"{'stopped the' if stopped else 'there is no'} PostgreSQL running in {settings.data_dir}")
    return 0
