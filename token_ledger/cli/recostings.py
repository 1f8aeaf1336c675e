"""The command `prices recost`: what calls cost whose price was set or corrected after them, and the booking of it.

It goes through the calls in pages, and books each page in batches of its own: between batches the tenant's other calls
go on, and one that is interrupted has booked whole batches.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, new_idempotency_key, open_ledger, tenant_named
from token_ledger.cli.event_loop import collect_less_garbage, loop_factory
from token_ledger.cli.prices import instant_text, read_model
from token_ledger.config import Settings
from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.core.batch.outcomes import Recosted
from token_ledger.core.model.plain_data import totals_data
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.recosting import totals_of
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.price_terms import current_tenant_book
from token_ledger.storage.reads.recosting_candidates import Candidate
from token_ledger.storage.reads.recostings import Page, Part, Wanted, read_page
from token_ledger.wire.bodies.recostings import RecostingBody
from token_ledger.wire.commands.recostings import wanted_calls
from token_ledger.wire.problems import problem_of

Row = dict[str, Any]
_NOTHING_PRICED = "nothing to change: no call without a price has one by now that is valid at its time"
_NOTHING_CORRECTED = "nothing to change: every call costs what the price of its time says by now"
_PAGE = 1_000
"""How many calls one look finds, for which nobody waits."""
_FEW, _MANY = 200, 500
"""How many calls a batch re-costs beside others who book for the tenant, and alone. The others wait for a whole batch:
one of 200 takes some 6 ms, as long as the slower ones of their own."""
_BATCHES_OF_FEW = 100
"""How many batches are of few calls once somebody else has booked between two."""
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
        also_priced=options.also_priced,
    )
    wanted = wanted_calls(body.provider, body.model, body.since, body.until, also_priced=body.also_priced)
    with named_database(settings) as url, asyncio.Runner(loop_factory=loop_factory()) as runner:
        models = runner.run(_recost(url, options.tenant, wanted, accept=options.accept))
    total: Row = {}
    for each in models:
        _add(total, each)
    if options.json:
        sums = {name: total.get(name, "0.000000000") for name in _COSTS}
        everything = {"events": total.get("events", 0), **sums}
        print(json.dumps({"models": models, "total": everything, "accepted": options.accept}))
        return 0
    for each in models:
        print(_in_words(each))
    if not models:
        print(_NOTHING_CORRECTED if wanted.also_priced else _NOTHING_PRICED)
        return 0
    if len(models) > 1:
        print(f"all models: {total['events']} calls; {_costs_in_words(total)}")
    if options.accept:
        print(f"calls re-costed: {total['events']}")
    else:
        print(f"calls that would be re-costed: {total['events']}; add --accept to book it")
    return 0


async def _recost(url: str, tenant_name: str, wanted: Wanted, *, accept: bool) -> list[Row]:
    async with open_ledger(url) as (database, commits):
        tenant = await tenant_named(database, tenant_name)
        collect_less_garbage()
        return await recost_calls(database, commits, tenant, wanted, accept=accept)


class Pace:
    """Divides what is found into batches: small ones while others book for the tenant, as the numbers of ids tell."""

    def __init__(self) -> None:
        self._sequence: int | None = None
        self._of_few = _BATCHES_OF_FEW

    @property
    def size(self) -> int:
        """How many calls the next batch re-costs."""
        return _FEW if self._of_few else _MANY

    def note(self, sequence: int) -> None:
        """Note the number of the batch that has re-costed a part."""
        if self._sequence is not None and sequence != self._sequence + 1:
            self._of_few = _BATCHES_OF_FEW
        elif self._of_few:
            self._of_few -= 1
        self._sequence = sequence


async def recost_calls(
    database: Database, commits: GroupCommit, tenant: TenantId, wanted: Wanted, *, accept: bool
) -> list[Row]:  # fmt: skip
    """Return what re-costing changes, by model; book it, batch by batch, if it is accepted."""
    models: dict[tuple[str, str], Row] = {}
    pace = Pace()
    async with aclosing(_pages(database, commits.prices, tenant, wanted)) as pages:
        async for page in pages:
            if accept:
                rows = await _book(commits, tenant, page, pace)
            else:
                found = (call.found.recosting for call in map(page.price, page.candidates) if call and call.found)
                rows = [*map(totals_data, totals_of(found))]
            for row in rows:
                _add(models.setdefault((row["provider"], row["model"]), {}), row)
    if accept and models:
        await commits.sync(tenant)
    return [models[name] for name in sorted(models)]


async def _book(commits: GroupCommit, tenant: TenantId, page: Page, pace: Pace) -> list[Row]:
    """Re-cost the calls of a page; return what that changes, by batch and model.

    The calls of a batch are priced after the batch before: in between, others have the tenant's ledger. The database
    keeps no queue for a row that changes: whoever asks for it just after a change gets it before those who wait.
    """
    rows: list[Row] = []
    candidates = iter(sorted(page.candidates, key=_summed_by))
    while (part := _price(page, candidates, pace.size)).calls:
        command = part.command(new_idempotency_key(), b"", actor(), page.following)
        outcome = await commits.submit(tenant, command, lasts=False)
        if not isinstance(outcome, Recosted):
            raise problem_of(outcome)
        sequence = outcome.entry.audit_id >> ORDINAL_BITS
        pace.note(sequence)
        page.basis.own.append(sequence)  # it is known what this batch has changed
        rows += outcome.entry.after["models"]
    return rows


def _price(page: Page, candidates: Iterator[Candidate], most: int) -> Part:
    """Return the next calls that cost something else now, at most so many."""
    part = Part(page)
    for candidate in candidates:
        if (call := page.price(candidate)) is not None:
            part.add(call)
        if len(part.calls) == most:
            break
    return part


def _summed_by(candidate: Candidate) -> tuple[Any, ...]:
    """Return what brings the calls together that are summed in the same rows, of which a batch then changes fewer."""
    facts = candidate.event.facts
    return facts.cost_center, facts.agent_type, facts.model, facts.user, facts.request_type


async def _pages(database: Database, book: PriceBook, tenant: TenantId, wanted: Wanted) -> AsyncGenerator[Page]:
    """Yield the pages, which know what the batches before have re-costed; each is read while that before is booked."""
    own: list[int] = []

    async def read(after: str | None) -> Page:
        nonlocal book
        async with database.reading(tenant) as connection:
            book = await current_tenant_book(connection, tenant, book)
            return await read_page(connection, tenant, book, wanted, after, most=_PAGE, own=own)

    reading = asyncio.create_task(read(None))
    try:
        while True:
            page = await reading
            if page.following is None:
                yield page
                return
            reading = asyncio.create_task(read(page.following))
            yield page
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _add(into: Row, row: Row) -> None:
    """Add what one look or batch has of a model to what those before had."""
    if not into:
        into.update(row, kinds=dict(row["kinds"]))
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
    unpriced = f", without a price were {units}" if units else ""
    return f"{row['provider']}/{row['model']}: {row['events']} calls{unpriced}; {_costs_in_words(row)}"


def _costs_in_words(row: Row) -> str:
    costs = f"cost {row['cost_before']} → {row['cost_after']} ({Decimal(row['difference']):+f})"
    if (row["list_cost_before"], row["list_cost_after"]) != (row["cost_before"], row["cost_after"]):
        costs += f", at list prices {row['list_cost_before']} → {row['list_cost_after']}"
    return costs
