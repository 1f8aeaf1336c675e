"""Adds and values the tokens of bills and of the ledger, kind by kind.

No bill says how much of the output was reasoning, so here it is output like any other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from token_ledger.core.model.money import cost_nanos
from token_ledger.core.model.price import STANDARD, Price
from token_ledger.core.model.usage import Usage

NO_TOKENS: Final = Usage()


def added(usages: Iterable[Usage]) -> Usage:
    """Return the sum of usages, without what is no token and with reasoning as output."""
    counts = [0] * 5
    for usage in usages:
        for place, count in enumerate(usage.counts[:5]):
            counts[place] += count
    return Usage(*counts)


def difference(usage: Usage, less: Usage) -> tuple[int, ...]:
    """Return how many tokens of each kind one has more than another, each kind without its parts."""
    return tuple(more - fewer for more, fewer in zip(usage.rated, less.rated, strict=True))


def value_nanos(price: Price, rated: Iterable[int]) -> int:
    """Return what tokens of each kind cost at the base rates of a price, the rates of calls of ordinary length."""
    return sum(cost_nanos(tokens, rate) for tokens, rate in zip(rated, price.base, strict=True))


def with_cache_as(usage: Usage, other: Usage) -> Usage:
    """Return usage whose input has the same shares of the cache as another one's."""
    if not other.input_tokens:
        return usage
    cached = (count * usage.input_tokens // other.input_tokens for count in other.counts[2:5])
    return Usage(usage.input_tokens, usage.output_tokens, *cached)


ByTier = Mapping[str | None, Usage]
"""Tokens by the service tier that is said; under None those of which none is said."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What tokens are supposed to cost at an instant: by an entry, in a service tier where calls say none."""

    price: Price
    service_tier: str
    at: datetime

    def cost(self, by_tier: ByTier) -> int | None:
        """Return what tokens cost so, None where a tier has no price."""
        total = 0
        for said, usage in by_tier.items():
            served = self.served_as(said or self.service_tier)
            if served is None:
                return None
            total += value_nanos(served, usage.rated)
        return total

    def served_as(self, tier: str) -> Price | None:
        """Return the price of a service tier, None where it has none."""
        return self.price.served_as(None if tier == STANDARD else tier, self.at)
