"""Our costs compared with those of genai-prices for real models: equal up to the rounding of each token kind."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ConditionalPrice, ModelPrice, StartDateConstraint
from genai_prices.types import Usage as PublishedUsage

from token_ledger.core.model.price import PriceBook, usage_cost_nanos
from token_ledger.core.model.usage import Usage
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book

PROVIDERS = ("anthropic", "openai", "google", "deepseek", "perplexity", "x-ai")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HALF_A_NANO = Decimal("0.5e-9")


async def test_costs_are_those_of_the_publisher(database_url: str) -> None:
    database = Database(database_url)
    async with database.reading() as connection:
        prices = await load_price_book(connection)
    await database.close()
    compared = sum(
        compare(prices, provider, model) for provider in get_snapshot().providers for model in provider.models
    )
    assert compared > 1_000


def compare(prices: PriceBook, provider: Any, model: Any) -> int:
    """Compare a model around each of its tiers and dates; return how many costs were compared."""
    found = prices.find(provider.id, model.id)
    if provider.id not in PROVIDERS or found is None:
        return 0
    compared = 0
    for at in instants(model):
        price, published = found.at(at), model.get_prices(at)
        assert price is not None, (model.id, at)
        for usage in usages(published):
            cost = published.calc_price(as_published(usage))
            exact = cost["input_price"] + cost["output_price"]
            kinds = sum(map(bool, (usage.input_tokens, usage.output_tokens, *parts(usage))))
            difference = Decimal(usage_cost_nanos(price, usage)).scaleb(-9) - exact
            assert abs(difference) <= kinds * HALF_A_NANO, (provider.id, model.id, at, usage)
            compared += 1
    return compared


def instants(model: Any) -> list[datetime]:
    """Now, and around each of the dates and hours at which the price of a model changes."""
    found = [NOW]
    for entry in model.prices if isinstance(model.prices, list) else ():
        assert isinstance(entry, ConditionalPrice)
        if isinstance(entry.constraint, StartDateConstraint):
            changes = [datetime.combine(entry.constraint.start_date, time(), UTC)]
        elif entry.constraint is not None:
            hours = (entry.constraint.start_time, entry.constraint.end_time)
            changes = [datetime.combine(date(2026, 11, 20), hour.replace(tzinfo=UTC)) for hour in hours]
        else:
            continue
        found += [at + timedelta(seconds=seconds) for at in changes for seconds in (-1, 0, 1)]
    return found


def usages(price: ModelPrice) -> list[Usage]:
    """One call of every size at which a tier begins or ends, with and without cached and reasoning tokens."""
    rates = (price.input_mtok, price.output_mtok, price.cache_read_mtok)
    starts = {tier.start for rate in rates for tier in getattr(rate, "tiers", ())}
    sizes = {0, 1, 7, 1_237} | {start + by for start in starts for by in (-1, 0, 1)}
    plain = [Usage(size, 333) for size in sorted(sizes)]
    return plain + [
        Usage(u.input_tokens, 333, u.input_tokens // 3, u.input_tokens // 5, u.input_tokens // 7, 111) for u in plain
    ]


def parts(usage: Usage) -> tuple[int, int, int, int]:
    return (
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
    )


def as_published(usage: Usage) -> PublishedUsage:
    return PublishedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
