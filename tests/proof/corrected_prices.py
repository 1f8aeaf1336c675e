"""Corrects prices of calls that had one, for tests of re-costing and of its proof."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.proof.ledger import HOLD, Ledger
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.usage import Usage
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import check_rates, load_price_book
from token_ledger.storage.reads.recostings import Look, Wanted, look


async def correct_prices(ledger: Ledger) -> None:
    """Correct prices for calls that had one: with kinds, a fee that comes and goes, parts, a lease; twice."""
    since = datetime.now(UTC) - timedelta(hours=1)
    event = commands.Record("k", b"x", "batch", "data", "house", "corrected", Usage(1_000, 100), user="peggy")
    searched = Usage(1_000, 100, others=others_of({"web_searches": 2, "images": 1}))
    first = {"input": "2", "output": "4", "web_searches": "10", "images": "1"}
    await set_price(ledger, "corrected", first, since)
    for usage in (searched, event.usage):
        await ledger.ask(replace(event, usage=usage, run_id=None), outcomes.Recorded)
    named = {"provider": "house", "model": "corrected", "user": "peggy"}
    streamed = await ledger.hold(**named)
    await ledger.settle(streamed, 500, 50, part=True)
    await ledger.settle(streamed, 500, 50, others={"web_searches": 1})
    lease = commands.Lease("k", b"x", **{**HOLD, **named}, calls=2)
    lent = (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id
    await ledger.settle(lent, 300, 30, part=True)
    span = Wanted("house", "corrected", since=since, also_priced=True)
    for base in ({**first, "input": "3", "requests": "5"}, {**first, "output": "1", "web_searches": "20"}):
        await set_price(ledger, "corrected", base, since)
        await recost(ledger, span)
    await ledger.settle(lent, 300, 30)


async def set_price(
    ledger: Ledger, model: str, base: dict[str, str], since: datetime
) -> None:  # fmt: skip
    """Set what a model of the house costs from an instant on."""
    rates = {"base": base}
    command = administration.SetPrice("k", b"x", "house", model, rates, check_rates(rates), "root", since)
    await ledger.ask(command, outcomes.Changed)


async def found_by(ledger: Ledger, wanted: Wanted, after: str | None = None) -> Look:
    """Return what a look finds by the price book as it is."""
    async with ledger.database.reading(ledger.tenant) as connection:
        book = await load_tenant_book(connection, ledger.tenant, await load_price_book(connection))
        return await look(connection, ledger.tenant, book, wanted, after)


async def recost(ledger: Ledger, wanted: Wanted) -> int:
    """Re-cost what looks find, page by page; return how many calls that were."""
    after, count = None, 0
    while True:
        found = await found_by(ledger, wanted, after)
        if found.calls:
            done = await ledger.ask(found.command("k", b"x", "root"), outcomes.Recosted)
            count += len(done.entry.after["recostings"])
        after = found.following
        if after is None:
            return count
