"""The commands for names of models: `model-names` and `rename-model`."""

import argparse
import asyncio
import shlex
from collections.abc import Sequence

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import (
    named_database,
    new_idempotency_key,
    on_same_database,
    open_ledger,
    tenant_named,
)
from token_ledger.cli.names import read_name, read_words
from token_ledger.cli.submission import accepted
from token_ledger.config import Settings
from token_ledger.core.batch.administration import RenameModel
from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reads.model_names import BookedName, find_model_names

_ACCEPTED = "the price book calls it so"


def show_model_names(settings: Settings, options: argparse.Namespace) -> int:
    """List what the names of models are in the books, and accept what the price book calls otherwise if asked to."""
    with named_database(settings) as url:
        asyncio.run(_show(url, options))
    return 0


async def _show(url: str, options: argparse.Namespace) -> None:
    async with open_ledger(url) as (database, commits):
        tenant = await tenant_named(database, options.tenant)
        async with database.reading(tenant) as connection:
            prices = await load_tenant_book(connection, tenant, await load_price_book(connection))
        names = await _find(database, tenant, prices)
        if options.accept:
            await _accept(database, commits, tenant, prices, names)
            return
    for each in names:
        print(f"{_shown(each.asked)}  is  {_shown(each.name)}  since {each.since:%Y-%m-%d %H:%M}")
        if each.differs is not None:
            words = ["token-ledger", "rename-model", options.tenant, _shown(each.asked), _shown(each.differs)]
            again = shlex.join([*words, "--reason", _ACCEPTED]) + on_same_database(options)
            print(f"    the price book calls it {_shown(each.differs)}; to accept: {again}")


async def _find(database: Database, tenant: TenantId, prices: PriceBook) -> list[BookedName]:
    async with database.reading(tenant) as connection:
        return await find_model_names(connection, tenant, prices)


async def _accept(
    database: Database, commits: GroupCommit, tenant: TenantId, prices: PriceBook, names: Sequence[BookedName]
) -> None:
    """Accept every difference but those to what an administrator decided."""
    # Names in the books first: the others that lead to them go along.
    different = [each for each in names if each.differs is not None and not each.renamed]
    wanted = sorted(different, key=lambda each: each.asked != each.name)
    for each in wanted:
        now = {found.asked: found.differs for found in await _find(database, tenant, prices)}
        if (becomes := now[each.asked]) is not None:
            command = RenameModel(new_idempotency_key(), b"", each.asked, becomes, _ACCEPTED, actor())
            print(_in_words(accepted(await commits.submit(tenant, command))))
    if not wanted:
        print("the price book calls every model as the books do")


def rename_model(settings: Settings, options: argparse.Namespace) -> int:
    """Call a model otherwise in the books from now on."""
    command = RenameModel(
        new_idempotency_key(), b"", _read("old", options.old), _read("new", options.new),
        read_words("--reason", options.reason), actor(),
    )  # fmt: skip

    async def rename(url: str) -> AuditEntry:
        async with open_ledger(url) as (database, commits):
            tenant = await tenant_named(database, options.tenant)
            return accepted(await commits.submit(tenant, command))

    with named_database(settings) as url:
        print(_in_words(asyncio.run(rename(url))))
    return 0


def _read(what: str, text: str) -> ModelName:
    provider, slash, model = text.partition("/")
    if not (slash and provider.strip() and model.strip()):
        raise ValueError(f"{what} {text!r}: write the provider and the model, such as openai/gpt-5.4")
    return ModelName(read_name(f"the provider of {what}", provider), read_name(f"the model of {what}", model))


def _shown(name: ModelName) -> str:
    return f"{name.provider}/{name.model}"


def _in_words(entry: AuditEntry) -> str:
    """Return what a change of a name did, as the audit log has it."""
    before, after = entry.before, entry.after
    old, new = (f"{name['provider']}/{name['model']}" for name in (before, after))
    return f"{entry.target} was {old} and is {new} now: names {after['names']}, accounts carried {after['accounts']}"
