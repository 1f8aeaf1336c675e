"""Owns marginal tiers: how the input of a call is divided over the bands between their thresholds.

Every input token costs the rate of its kind in the band of its place in the prompt. A prompt begins with what is read
from the cache, because providers cache beginnings; then comes what is written to it, for an hour before for 5 minutes,
then all other input (the order of `PARTS`). Tokens of other kinds stand before the rest of the kind that they are a
part of. Output is no input, so no threshold divides it, nor what is counted: both cost the base rates. So a price is
continuous: one token more costs that token.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from token_ledger.core.model.other_kinds import OTHER_KINDS, rate_name
from token_ledger.core.model.usage import PARTS

INPUT = "input_tokens"
INPUT_KINDS = tuple(
    name
    for whole in (*PARTS[INPUT], INPUT)
    for name in (*(kind.name for kind in OTHER_KINDS.values() if kind.part_of == whole), whole)
)
"""The kinds that a prompt consists of, in the order of their places."""

INPUT_RATES = frozenset(map(rate_name, INPUT_KINDS))
"""What the rates of these are called: those that a marginal tier has."""

_Rates = TypeVar("_Rates")
Bands = Iterable[tuple[int, Mapping[str, int]]]
"""Rates by kind with the number of tokens before their band, ascending from 0."""


def input_amounts(rated: Mapping[str, int], bands: Bands) -> dict[str, int]:
    """Return for every kind of input that a call has what its tokens cost, in the unit of a rate times a token.

    `rated` says how many tokens the rate of each kind applies to. A kind without a rate costs nothing.
    """
    places = [*_with_ends(bands)]
    amounts, begin = {}, 0
    for kind in INPUT_KINDS:
        count = rated.get(kind, 0)
        if count:
            amounts[kind] = sum(
                overlap * rates.get(kind, 0)
                for above, end, rates in places
                if (overlap := _overlap(above, end, begin, begin + count)) > 0
            )
            begin += count
    return amounts


def most_amount(uncached: int, cached: int, rates: Iterable[tuple[int, int, int]]) -> int:
    """Return the most that input may cost of which at most so much is not read from the cache, and so much in all.

    `rates` are those of such input and of cached input with the tokens before their band. What is not read from the
    cache follows what is, so it may begin anywhere up to `cached` tokens: the cost is highest at one of the places
    where one of its ends meets a threshold.
    """
    # Where reading from the cache is dearer than anything else, all other input is counted as if it were read from it.
    bands = [(above, (max(fresh, read), read)) for above, fresh, read in rates]
    starts = [above for above, _ in bands]
    begins = {0, cached, *starts, *(start - uncached for start in starts)}
    places = [*_with_ends(bands)]
    return max(
        sum(
            max(0, _overlap(above, end, begin, begin + uncached)) * fresh
            + max(0, _overlap(above, end, 0, begin)) * read
            for above, end, (fresh, read) in places
        )
        for begin in begins
        if 0 <= begin <= cached
    )


def _overlap(above: int, end: int | None, begin: int, until: int) -> int:
    """Return how many of the tokens between two places are in a band, 0 or less if none are."""
    return (until if end is None else min(until, end)) - max(begin, above)


def _with_ends(bands: Iterable[tuple[int, _Rates]]) -> Iterator[tuple[int, int | None, _Rates]]:
    """Yield bands with the place at which they end, None for the last."""
    known = [*bands]
    for (above, rates), following in zip(known, [*known[1:], None], strict=True):
        yield above, None if following is None else following[0], rates
