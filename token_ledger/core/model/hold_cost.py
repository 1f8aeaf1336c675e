"""Owns what a money hold sets aside: the most that a call of a size can cost, and the sizes that callers announce."""

from collections.abc import Iterator
from enum import StrEnum

from token_ledger.core.model.frozen import value
from token_ledger.core.model.marginal_tiers import most_amount
from token_ledger.core.model.money import cost_nanos
from token_ledger.core.model.other_kinds import OTHER_KINDS, PER_MILLION, PER_THOUSAND, REQUESTS, Others
from token_ledger.core.model.price import Price, Rates


class CacheWrite(StrEnum):
    """For how long a provider keeps what a call writes to its cache; the rate depends on it."""

    FIVE_MINUTES = "5m"
    ONE_HOUR = "1h"


@value
class Size:
    """What a call may take: its whole input, the part of it expected from the cache, the most it may answer.

    `cache_write` says that the input which is not read from the cache may be written to it, for 5 minutes or 1 hour.
    `others` are the most of other kinds that it may take, and `assumed_rates` the rates of those that a price may lack.
    """

    input_tokens: int
    cached_input_tokens: int
    max_output_tokens: int
    cache_write: CacheWrite | None = None
    others: Others = ()
    assumed_rates: tuple[tuple[str, int], ...] = ()


@value
class Announced:
    """What a call announces: the most of other kinds, its service tier, and what of these has no price.

    `assumed_by` is the entry by whose rates the kinds without a price are held, 0 if it has a rate for none.
    """

    max_usage: Others = ()
    service_tier: str | None = None
    without_price: tuple[str, ...] = ()
    assumed_by: int = 0


def hold_rates(price: Price, size: Size) -> tuple[int, int, int]:
    """Return the rates that a hold pays for uncached input, cached input and output.

    Of a price with marginal tiers they are those of its base, which output has.
    """
    return _held(price.rates_for(size.input_tokens), size.cache_write)


def _held(rates: Rates, cache_write: CacheWrite | None) -> tuple[int, int, int]:
    input_rate = rates.input
    if cache_write is not None:
        input_rate = max(
            input_rate, rates.cache_write_1h if cache_write is CacheWrite.ONE_HOUR else rates.cache_write_5m
        )
    return input_rate, rates.cache_read, rates.dearest_output


def call_rate(price: Price, size: Size) -> int:
    """Return what a call of this size may cost beside its tokens, in atto-dollars per million calls.

    That is its fee, and the most of other kinds that it announces: tokens with a rate above that of the tokens they are
    a part of cost the difference, however many of these there are, by marginal tiers the largest difference of a band
    that the input reaches. Kinds without a price cost what is assumed for them, else nothing.
    """
    rates = price.other_rates_for(size.input_tokens)
    total = rates.get(REQUESTS, 0) * (PER_MILLION // PER_THOUSAND) if REQUESTS in price.others else 0
    if size.others:
        held_at, assumed = dict(zip(_WHOLES, hold_rates(price, size), strict=True)), dict(size.assumed_rates)
        for name, count in size.others:
            kind, rate = OTHER_KINDS[name], rates.get(name, assumed.get(name, 0))
            if kind.part_of is None:
                total += -(-count * rate * PER_MILLION // kind.per)
            elif price.tiers_are_marginal and kind.part_of in _WHOLES[:2]:
                total += count * max(_differences(price, size, name, rate, _WHOLES.index(kind.part_of)))
            else:
                total += count * max(0, rate - held_at[kind.part_of])
    return total


_WHOLES = ("input_tokens", "cache_read_tokens", "output_tokens")
"""The kinds that `hold_rates` has the rates of."""


def _differences(price: Price, size: Size, name: str, otherwise: int, whole: int) -> Iterator[int]:
    """Yield how much more a kind of input costs than its whole in the bands that a call of this size reaches.

    A band without a rate of the kind has the one that counts otherwise.
    """
    for above, rates, others in price.bands:
        if above == 0 or above < size.input_tokens:
            yield max(0, others.get(name, otherwise) - _held(rates, size.cache_write)[whole])


def hold_cost_nanos(price: Price, size: Size) -> int:
    """Return what a hold sets aside: the most that a call of this size can cost if the cache is hit as expected."""
    input_rate, cached_rate, output_rate = hold_rates(price, size)
    cached = size.cached_input_tokens
    if price.tiers_are_marginal:
        cost = cost_nanos(1, _marginal_input(price, size)) + cost_nanos(size.max_output_tokens, output_rate)
    else:
        cost = cost_nanos(size.input_tokens - cached, input_rate) + cost_nanos(size.max_output_tokens, output_rate)
        if cached:
            cost += cost_nanos(cached, cached_rate)
    if size.others or REQUESTS in price.others:
        cost += cost_nanos(1, call_rate(price, size))  # a rate is for a million, of calls too
    return cost


def unrounded_cost(price: Price, size: Size) -> int:
    """Return the cost of a hold before it is rounded, in the unit of a rate times a token.

    It grows evenly with the output, so of two prices one is cheaper up to some output limit and the other beyond it.
    """
    input_rate, cached_rate, output_rate = hold_rates(price, size)
    if price.tiers_are_marginal:
        input_amount = _marginal_input(price, size)
    else:
        uncached = size.input_tokens - size.cached_input_tokens
        input_amount = uncached * input_rate + size.cached_input_tokens * cached_rate
    return input_amount + size.max_output_tokens * output_rate + call_rate(price, size)


def _marginal_input(price: Price, size: Size) -> int:
    """Return the most that the input may cost by marginal tiers, in the unit of a rate times a token."""
    uncached = size.input_tokens - size.cached_input_tokens
    rates = ((above, *_held(rates, size.cache_write)[:2]) for above, rates, _ in price.bands)
    return most_amount(uncached, size.cached_input_tokens, rates)


def most_rates(price: Price | None, others: Others) -> tuple[tuple[str, int], ...]:
    """Return the highest rate that a price has for each of these kinds, in whichever tier; it may be 0."""
    if price is None or not others:
        return ()
    bands = [rates for _, _, rates in price.bands]
    return tuple(
        (name, max(rates.get(name, 0) for rates in bands))
        for name, _ in others
        if any(name in rates for rates in bands)
    )


def without_price(price: Price, others: Others, input_tokens: int) -> tuple[str, ...]:
    """Return the other kinds that a call with this whole input has no price for."""
    rates = price.other_rates_for(input_tokens)
    return tuple(name for name, _ in others if name not in rates)
