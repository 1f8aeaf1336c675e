"""Finds the names that are most like one which nobody knows, so that a refusal can say what may have been meant."""

import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from heapq import nsmallest

MOST_NAMED = 3
_COMPARED = 8
"""How many names are compared letter by letter: those that share the most words with the one that was asked for."""
_MOST_UNLIKE = 0.4
_REMEMBERED = 1_000
Ranked = tuple[float, str]
_WORD = re.compile(r"[a-z]+|[0-9]+")
_FINE_TUNE = re.compile(r"(?<=/)ft:([^:]+).*")
"""A fine-tuned model, such as `ft:gpt-5.4:acme::B7r2`, is nearest to the model that it was made of."""


class NearestNames:
    """Knows names by the words in them. Comparing with each of some thousands would take long under a tenant's lock."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names_with: dict[str, list[str]] = {}
        for name in names:
            for word in _words(name):
                self._names_with.setdefault(word, []).append(name)
        self._found: dict[str, tuple[Ranked, ...]] = {}

    def of(self, asked: str) -> tuple[Ranked, ...]:
        """Return up to three names that are like one, the most like first, each with how unlike it is."""
        found = self._found.get(asked)
        if found is None:
            if len(self._found) > _REMEMBERED:  # callers make them up
                self._found.clear()
            found = self._found[asked] = self._nearest(asked)
        return found

    def _nearest(self, asked: str) -> tuple[Ranked, ...]:
        asked = _FINE_TUNE.sub(r"\1", asked)
        shared = Counter(name for word in sorted(_words(asked)) for name in self._names_with.get(word, ()))
        compared = nsmallest(_COMPARED, shared, key=lambda name: (-shared[name], abs(len(name) - len(asked)), name))
        matcher = SequenceMatcher(b=asked.casefold(), autojunk=False)
        alike = []
        for name in compared:
            matcher.set_seq1(name.casefold())
            alike.append((1 - matcher.ratio(), name))
        return tuple(each for each in sorted(alike) if each[0] <= _MOST_UNLIKE)[:MOST_NAMED]


def most_alike(*found: tuple[Ranked, ...]) -> tuple[str, ...]:
    """Return the names of several findings that are most like the one that was asked for."""
    ranked = sorted({each for part in found for each in part})
    return tuple(dict.fromkeys(name for _, name in ranked))[:MOST_NAMED]


def _words(name: str) -> set[str]:
    return set(_WORD.findall(name.casefold()))
