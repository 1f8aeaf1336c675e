"""Owns the price book: dated rates per model and what a call costs by them (design D13).

Rates are integers (see `money`). A tier replaces every rate once the whole input passes its threshold, the "cliff"
that providers publish. A kind without a rate of its own costs what the kind it is a part of costs.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from enum import StrEnum

from token_ledger.core.money import cost_nanos
from token_ledger.core.usage import Usage
from token_ledger.core.values import value


class CacheWrite(StrEnum):
    """For how long a provider keeps what a call writes to its cache; the rate depends on it."""

    FIVE_MINUTES = "5m"
    ONE_HOUR = "1h"


@dataclass(frozen=True, slots=True)
class Rates:
    """Atto-dollars per million tokens for every kind."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Price:
    """One dated entry of the price book: base rates and tiers `(input tokens above which, rates)`, ascending."""

    price_id: int
    base: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    valid_from: datetime | None = None
    daily_from: time | None = None
    daily_until: time | None = None

    def rates_for(self, input_tokens: int) -> Rates:
        """Return the rates of the tier that a call with this whole input falls into."""
        if not self.tiers or input_tokens <= self.tiers[0][0]:
            return self.base
        position = bisect_left(self.tiers, input_tokens, key=lambda tier: tier[0])
        return self.tiers[position - 1][1]

    def applies_at(self, at: datetime) -> bool:
        """Tell whether this entry is valid at an instant; daily hours are UTC and may wrap over midnight."""
        if self.valid_from is not None and at < self.valid_from:
            return False
        if self.daily_from is None or self.daily_until is None:
            return True
        clock = at.astimezone(UTC).time()
        if self.daily_from <= self.daily_until:
            return self.daily_from <= clock < self.daily_until
        return clock >= self.daily_from or clock < self.daily_until


def usage_cost_nanos(price: Price, usage: Usage) -> int:
    """Return the cost of clamped usage: the sum of its kinds, each rounded once, so that lines add up."""
    rates = price.rates_for(usage.input_tokens)
    read, write_5m, write_1h = usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens
    total = cost_nanos(usage.input_tokens - read - write_5m - write_1h, rates.input)
    total += cost_nanos(usage.output_tokens - usage.reasoning_tokens, rates.output)
    if read:
        total += cost_nanos(read, rates.cache_read)
    if write_5m:
        total += cost_nanos(write_5m, rates.cache_write_5m)
    if write_1h:
        total += cost_nanos(write_1h, rates.cache_write_1h)
    if usage.reasoning_tokens:
        total += cost_nanos(usage.reasoning_tokens, rates.reasoning)
    return total


@value
class Size:
    """What a call may take: its whole input, the part of it expected from the cache, the most it may answer.

    `cache_write` says that the input which is not read from the cache may be written to it, for 5 minutes or 1 hour.
    """

    input_tokens: int
    cached_input_tokens: int
    max_output_tokens: int
    cache_write: CacheWrite | None = None


def hold_cost_nanos(price: Price, size: Size) -> int:
    """Return what a hold sets aside: the most that a call of this size can cost if the cache is hit as expected."""
    rates = price.rates_for(size.input_tokens)
    input_rate = rates.input
    if size.cache_write is not None:
        input_rate = max(
            input_rate, rates.cache_write_1h if size.cache_write is CacheWrite.ONE_HOUR else rates.cache_write_5m
        )
    return (
        cost_nanos(size.input_tokens - size.cached_input_tokens, input_rate)
        + cost_nanos(size.cached_input_tokens, rates.cache_read)
        + cost_nanos(size.max_output_tokens, max(rates.output, rates.reasoning))
    )


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """All entries of one model; of those that apply at an instant the last in the book counts."""

    provider: str
    model: str
    entries: tuple[Price, ...]

    def at(self, instant: datetime) -> Price | None:
        """Return the price at an instant, or None where none applies yet."""
        for price in reversed(self.entries):
            if price.applies_at(instant):
                return price
        return None


class PriceBook:
    """Finds a model's prices by the names that callers use; unknown names stay unknown, never free."""

    def __init__(
        self,
        models: Mapping[tuple[str, str], ModelPrices],
        resolve: Callable[[str, str], tuple[str, str] | None],
    ) -> None:
        self._models = models
        self._resolve = resolve
        self._found: dict[tuple[str, str], ModelPrices | None] = {}

    def find_entry(self, provider: str, model: str, price_id: int) -> Price | None:
        """Return an entry of a model by its id, or None."""
        prices = self.find(provider, model)
        entries = () if prices is None else prices.entries
        return next((price for price in entries if price.price_id == price_id), None)

    def find(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model, by its exact name in the book first, then by its aliases."""
        name = (provider, model)
        try:
            return self._found[name]
        except KeyError:
            pass
        prices = self._models.get(name)
        if prices is None:
            canonical = self._resolve(provider, model)
            prices = self._models.get(canonical) if canonical is not None else None
        if len(self._found) > _REMEMBERED_NAMES:  # names come from callers: what they can fill must be bounded
            self._found.clear()
        self._found[name] = prices
        return prices


_REMEMBERED_NAMES = 10_000
