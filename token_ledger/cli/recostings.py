"""The command `prices recost`: what calls cost whose price was set after them, and the booking of it."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from typing import Any

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, new_idempotency_key, open_ledger, tenant_named
from token_ledger.cli.prices import instant_text, read_model
from token_ledger.config import Settings
from token_ledger.core.batch.administration import Recost
from token_ledger.core.batch.outcomes import Recosted
from token_ledger.core.model.plain_data import totals_data
from token_ledger.core.model.recosting import totals_of
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Database
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reads.recostings import Look, Wanted, look
from token_ledger.wire.bodies.recostings import RecostingBody
from token_ledger.wire.commands.recostings import wanted_calls
from token_ledger.wire.problems import problem_of

Row = dict[str, Any]
_COSTS = ("cost_before", "cost_after", "difference", "list_cost_before", "list_cost_after")


def recost(settings: Settings, options: argparse.Namespace) -> int:
    """Show what re-costing would change, and book it if asked to."""
    name = None if options.model is None else read_model("model", options.model)
    body = RecostingBody(
        idempotency_key=new_idempotency_key(),
        provider=None if name is None else name.provider,
        model=None if name is None else name.model,
        since=instant_text("--since", options.since),
        until=instant_text("--until", options.until),
    )
    wanted = wanted_calls(body.provider, body.model, body.since, body.until)
    with named_database(settings) as url:
        models = asyncio.run(_recost(url, options.tenant, wanted, accept=options.accept))
    if options.json:
        print(json.dumps({"models": models, "accepted": options.accept}))
        return 0
    for each in models:
        print(_in_words(each))
    calls = sum(each["events"] for each in models)
    if not models:
        print("nothing to change: no call without a price has one by now that is valid at its time")
    elif options.accept:
        print(f"calls re-costed: {calls}")
    else:
        print(f"calls that would be re-costed: {calls}; add --accept to book it")
    return 0


async def _recost(url: str, tenant_name: str, wanted: Wanted, *, accept: bool) -> list[Row]:
    models: dict[tuple[str, str], Row] = {}
    async with open_ledger(url) as (database, commits):
        tenant = await tenant_named(database, tenant_name)
        async for found in _looks(database, tenant, wanted):
            rows: Iterable[Row] = map(totals_data, totals_of(each for _, each in found.calls))
            if accept and found.calls:
                calls = tuple(call for call, _ in found.calls)
                command = Recost(new_idempotency_key(), b"", calls, wanted.target, actor(), found.following)
                outcome = await commits.submit(tenant, command)
                if not isinstance(outcome, Recosted):
                    raise problem_of(outcome)
                rows = outcome.entry.after["models"]
            for row in rows:
                _add(models.setdefault((row["provider"], row["model"]), {}), row)
    return [models[name] for name in sorted(models)]


async def _looks(database: Database, tenant: TenantId, wanted: Wanted) -> AsyncIterator[Look]:
    after = None
    while True:
        async with database.reading(tenant) as connection:
            book = await load_tenant_book(connection, tenant, await load_price_book(connection))
            found = await look(connection, tenant, book, wanted, after)
        yield found
        after = found.following
        if after is None:
            return


def _add(into: Row, row: Row) -> None:
    """Add what one look or batch has of a model to what those before had."""
    if not into:
        into.update(row)
        return
    for name in ("events", "tokens"):
        into[name] += row[name]
    for kind, count in row["kinds"].items():
        into["kinds"][kind] = into["kinds"].get(kind, 0) + count
    for name in _COSTS:
        into[name] = format(Decimal(into[name]) + Decimal(row[name]), "f")


def _in_words(row: Row) -> str:
    kinds = [f"{count:,} {kind}" for kind, count in row["kinds"].items()]
    units = ", ".join([*([f"{row['tokens']:,} tokens"] if row["tokens"] else []), *kinds])
    costs = f"cost {row['cost_before']} → {row['cost_after']} ({Decimal(row['difference']):+f})"
    if (row["list_cost_before"], row["list_cost_after"]) != (row["cost_before"], row["cost_after"]):
        costs += f", at list prices {row['list_cost_before']} → {row['list_cost_after']}"
    return f"{row['provider']}/{row['model']}: {row['events']} calls, without a price were {units}; {costs}"
