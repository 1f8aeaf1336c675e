"""Owns names of models that may be patterns: `*` in a model's name stands for anything.

An exact name goes before a pattern, and a longer pattern before a shorter one. Case does not matter.
"""

import re
from typing import Generic, TypeVar

ANYTHING = "*"
MOST_STARS = 2
"""How many `*` a pattern may have. The time of a comparison grows with the power of their number."""
Kept = TypeVar("Kept")


class Names(Generic[Kept]):
    """Things by the names and patterns that they are for; of two for one name the later one counts."""

    def __init__(self) -> None:
        self.exact: dict[tuple[str, str], Kept] = {}
        self._patterns: dict[tuple[str, str], tuple[re.Pattern[str], Kept]] = {}

    def put(self, provider: str, model: str, thing: Kept) -> None:
        """Keep a thing under a name or a pattern."""
        name = provider, model.casefold()
        if ANYTHING in model:
            self._patterns[name] = _expression(name[1]), thing
        else:
            self.exact[name] = thing

    def get(self, provider: str, model: str) -> Kept | None:
        """Return what stands under exactly this name or pattern."""
        name = provider, model.casefold()
        found = self._patterns.get(name)
        return self.exact.get(name) if found is None else found[1]

    def match(self, provider: str, model: str) -> tuple[int, Kept] | None:
        """Return what the longest pattern that a name fits is for, with the pattern's length."""
        fitting = [
            (len(pattern), thing)
            for (owner, pattern), (expression, thing) in self._patterns.items()
            if owner == provider and expression.fullmatch(model)
        ]
        return max(fitting, key=lambda each: each[0], default=None)

    def fitting(self, provider: str, model: str) -> list[Kept]:
        """Return all that a name is for, the most exact first; what is for any model of any provider goes last."""
        patterns = [
            (pattern, thing)
            for (owner, pattern), (expression, thing) in self._patterns.items()
            if owner == provider and expression.fullmatch(model)
        ]
        patterns.sort(key=lambda each: len(each[0]), reverse=True)
        named = (self.exact.get((provider, model)), *(thing for _, thing in patterns), self.get(ANYTHING, ANYTHING))
        return [thing for thing in named if thing is not None]

    def find(self, provider: str, model: str) -> Kept | None:
        """Return what a name is for, by itself or by a pattern."""
        if (provider, model) in self.exact:
            return self.exact[provider, model]
        matched = self.match(provider, model)
        return None if matched is None else matched[1]


def is_pattern(model: str) -> bool:
    """Tell whether the name of a model is a pattern."""
    return ANYTHING in model


def check_pattern(model: str) -> None:
    """Raise ValueError if a pattern has too many stars."""
    if model.count(ANYTHING) > MOST_STARS:
        raise ValueError(f"{model!r} has more than {MOST_STARS} `*`; write a pattern such as gpt-5*")


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split(ANYTHING))), re.DOTALL)
