"""The model of prices: the same price list read independently, with fractions rounded half to even per token kind."""

from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from functools import cache, lru_cache
from itertools import pairwise

from tests.simulation.price_list import (
    COUNTED,
    ENTRIES,
    INPUT_KINDS,
    KINDS,
    OTHER_KINDS,
    PROVIDER,
    STAND_IN,
    Entry,
    starts_at,
)
from token_ledger.core.batch.commands import Reserve
from token_ledger.core.model.usage import Usage


class PricedModel:
    """What the model knows of prices: when its price list is anchored, and what time it is."""

    anchor: datetime
    now: datetime

    def entry_at(self, model: str, at: datetime) -> Entry | None:
        """Return the entry of a model at an instant."""
        return _entry_at(model, self.anchor, at)

    def _rates(self, model: str, input_tokens: int, at: datetime) -> Mapping[str, Fraction] | None:
        entry = self.entry_at(model, at)
        return None if entry is None else _rates_at(entry, input_tokens)

    def hold_cost(self, model: str, command: Reserve, output: int | None = None) -> int | None:
        """Return the nano-dollars that a call may cost, None where its model has no price now."""
        parts = self._cost_parts(model, command, command.max_output_tokens if output is None else output)
        return None if parts is None else sum(map(round, parts))  # round() of a fraction rounds half to even

    def exact_cost(self, model: str, command: Reserve, output: int) -> Fraction | None:
        """Return what a call may cost without rounding."""
        parts = self._cost_parts(model, command, output)
        return None if parts is None else sum(parts, Fraction())

    def _cost_parts(self, model: str, command: Reserve, output: int) -> list[Fraction] | None:
        entry = self.entry_at(model, self.now) if command.provider == PROVIDER else None
        if entry is None:
            return None
        beside, per_output_token = _cost_beside_output(
            entry, command.input_tokens, command.cached_input_tokens, command.cache_write, command.service_tier,
            command.max_usage,
        )  # fmt: skip
        return [*beside, output * per_output_token]

    def without_price(self, model: str, command: Reserve) -> tuple[str, ...]:
        """Return what a call announces and its model has no price for."""
        entry = self.entry_at(model, self.now)
        assert entry is not None
        priced = {"audio_output_tokens", *dict(_served(entry, command.service_tier).others)}
        missing = [kind for kind, _ in command.max_usage if kind not in priced]
        is_served = command.service_tier is None or command.service_tier in dict(entry.served)
        return tuple(missing if is_served else [*missing, "service_tier"])

    def usage_cost(self, model: str, usage: dict[str, int], at: datetime) -> int | None:
        """Return the nano-dollars that a call cost, None where its model had no price."""
        rates = self._rates(model, usage["input"], at)
        if rates is None:
            return None
        parts = dict(usage)
        parts["input"] -= usage["cache_read"] + usage["cache_write_5m"] + usage["cache_write_1h"]
        parts["output"] -= usage["reasoning"]
        entry = self.entry_at(model, at)
        if entry is not None and entry.marginal:
            return _graduated(entry, parts)
        return sum(round(parts[kind] * rates[kind]) for kind in KINDS)

    def counted_cost(
        self, usage: dict[str, int], at: datetime, own: Entry | None, *others: Entry | None
    ) -> tuple[int, bool]:
        """Return what counted units cost, and whether the model's own entry has a price for all of them.

        Those that it has none for cost what the first of the others has, or what stands in.
        """
        entries = [{} if entry is None else dict(entry.others) for entry in (own, *others)]
        rates = [*entries, STAND_IN if at >= self.anchor else {}]
        cost, has_prices = 0, True
        for kind in COUNTED:
            if usage[kind]:
                has_prices = has_prices and kind in rates[0]
                rate = next((Fraction(each[kind]) for each in rates if kind in each), Fraction())
                cost += round(usage[kind] * rate * 10**9 / 1_000)
        return cost, has_prices


def _served(entry: Entry, service_tier: str | None) -> Entry:
    """Return what is paid in a service tier: the standard rates where it has none of its own."""
    base = dict(entry.served).get(service_tier or "")
    return entry if base is None else Entry(entry.model, base, others=entry.others)


