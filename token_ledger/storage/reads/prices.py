"""Reads the price book as a tenant sees it: dated entries, of its own and of the global book, and aliases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.discount import WHOLE, Discount
from token_ledger.core.model.price import Price, PriceBook
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


@dataclass(frozen=True, slots=True)
class PriceListing:
    """Entries by name of the model, older ones first, as they were read: those of a page are completed by `shown`.

    The book has thousands, and a process that read them all for every page would do nothing else meanwhile. `factors`
    are those of the tenant's discounts, by their ids.
    """

    entries: list[StoredPrice]
    book: PriceBook
    terms: PriceTerms
    at: datetime
    factors: Mapping[int, int]

    def is_in_force(self, entry: StoredPrice) -> bool:
        """Tell whether calls at the instant are priced by an entry."""
        if entry.source == OWN:
            own = self.terms.own_price_at(entry.provider, entry.model, self.at)
            return own is not None and own.price_id == entry.price_id
        price = self._price_of(entry)
        return price is not None and price.price_id == entry.price_id

    def factor_of(self, entry: StoredPrice) -> int:
        """Return what the tenant pays of the rates of an entry that is in force, in billionths."""
        price = self._price_of(entry)
        return WHOLE if price is None or price.discount_id is None else self.factors[price.discount_id]

    def _price_of(self, entry: StoredPrice) -> Price | None:
        prices = self.book.find(entry.provider, entry.model)
        return None if prices is None else prices.at(self.at)

    def shown(self, entries: Iterable[StoredPrice] | None = None) -> list[StoredPrice]:
        """Return entries, all if none are given, with their rates read, and whether they are in force."""
        return [
            replace(each, rates=parsed(each.rates), in_force=self.is_in_force(each))
            for each in (self.entries if entries is None else entries)
        ]


async def list_prices(
    connection: AsyncConnection, tenant: TenantId, book: PriceBook, at: datetime,
    *, provider: str | None = None, model: str | None = None,
) -> PriceListing:  # fmt: skip
    """Return the entries of all models, or of those that a filter names.

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
    wanted = entries if model is None else [each for each in entries if _fits(each, names)]
    ordered = sorted(wanted, key=lambda each: (each.provider, each.model.casefold(), abs(each.price_id)))
    factors = {each.discount_id: each.factor for each in terms.discounts if each.factor is not None}
    return PriceListing(ordered, book, terms, at, factors)


async def find_prices(
    connection: AsyncConnection, tenant: TenantId, book: PriceBook, at: datetime,
    *, provider: str | None = None, model: str | None = None,
) -> list[StoredPrice]:  # fmt: skip
    """Return what `list_prices` does, all of it completed."""
    return (await list_prices(connection, tenant, book, at, provider=provider, model=model)).shown()


def _fits(entry: StoredPrice, names: set[tuple[str | None, str | None]]) -> bool:
    model = entry.model.casefold()
    return (entry.provider, model) in names or (None, model) in names


async def find_discounts(
    connection: AsyncConnection, tenant: TenantId, at: datetime
) -> list[tuple[Discount, bool]]:  # fmt: skip
    """Return the discounts of a tenant by name, later ones first, and whether each is in force at an instant."""
    terms = await load_price_terms(connection, tenant)
    latest_first = sorted(terms.discounts, key=lambda each: (each.valid_from, each.discount_id), reverse=True)
    return [
        (each, terms.discount_at(each.provider, each.model, at) == each)
        for each in sorted(latest_first, key=lambda each: (each.provider, each.model.casefold()))
    ]


async def find_aliases(connection: AsyncConnection, tenant: TenantId) -> Sequence[Alias]:
    """Return the aliases of a tenant that stand for something, by name."""
    aliases = (await load_price_terms(connection, tenant)).aliases
    newest = {(each.provider, each.model.casefold()): each for each in aliases}
    return [newest[name] for name in sorted(newest) if newest[name].stands_for is not None]
