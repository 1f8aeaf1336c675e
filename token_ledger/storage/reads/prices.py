"""Reads the price book as a tenant sees it: dated entries, of its own and of the global book, and aliases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.price_terms import Alias, PriceTerms
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.json_columns import parsed
from token_ledger.storage.price_terms import load_price_terms
from token_ledger.storage.reads.query import fetch_rows

OWN = "tenant"
"""The source of entries that the tenant has set."""

_ENTRIES = """
select price_id, provider, model, rates, valid_from, daily_from, daily_until, context_tokens, source from prices
where cast(:provider as text) is null or provider = :provider
union all
select price_id, provider, model, rates, valid_from, null, null, null, 'tenant' from tenant_prices
where tenant_id = :tenant and (cast(:provider as text) is null or provider = :provider)
"""


@dataclass(frozen=True, slots=True)
class StoredPrice:
    """An entry of the price book as it is stored; rates are decimal strings, None where older ones are withdrawn.

    `in_force` says whether it is what its model costs at the instant that was asked about.
    """

    price_id: int
    provider: str
    model: str
    rates: Any
    valid_from: datetime | None
    daily_from: time | None
    daily_until: time | None
    context_tokens: int | None
    source: str
    in_force: bool = False


async def find_prices(
    connection: AsyncConnection, tenant: TenantId, book: PriceBook, at: datetime,
    *, provider: str | None = None, model: str | None = None,
) -> list[StoredPrice]:  # fmt: skip
    """Return the entries of all models, or of those that a filter names, by name; older entries first.

    A name of a model may be an alias if the provider is given too.
    """
    terms = await load_price_terms(connection, tenant)
    owner = None if provider is None else book.provider_named(provider)
    names = {(owner, None if model is None else model.casefold())}
    if provider is not None and model is not None and (found := book.find(provider, model)) is not None:
        names.add((found.provider, found.model.casefold()))
        owner = None
    rows = await fetch_rows(connection, _ENTRIES, provider=owner, tenant=tenant)
    entries = [StoredPrice(*row) for row in rows]
    wanted = [each for each in entries if (each.provider, each.model.casefold()) in names or _fits(each, names)]
    ordered = sorted(wanted, key=lambda each: (each.provider, each.model.casefold(), abs(each.price_id)))
    return [_dated(each, book, terms, at) for each in ordered]


def _fits(entry: StoredPrice, names: set[tuple[str | None, str | None]]) -> bool:
    return any(
        owner in (None, entry.provider) and name in (None, entry.model.casefold())
        for owner, name in names
    )  # fmt: skip


def _dated(entry: StoredPrice, book: PriceBook, terms: PriceTerms, at: datetime) -> StoredPrice:
    """Return an entry with its rates read, and whether it is in force at an instant."""
    if entry.source == OWN:
        own = terms.own_price_at(entry.provider, entry.model, at)
        in_force = own is not None and own.price_id == entry.price_id
    else:
        prices = book.find(entry.provider, entry.model)
        price = None if prices is None else prices.at(at)
        in_force = price is not None and price.price_id == entry.price_id
    return replace(entry, rates=parsed(entry.rates), in_force=in_force)


async def find_aliases(connection: AsyncConnection, tenant: TenantId) -> Sequence[Alias]:
    """Return the aliases of a tenant that stand for something, by name."""
    aliases = (await load_price_terms(connection, tenant)).aliases
    newest = {(each.provider, each.model.casefold()): each for each in aliases}
    return [newest[name] for name in sorted(newest) if newest[name].stands_for is not None]
