"""Reads what tenants have added to the price book, and gives each the book that it sees."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.discount import Discount
from token_ledger.core.model.model_facts import OwnFacts, facts_from
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.price_terms import Alias, OwnPrice, PriceTerms, book_with
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.json_columns import parsed
from token_ledger.storage.prices import VERSION, current_price_book, price_from

LOAD_OWN_PRICES = """
select tenant_id, price_id, provider, model, rates, valid_from, null::time as daily_from, null::time as daily_until
from tenant_prices where tenant_id = any($1) order by price_id desc
"""
LOAD_ALIASES = """
select tenant_id, alias_id, provider, model, to_provider, to_model
from tenant_aliases where tenant_id = any($1) order by alias_id
"""
LOAD_DISCOUNTS = """
select tenant_id, discount_id, provider, model, factor, valid_from, valid_until
from tenant_discounts where tenant_id = any($1) order by discount_id
"""

LOAD_FACTS = """
select tenant_id, facts_id, provider, model, facts from tenant_models where tenant_id = any($1) order by facts_id
"""

_EXTENT = f"""
select ({VERSION}) as version, (select count(*) from tenant_prices where tenant_id = :tenant),
    (select count(*) from tenant_aliases where tenant_id = :tenant),
    (select count(*) from tenant_discounts where tenant_id = :tenant)
"""


def own_price_from(row: Any) -> OwnPrice:
    """Make an entry of a tenant's own from a row."""
    rates = parsed(row["rates"])
    price = None if rates is None else price_from(row, published=False)
    return OwnPrice(
        row["price_id"], row["provider"], row["model"], row["valid_from"], rates, price
    )  # fmt: skip


def alias_from(row: Any) -> Alias:
    """Make an alias from a row."""
    model = row["to_model"]
    stands_for = None if model is None else ModelName(row["to_provider"], model)
    return Alias(row["alias_id"], row["provider"], row["model"], stands_for)


def own_facts_from(row: Any) -> OwnFacts:
    """Make what a tenant says of a model from a row."""
    return OwnFacts(row["facts_id"], row["provider"], row["model"], facts_from(parsed(row["facts"])))


def discount_from(row: Any) -> Discount:
    """Make a discount from a row."""
    names = ("discount_id", "provider", "model", "factor", "valid_from", "valid_until")
    return Discount(*(row[name] for name in names))


async def load_price_terms(connection: AsyncConnection, tenant: TenantId) -> PriceTerms:
    """Load what a tenant has added to the price book."""
    prices = await _rows_of(connection, LOAD_OWN_PRICES, tenant)
    aliases = await _rows_of(connection, LOAD_ALIASES, tenant)
    discounts = await _rows_of(connection, LOAD_DISCOUNTS, tenant)
    facts = await _rows_of(connection, LOAD_FACTS, tenant)
    return PriceTerms(
        tuple(map(own_price_from, prices)), tuple(map(alias_from, aliases)), tuple(map(discount_from, discounts)),
        tuple(map(own_facts_from, facts)),
    )  # fmt: skip


async def load_tenant_book(connection: AsyncConnection, tenant: TenantId, prices: PriceBook) -> PriceBook:
    """Return the price book as a tenant sees it."""
    return book_with(prices.base, await load_price_terms(connection, tenant))


async def current_tenant_book(connection: AsyncConnection, tenant: TenantId, book: PriceBook) -> PriceBook:
    """Return the price book as a tenant sees it now: the given one, if that is its own and nothing was added since."""
    extent = (await connection.execute(text(_EXTENT), {"tenant": tenant})).one()
    if book.extent == tuple(extent):
        return book
    return await load_tenant_book(connection, tenant, await current_price_book(connection, book.base))


async def _rows_of(connection: AsyncConnection, statement: str, tenant: TenantId) -> Sequence[Any]:
    found = await connection.execute(text(statement.replace("$1", ":tenants")), {"tenants": [tenant]})
    return found.mappings().all()
