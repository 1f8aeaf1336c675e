"""Owns what a money hold sets aside: the most that a call of a size can cost, and the sizes that callers announce."""

from enum import StrEnum

from token_ledger.core.model.frozen import value
from token_ledger.core.model.money import cost_nanos, unit_cost_nanos
from token_ledger.core.model.other_kinds import PER_MILLION, PER_THOUSAND, REQUESTS
from token_ledger.core.model.price import Price


class CacheWrite(StrEnum):
    """For how long a provider keeps what a call writes to its cache; the rate depends on it."""

    FIVE_MINUTES = "5m"
    ONE_HOUR = "1h"


@value
class Size:
    """What a call may take: its whole input, the part of it expected from the cache, the most it may answer.

    `cache_write` says that the input which is not read from the cache may be written to it, for 5 minutes or 1 hour.
    """

    input_tokens: int
    cached_input_tokens: int
    max_output_tokens: int
    cache_write: CacheWrite | None = None


def hold_rates(price: Price, size: Size) -> tuple[int, int, int]:
    """Return the rates that a hold pays for uncached input, cached input and output."""
    rates = price.rates_for(size.input_tokens)
    input_rate = rates.input
    if size.cache_write is not None:
        input_rate = max(
            input_rate, rates.cache_write_1h if size.cache_write is CacheWrite.ONE_HOUR else rates.cache_write_5m
        )
    return input_rate, rates.cache_read, max(rates.output, rates.reasoning)


def request_rate(price: Price, input_tokens: int) -> int:
    """Return the fee of a call with this whole input, in atto-dollars per thousand; 0 if there is none."""
    return price.other_rates_for(input_tokens).get(REQUESTS, 0) if REQUESTS in price.others else 0


def hold_cost_nanos(price: Price, size: Size) -> int:
    """Return what a hold sets aside: the most that a call of this size can cost if the cache is hit as expected."""
    input_rate, cached_rate, output_rate = hold_rates(price, size)
    cached = size.cached_input_tokens
    cost = cost_nanos(size.input_tokens - cached, input_rate) + cost_nanos(size.max_output_tokens, output_rate)
    if cached:
        cost += cost_nanos(cached, cached_rate)
    if REQUESTS in price.others:
        cost += unit_cost_nanos(1, request_rate(price, size.input_tokens), PER_THOUSAND)
    return cost


def unrounded_cost(price: Price, size: Size) -> int:
    """Return the cost of a hold before it is rounded, in the unit of a rate times a token.

    It grows evenly with the output, so of two prices one is cheaper up to some output limit and the other beyond it.
    """
    input_rate, cached_rate, output_rate = hold_rates(price, size)
    uncached = size.input_tokens - size.cached_input_tokens
    tokens = uncached * input_rate + size.cached_input_tokens * cached_rate + size.max_output_tokens * output_rate
    return tokens + request_rate(price, size.input_tokens) * (PER_MILLION // PER_THOUSAND)
