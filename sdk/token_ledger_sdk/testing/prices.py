"""What models cost in the fake service: one price for each, without tiers, discounts and ways of serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from ..providers import Usage
from ..providers.usage import OTHER_KINDS, PARTS, TEXT_KINDS, UNITS

_NANOS = 10**9
_SCALE = 10**15
"""Rates are whole atto-dollars for a million tokens: that many make a nano-dollar a token."""
_PER_THOUSAND = 1_000
_NOT_PER_THOUSAND = ("characters", "audio_seconds", "requests")
"""Units that are priced in another way, which the fake service does not know."""


def money_text(nanos: int) -> str:
    """Return nano-dollars as the service writes money."""
    dollars, rest = divmod(abs(nanos), _NANOS)
    return f"{'-' if nanos < 0 else ''}{dollars}.{rest:09d}"


def nanos_of(dollars: Decimal | str) -> int:
    """Return dollars as nano-dollars; raises ValueError for what is finer."""
    nanos = Decimal(dollars) * _NANOS
    if nanos != nanos.to_integral_value():
        raise ValueError(f"{dollars} dollars is finer than a nano-dollar: give at most nine decimal places")
    return int(nanos)


def _attos(rate: Decimal) -> int:
    return int(rate * 10**18)


def _cost(tokens: int, rate: Decimal) -> int:
    """Return nano-dollars for tokens at a rate for a million, rounded half to even as the service does."""
    whole, rest = divmod(tokens * _attos(rate), _SCALE)
    return whole + (2 * rest > _SCALE or (2 * rest == _SCALE and whole & 1))


def fitted(usage: Usage) -> tuple[Usage, bool]:
    """Return a usage whose parts fit into their wholes, and whether some had to be cut for that."""
    counts = usage_counts(usage)
    for whole, parts in PARTS:
        room = counts[whole]
        for part in parts:
            counts[part] = min(counts[part], room)
            room -= counts[part]
    fitting = Usage(**counts)
    return fitting, fitting != usage


def usage_counts(usage: Usage) -> dict[str, int]:
    """Return the count of every kind."""
    return {kind: getattr(usage, kind) for kind in (*TEXT_KINDS, *OTHER_KINDS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """What a model costs, in US dollars for a million tokens, and what is known of it.

    Cached input costs what input does, and reasoning what output does, unless it has a rate. `others` are rates for a
    thousand of what is counted by the piece, such as `{"web_searches": Decimal("5")}`; a kind without one has no price.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    others: Mapping[str, Decimal] = field(default_factory=dict)
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.others if kind not in UNITS or kind in _NOT_PER_THOUSAND]:
            raise ValueError(f"the fake service can't price {unknown[0]!r}: give kinds that cost so much a thousand")

    @property
    def rates(self) -> dict[str, Decimal]:
        """The rate of every kind of text token."""
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write_5m is None else self.cache_write_5m
        return {
            "input": self.input,
            "output": self.output,
            "cache_read": read,
            "cache_write_5m": write,
            "cache_write_1h": write if self.cache_write_1h is None else self.cache_write_1h,
            "reasoning": self.output if self.reasoning is None else self.reasoning,
        }

    @property
    def dearest_output(self) -> Decimal:
        """What a token of output costs at most."""
        return max(self.output, self.rates["reasoning"])

    def hold_nanos(self, call: Mapping[str, object], output_tokens: int) -> int:
        """Return what a call costs at most with so much output."""
        rates, write = self.rates, call.get("cache_write")
        input_rate = max(self.input, rates[f"cache_write_{write}"]) if write else self.input
        cached = _count(call, "cached_input_tokens")
        cost = _cost(_count(call, "input_tokens") - cached, input_rate) + _cost(output_tokens, self.dearest_output)
        return cost + _cost(cached, rates["cache_read"]) + self.announced_nanos(call)

    def announced_nanos(self, call: Mapping[str, object]) -> int:
        """Return what the most of other kinds costs that a call announces."""
        most = call.get("max_usage")
        counts = most.items() if isinstance(most, Mapping) else ()
        return sum(_cost(count * _PER_THOUSAND, self.others[kind]) for kind, count in counts if kind in self.others)

    def without_price(self, call: Mapping[str, object]) -> list[str]:
        """Return what a call announces and has no price here."""
        most = call.get("max_usage")
        named = most if isinstance(most, Mapping) else ()
        missing = [kind for kind in OTHER_KINDS if kind in named and kind not in self.others]
        return [*missing, "service_tier"] if call.get("service_tier", "standard") != "standard" else missing

    def most_output(self, call: Mapping[str, object], nanos: int) -> int:
        """Return how much output a call may have that costs at most so much; below 0 if its input costs more."""
        left = nanos - self.hold_nanos(call, 0)
        rate = _attos(self.dearest_output)
        if left < 0 or not rate:
            return -1 if left < 0 else _count(call, "max_output_tokens")
        return ((2 * left + 1) * _SCALE - (left & 1)) // (2 * rate)

    def charge(self, usage: Usage) -> tuple[int, list[tuple[str, int, int | None]]]:
        """Return what a usage costs, and a line for each other kind: its name, its count, its cost if it has one."""
        u, rates = usage, self.rates
        writes = u.cache_write_5m_tokens + u.cache_write_1h_tokens
        counts = {
            "input": u.input_tokens - u.cache_read_tokens - writes,
            "cache_read": u.cache_read_tokens,
            "cache_write_5m": u.cache_write_5m_tokens,
            "cache_write_1h": u.cache_write_1h_tokens,
            "output": u.output_tokens - u.reasoning_tokens,
            "reasoning": u.reasoning_tokens,
        }
        lines: list[tuple[str, int, int | None]] = []
        for kind in OTHER_KINDS:
            count: int = getattr(u, kind)
            if count:
                rate = self.others.get(kind)
                lines.append((kind, count, None if rate is None else _cost(count * _PER_THOUSAND, rate)))
        tokens = sum(_cost(count, rates[kind]) for kind, count in counts.items())
        return tokens + sum(nanos or 0 for _, _, nanos in lines), lines


def _count(call: Mapping[str, object], name: str) -> int:
    found = call.get(name, 0)
    return found if isinstance(found, int) else 0
