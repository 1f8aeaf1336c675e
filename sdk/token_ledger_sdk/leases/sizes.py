"""What one call may take of a lease: its size in tokens, and what that comes to in every unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from operator import attrgetter

from ..providers import Usage
from ..providers.usage import check_other_kinds
from ..wire.leases import LeasePrice, Tier

_MILLION = Decimal(1_000_000)
_NANO_DOLLAR = Decimal("0.000000001")
_EXACT = Context(prec=60)
MARGINAL = "marginal"
"""The mode of tiers that are for the input beyond their thresholds only."""
_threshold = attrgetter("above_input_tokens")


@dataclass(frozen=True, slots=True)
class Size:
    """The largest call to admit: the whole input, the most output, the input expected from a cache; in tokens.

    `max_usage` is the most that it may use of other kinds, `service_tier` how it will be served. Raises ValueError for
    a negative count, or for more cached input than input: such a call would add to a lease instead of taking from it.
    Raises TypeError for a kind that `Usage` does not know.
    """

    input_tokens: int
    max_output_tokens: int
    cached_input_tokens: int = 0
    max_usage: Mapping[str, int] = field(default_factory=dict)
    service_tier: str | None = None

    def __post_init__(self) -> None:
        for name in ("input_tokens", "max_output_tokens", "cached_input_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give 0 or more")
        if self.cached_input_tokens > self.input_tokens:
            raise ValueError(
                f"cached_input_tokens is {self.cached_input_tokens}, more than the whole input: give at most"
                f" {self.input_tokens}"
            )
        if self.max_usage:
            check_other_kinds(self.max_usage)
            _ = self.usage  # checks the counts

    @property
    def uncached_input_tokens(self) -> int:
        """The input that is not expected from a cache."""
        return self.input_tokens - self.cached_input_tokens

    @property
    def usage(self) -> Usage:
        """The usage of a call that takes all of it."""
        cached = self.cached_input_tokens
        return Usage(self.input_tokens, self.max_output_tokens, cache_read_tokens=cached, **self.max_usage)

    def changed(
        self,
        *,
        input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        cached_input_tokens: int | None = None,
        max_usage: Mapping[str, int] | None = None,
        service_tier: str | None = None,
    ) -> Size:
        """Return this size with what is given in its place; a smaller input caps the cached part too."""
        if (input_tokens, max_output_tokens, cached_input_tokens, max_usage, service_tier) == (None,) * 5:
            return self
        whole = self.input_tokens if input_tokens is None else input_tokens
        return Size(
            whole,
            self.max_output_tokens if max_output_tokens is None else max_output_tokens,
            min(self.cached_input_tokens, max(whole, 0)) if cached_input_tokens is None else cached_input_tokens,
            self.max_usage if max_usage is None else max_usage,
            service_tier or self.service_tier,
        )

    def is_within(self, other: Size) -> bool:
        """Whether a call of this size costs no more than one of the other size, whatever the rates are."""
        return (
            self.input_tokens <= other.input_tokens
            and self.max_output_tokens <= other.max_output_tokens
            and self.uncached_input_tokens <= other.uncached_input_tokens
            and self.announces_no_more(other)
        )

    def is_like(self, other: Size) -> bool:
        """Whether a call of this size is at most twice as large as one of the other, and none that it has no rates of.

        Calls of an agent grow with its conversation.
        """
        tokens, most = self.input_tokens + self.max_output_tokens, other.input_tokens + other.max_output_tokens
        return tokens <= 2 * most and self.announces_no_more(other)

    def announces_no_more(self, other: Size) -> bool:
        """Whether a call of this size is served as one of the other, and uses no more of other kinds."""
        if self.service_tier != other.service_tier:
            return False
        most = other.max_usage
        return self.max_usage is most or all(count <= most.get(kind, 0) for kind, count in self.max_usage.items())


@dataclass(frozen=True, slots=True)
class Take:
    """What calls take of a lease, at most or in fact; `uncached` is tokens without those read from a cache."""

    tokens: int
    uncached: int
    cost: Decimal
    calls: int = 1

    def __add__(self, other: Take) -> Take:
        return Take(
            self.tokens + other.tokens, self.uncached + other.uncached, self.cost + other.cost, self.calls + other.calls
        )

    def __sub__(self, other: Take) -> Take:
        return self + Take(-other.tokens, -other.uncached, -other.cost, -other.calls)

    @property
    def fits(self) -> bool:
        """Whether nothing is below zero."""
        return min(self.tokens, self.uncached, self.calls) >= 0 and self.cost >= 0


def used(usage: Usage, cost: Decimal) -> Take:
    """Return what a booked call took."""
    tokens = usage.input_tokens + usage.output_tokens
    return Take(tokens, tokens - min(usage.cache_read_tokens, usage.input_tokens), cost)


def hold_cost(price: LeasePrice, size: Size, cache_write: str | None = None) -> Decimal:
    """Return the most that a call can cost if the cache is hit as expected, in US dollars.

    The same rule as the service's, to the nano-dollar: each token kind is rounded by itself, half to even.
    """
    tier = price.tier(size.input_tokens)
    if price.tier_mode == MARGINAL:
        base = min(price.tiers, key=_threshold)
        return (
            _rounded(_most_input_cost(price, size, cache_write))
            + _cost(size.max_output_tokens, base.dearest_output)
            + _rounded(tier.request)
        )
    return (
        _cost(size.uncached_input_tokens, _uncached_rate(tier, cache_write))
        + _cost(size.cached_input_tokens, tier.cache_read)
        + _cost(size.max_output_tokens, tier.dearest_output)
        + _rounded(tier.request)
    )


def usage_cost(price: LeasePrice, usage: Usage) -> Decimal:
    """Return what a call of tokens costs, in US dollars, by the same rule as the service's.

    Where tiers are marginal, the input that a cache has served counts as what comes first.
    """
    tier = price.tier(usage.input_tokens)
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    plain = max(0, usage.input_tokens - usage.cache_read_tokens - written)
    if price.tier_mode == MARGINAL:
        size = Size(usage.input_tokens, 0, min(usage.cache_read_tokens, usage.input_tokens))
        input_cost, tier = hold_cost(price, size), min(price.tiers, key=_threshold)
    else:
        input_cost = (
            _cost(plain, tier.input)
            + _cost(usage.cache_read_tokens, tier.cache_read)
            + _cost(usage.cache_write_5m_tokens, tier.cache_write_5m)
            + _cost(usage.cache_write_1h_tokens, tier.cache_write_1h)
            + _rounded(tier.request)
        )
    return (
        input_cost
        + _cost(max(0, usage.output_tokens - usage.reasoning_tokens), tier.output)
        + _cost(usage.reasoning_tokens, tier.reasoning)
    )


def _uncached_rate(tier: Tier, cache_write: str | None) -> Decimal:
    write = {None: tier.input, "5m": tier.cache_write_5m, "1h": tier.cache_write_1h}[cache_write]
    return max(tier.input, write)


def _most_input_cost(price: LeasePrice, size: Size, cache_write: str | None) -> Decimal:
    """Return the most that the input can cost by marginal tiers, not rounded.

    What is not read from the cache follows what is. It may begin anywhere up to `cached_input_tokens`, and costs most
    at one of the places where one of its ends meets a threshold.
    """
    tiers = sorted(price.tiers, key=_threshold)
    ends = [tier.above_input_tokens for tier in tiers[1:]] + [max(size.input_tokens, tiers[-1].above_input_tokens)]
    uncached, cached = size.uncached_input_tokens, size.cached_input_tokens
    starts = [0, *(tier.above_input_tokens for tier in tiers[1:])]
    begins = {0, cached, *starts, *(start - uncached for start in starts)}

    def cost(begin: int) -> Decimal:
        total = Decimal(0)
        for tier, start, end in zip(tiers, starts, ends, strict=True):
            before = max(0, min(begin, end) - start)
            behind = max(0, min(begin + uncached, end) - max(begin, start))
            rate = max(_uncached_rate(tier, cache_write), tier.cache_read)
            total = _EXACT.fma(before, tier.cache_read, _EXACT.fma(behind, rate, total))
        return total

    return _EXACT.divide(max(cost(begin) for begin in begins if 0 <= begin <= cached), _MILLION)


def _cost(tokens: int, rate: Decimal) -> Decimal:
    return _rounded(_EXACT.divide(_EXACT.multiply(tokens, rate), _MILLION))


def _rounded(dollars: Decimal) -> Decimal:
    return dollars.quantize(_NANO_DOLLAR, ROUND_HALF_EVEN, _EXACT)
