"""Prices calls a second time, from genai-prices with Decimals alone, to check the ledger's costs against."""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache

import genai_prices
from genai_prices.types import TieredPrices

from token_ledger_sdk import Usage

NANO_DOLLAR = Decimal("0.000000001")
MILLION = Decimal(1_000_000)
KNOWN_AS = {"openai-codex": "openai"}
"""Providers with another name in the price data: pi logs this one for OpenAI's coding subscription."""


def independent_cost(provider: str, model: str, usage: Usage, at: datetime) -> Decimal:
    """Return a call's cost in dollars at the list prices of an instant, each token kind rounded once, half to even.

    Raises ValueError if the unrounded sum differs from the total that genai-prices computes itself.
    """
    name = KNOWN_AS.get(provider, provider)
    kinds = _cost_by_kind(name, model, usage, at)
    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
    )
    total = genai_prices.calc_price(counts, model, provider_id=name, genai_request_timestamp=at).total_price
    if sum(kinds) != total:
        raise ValueError(f"{provider} {model}: kinds add up to {sum(kinds)}, genai-prices says {total}")
    return sum((cost.quantize(NANO_DOLLAR, ROUND_HALF_EVEN) for cost in kinds), Decimal(0))


def _cost_by_kind(provider: str, model: str, usage: Usage, at: datetime) -> list[Decimal]:
    read, write_5m, write_1h = usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens
    # The first name that has a price counts: a kind without one costs what the kind it is a part of costs.
    kinds = (
        (usage.input_tokens - read - write_5m - write_1h, ("input_mtok",)),
        (read, ("cache_read_mtok", "input_mtok")),
        (write_5m, ("cache_write_mtok", "input_mtok")),
        (write_1h, ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok")),
        (usage.output_tokens - usage.reasoning_tokens, ("output_mtok",)),
        (usage.reasoning_tokens, ("output_reasoning_mtok", "output_mtok")),
    )
    prices = _prices_on(provider, model, at.replace(minute=0, second=0, microsecond=0))
    return [tokens * _rate(prices, names, usage.input_tokens) / MILLION for tokens, names in kinds]


@cache
def _prices_on(provider: str, model: str, hour: datetime) -> object:
    nothing = genai_prices.Usage(input_tokens=0, output_tokens=0)
    return genai_prices.calc_price(nothing, model, provider_id=provider, genai_request_timestamp=hour).model_price


def _rate(prices: object, names: tuple[str, ...], input_tokens: int) -> Decimal:
    for name in names:
        rate = getattr(prices, name)
        if isinstance(rate, TieredPrices):
            passed = [tier.price for tier in rate.tiers if input_tokens > tier.start]
            return passed[-1] if passed else rate.base
        if rate is not None:
            return Decimal(rate)
    raise ValueError(f"no price for {names[0]}")
