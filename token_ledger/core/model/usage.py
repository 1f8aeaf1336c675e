"""Owns what a call used: token counts by kind, and the figures that sums of calls have.

Everything about the kinds that every call has stands here (a kind that few calls have begins in `other_kinds`): a new
one is a field of `Usage`, a count, what its rate applies to, its place in `PARTS` and, where reports show it by itself,
a figure. Its rate stands in `price.Rates`. Columns, reports and `verify` follow from these lists; its fields on the
wire, with their descriptions, stand in `wire.token_kinds`. These lists are written out because every call goes through
them.
"""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import NamedTuple

from token_ledger.core.model.frozen import value
from token_ledger.core.model.other_kinds import OTHER_KINDS, Others, fit, others_of, rated_separately


@value
class Usage:
    """Tokens of one call, by kind. `input_tokens` are all prompt tokens, `output_tokens` include reasoning.

    `others` are the kinds that few calls have.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    others: Others = field(default=(), kw_only=True)

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts of all kinds of tokens that every call has, in the order of the fields."""
        return (
            self.input_tokens, self.output_tokens, self.cache_read_tokens,
            self.cache_write_5m_tokens, self.cache_write_1h_tokens, self.reasoning_tokens,
        )  # fmt: skip

    @property
    def by_kind(self) -> dict[str, int]:
        """All counts by kind, those of other kinds only where there are any."""
        return dict(zip(KINDS, self.counts, strict=True)) | dict(self.others)

    @property
    def without_others(self) -> "Usage":
        """The tokens that every call has."""
        return Usage(*self.counts) if self.others else self

    @property
    def rated(self) -> tuple[int, ...]:
        """For each of these kinds, how many tokens its rate applies to: a whole without its parts."""
        if self.others:
            return self._rated_beside_others()
        return (
            self.input_tokens - self.cache_read_tokens - self.cache_write_5m_tokens - self.cache_write_1h_tokens,
            self.output_tokens - self.reasoning_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
            self.reasoning_tokens,
        )

    def _rated_beside_others(self) -> tuple[int, ...]:
        rated = dict(zip(KINDS, Usage(*self.counts).rated, strict=True))
        for name, count in rated_separately(self.others).items():
            whole = OTHER_KINDS[name].part_of
            if whole is not None:
                rated[whole] -= count
        return tuple(rated.values())

    @property
    def total_tokens(self) -> int:
        """Input and output; cached and reasoning tokens are inside them."""
        return self.input_tokens + self.output_tokens

    @property
    def uncached_tokens(self) -> int:
        """What an account that counts uncached tokens counts: all but the input read from a cache."""
        return self.input_tokens - self.cache_read_tokens + self.output_tokens

    @property
    def cache_write_tokens(self) -> int:
        """Input written to the provider's cache, both times to live."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens


PARTS: dict[str, tuple[str, ...]] = {
    "input_tokens": ("cache_read_tokens", "cache_write_1h_tokens", "cache_write_5m_tokens"),
    "output_tokens": ("reasoning_tokens",),
}
"""The kinds that are counted within another one. Where they do not fit, the first is believed before the next."""

KINDS = tuple(each.name for each in fields(Usage) if each.name != "others")


def usage_from(counts: Mapping[str, int]) -> Usage:
    """Return usage from counts by kind, those of other kinds among them."""
    return Usage(*(counts.get(kind, 0) for kind in KINDS), others=others_of(counts))


LARGEST_USE = 10**12
"""The most tokens of a kind that a call is booked with: far more than any has. What says more is kept for review."""


class Figures(NamedTuple):
    """What roll-ups and reports add up; tokens are counts of `Usage`, input including the cache's, output reasoning."""

    calls: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nanos: int


def figures_of(calls: int, usage: Usage, cost_nanos: int) -> Figures:
    """Return what one event adds to every sum."""
    return Figures(
        calls, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens,
        usage.reasoning_tokens, cost_nanos,
    )  # fmt: skip


def add_figures(sums: list[int], calls: int, usage: Usage, cost_nanos: int) -> None:
    """Add what one event adds to every sum, in the order of `Figures`."""
    sums[0] += calls
    sums[1] += usage.input_tokens
    sums[2] += usage.output_tokens
    sums[3] += usage.cache_read_tokens
    sums[4] += usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    sums[5] += usage.reasoning_tokens
    sums[6] += cost_nanos


def clamp(usage: Usage) -> tuple[Usage, bool]:
    """Return usage whose parts fit into their wholes, and whether it had to be changed.

    Some providers report more cached than prompt tokens. A whole is believed before its parts: these are cut, in the
    order of `PARTS`, to what the parts before them left of it.
    """
    if min(usage.rated) >= 0 and not usage.others:  # no whole is less than its parts
        return usage, False
    if usage.others:
        plain, changed = clamp(Usage(*usage.counts))
        others = fit(usage.others, dict(zip(KINDS, plain.rated, strict=True)))
        kept = dict(others)
        return Usage(*plain.counts, others=others), changed or any(
            kept.get(name, 0) < count for name, count in usage.others
        )
    counts = dict(zip(KINDS, usage.counts, strict=True))
    for whole, parts in PARTS.items():
        left = counts[whole]
        for part in parts:
            counts[part] = min(counts[part], left)
            left -= counts[part]
    return usage_from(counts), True