# Every output limit is tried with every model, and none of this depends on it: it took a third of the simulation.
@lru_cache(maxsize=1_000)
def _cost_beside_output(
    entry: Entry, input_tokens: int, cached: int, cache_write: str | None, service_tier: str | None,
    announced: tuple[tuple[str, int], ...],
) -> tuple[tuple[Fraction, ...], Fraction]:  # fmt: skip
    """Return what the parts of a call may cost that are no output, and what a token of output may."""
    entry = _served(entry, service_tier)
    others = _most_of_others(entry, input_tokens, announced)
    rates = _rates_at(entry, 0 if entry.marginal else input_tokens)
    per_output_token = max(rates["output"], rates["reasoning"])
    if entry.marginal:
        return (_most_graduated(entry, input_tokens, cached, cache_write), others), per_output_token
    written = rates[f"cache_write_{cache_write}"] if cache_write else Fraction()
    most = (input_tokens - cached) * max(rates["input"], written)
    return (most, cached * rates["cache_read"], others), per_output_token


@lru_cache(maxsize=1_000)
def _entry_at(model: str, anchor: datetime, at: datetime) -> Entry | None:
    found = None
    for entry in ENTRIES:
        starts = starts_at(entry, anchor)
        if entry.model == model and (starts is None or starts <= at):
            found = entry
    return found


def _most_of_others(entry: Entry, input_tokens: int, announced: tuple[tuple[str, int], ...]) -> Fraction:
    """Return what the other kinds that a call announces cost at most: tokens what they cost beyond their whole."""
    rates, cost = _rates_at(entry, 0 if entry.marginal else input_tokens), Fraction()
    said = {**STAND_IN, **dict(entry.others)}
    for kind, count in announced:
        per = OTHER_KINDS[kind]
        if kind in said and per is not None:
            cost += count * _fraction(said[kind]) * 10**9 / per
        elif kind in said:
            cost += count * max(Fraction(), _fraction(said[kind]) * 1_000 - max(rates["output"], rates["reasoning"]))
    return cost


def _rates_at(entry: Entry, input_tokens: int) -> Mapping[str, Fraction]:
    """Return nano-dollars a token of the last tier that begins below a number of tokens."""
    found = entry.base
    for above, rates in entry.tiers:
        found = rates if input_tokens > above else found
    return _by_kind(found)


@cache
def _by_kind(rates: tuple[str, ...]) -> Mapping[str, Fraction]:
    return {kind: Fraction(rate) * 1000 for kind, rate in zip(KINDS, rates, strict=True)}


@cache
def _fraction(rate: str) -> Fraction:
    return Fraction(rate)


def _span(entry: Entry, begin: int, end: int, kinds: tuple[str, ...]) -> Fraction:
    """Return what the tokens from one place of the input to another cost at the dearest of some kinds, one by one."""
    edges = sorted({begin, end, *(above for above, _ in entry.tiers if begin < above < end)})
    return sum(
        ((high - low) * max(_rates_at(entry, high)[kind] for kind in kinds)
         for low, high in pairwise(edges)),
        Fraction(),
    )  # fmt: skip


def _graduated(entry: Entry, parts: dict[str, int]) -> int:
    """Return what the parts of a usage cost by marginal tiers: those of the input stand behind one another."""
    cost, place, rates = 0, 0, _rates_at(entry, 0)
    for kind in INPUT_KINDS:
        cost += round(_span(entry, place, place + parts[kind], (kind,)))
        place += parts[kind]
    return cost + sum(round(parts[kind] * rates[kind]) for kind in ("output", "reasoning"))


def _most_graduated(entry: Entry, input_tokens: int, cached: int, cache_write: str | None) -> Fraction:
    """Return the most that input may cost by marginal tiers, tried for every place where the uncached part begins."""
    uncached = input_tokens - cached
    kinds = ("input", "cache_read", *((f"cache_write_{cache_write}",) if cache_write else ()))
    turns = [above for above, _ in entry.tiers]
    begins = {0, cached, *turns, *(turn - uncached for turn in turns)}
    return max(
        _span(entry, 0, begin, ("cache_read",)) + _span(entry, begin, begin + uncached, kinds)
        for begin in begins if 0 <= begin <= cached
    )  # fmt: skip


def kinds_of(usage: Usage) -> dict[str, int]:
    """Return the counts of a usage by kind."""
    counted = dict(usage.others)
    return {kind: getattr(usage, f"{kind}_tokens") for kind in KINDS} | {k: counted.get(k, 0) for k in COUNTED}


def fitted(usage: Usage) -> dict[str, int]:
    """Return counts whose parts fit into their wholes: the whole is believed, then reads, long writes, short writes."""
    counts = kinds_of(usage)
    left = counts["input"]
    for kind in ("cache_read", "cache_write_1h", "cache_write_5m"):
        counts[kind] = min(counts[kind], left)
        left -= counts[kind]
    counts["reasoning"] = min(counts["reasoning"], counts["output"])
    return counts
