"""Says after a price was set how many calls it would re-cost, and the command that does."""

import argparse
import shlex
from collections.abc import Iterable

from token_ledger.cli.connections import on_same_database, tenant_named
from token_ledger.core.model.price import ModelName
from token_ledger.storage.database import Database
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reads.recostings import MOST_FOUND, count_recostable


async def recosting_offers(
    database: Database, options: argparse.Namespace, tenant_name: str, names: Iterable[ModelName]
) -> list[str]:
    """Return what new prices of models offer; nothing of those by which no call without a price has one."""
    tenant = await tenant_named(database, tenant_name)
    async with database.reading(tenant) as connection:
        book = await load_tenant_book(connection, tenant, await load_price_book(connection))
        counts = {name: await count_recostable(connection, tenant, book, name) for name in names}
    return [_offer(options, tenant_name, name, count) for name, count in counts.items() if count]


def _offer(options: argparse.Namespace, tenant_name: str, name: ModelName, count: int) -> str:
    command = shlex.join(["token-ledger", "prices", "recost", tenant_name, "/".join(name)]) + on_same_database(options)
    number = f"{count} calls or more" if count == MOST_FOUND else f"{count} calls"
    return f"{tenant_name}: {number} were booked without a price that they have now; to see what changes: {command}"
