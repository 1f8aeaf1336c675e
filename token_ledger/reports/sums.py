"""Owns what reports add up of the roll-ups: calls, tokens by kind and cost."""

from collections.abc import Iterable
from dataclasses import dataclass

from token_ledger.core.model.usage import Figures


@dataclass(frozen=True, slots=True)
class SumRow:
    """The sums under one value of a dimension (a user, a model)."""

    key: str
    sums: Figures


SUMS = ", ".join(f"sum({name})::bigint as {name}" for name in Figures._fields)
"""The sums as a select list; the columns of the roll-ups have the names of the figures."""

EVENT_FIGURES = tuple(
    "cache_write_5m_tokens + cache_write_1h_tokens" if name == "cache_write_tokens" else name
    for name in Figures._fields
)
"""The figures of usage events as SQL, in the order of the columns of the roll-ups."""

NOTHING = Figures(*(0 for _ in Figures._fields))


def add_up(sums: Iterable[Figures]) -> Figures:
    """Return the total of some sums."""
    return Figures(*map(sum, zip(NOTHING, *sums, strict=True)))
