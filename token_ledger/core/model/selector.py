"""Owns selectors: which calls a budget is about, and for which dimensions every value has an account of its own.

Per dimension a selector has a name, a list of names, a prefix such as `team-*`, or `*`. The calls that match a name, a
list or a prefix share one account; with `*` every distinct value has its own.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

from token_ledger.core.model.name import MOST_BYTES, clean_name

ANY = "*"
DIMENSIONS = ("cost_center", "user", "agent_type", "provider", "model", "request_type", "tool", "run")
NAMED_IN_BOOKS = frozenset(("provider", "model"))
"""The dimensions whose values callers name in many ways, and the books in one."""
TAG_PREFIX = "tag."
LONGEST_LIST = 100
"""How many names a dimension can list."""
LONGEST_SUBJECT_BYTES = 2_600
"""An account is found by its subject, and an entry of PostgreSQL's index can have 2,704 bytes."""
_LONGEST_ID_BYTES = 19
_ALLOWED = 'use a name, a list of names, a prefix such as "team-*", or "*" for an account per value'

Wanted = str | tuple[str, ...]
"""The values of a dimension that match: a name, names in ascending order, a prefix that ends in `*`, or `*`."""

Selector = tuple[tuple[str, Wanted], ...]
"""Dimensions and what matches in each, sorted by dimension."""


def parse_selector(given: Mapping[str, str | Sequence[str]]) -> Selector:
    """Return a selector; raise ValueError that says which dimension is wrong, and what is allowed there.

    A list of one name is that name, so that two ways to say the same are equal.
    """
    found = {check_dimension(dimension): _wanted(dimension, value) for dimension, value in given.items()}
    return tuple(sorted(found.items()))


def check_dimension(dimension: str) -> str:
    """Return a dimension; raise ValueError if it is none."""
    if dimension not in DIMENSIONS and not (dimension.startswith(TAG_PREFIX) and len(dimension) > len(TAG_PREFIX)):
        raise ValueError(f"{dimension!r} is no dimension; use one of {', '.join(DIMENSIONS)} or tag.<name>")
    return dimension


def _wanted(dimension: str, given: str | Sequence[str]) -> Wanted:
    if not isinstance(given, str):
        return _names(dimension, given)
    if ANY not in given:
        return _name(dimension, given)
    if given == ANY:
        return ANY
    prefix = _name(dimension, given[:-1] + "x")[:-1]  # white space before the star is part of the prefix
    if given.count(ANY) > 1 or not given.endswith(ANY) or not prefix.strip():
        raise ValueError(f"{dimension}: {given!r} has a * in a place where it means nothing; {_ALLOWED}")
    return prefix + ANY


def _names(dimension: str, given: Sequence[str]) -> Wanted:
    if not 1 <= len(given) <= LONGEST_LIST:
        raise ValueError(f"{dimension}: a list has 1 to {LONGEST_LIST} names, not {len(given)}; {_ALLOWED}")
    for each in given:
        if ANY in each:
            raise ValueError(f"{dimension}: {each!r} is in a list, which has names only; {_ALLOWED}")
    names = sorted(_name(dimension, each) for each in given)
    twice = next((name for name, after in pairwise(names) if name == after), None)
    if twice is not None:
        raise ValueError(f"{dimension}: {twice!r} is listed twice; list each name once")
    return names[0] if len(names) == 1 else tuple(names)


def _name(dimension: str, given: str) -> str:
    if not given.strip():
        raise ValueError(f"{dimension} needs a value; {_ALLOWED}")
    try:
        return clean_name(given)
    except ValueError as error:
        raise ValueError(f"{dimension}: {error}") from None


def selects(wanted: Wanted, value: str, *, any_case: bool = False) -> bool:
    """Return whether a value of a dimension is one of those that match; `any_case` is about prefixes."""
    if isinstance(wanted, tuple):
        return value in wanted
    if wanted.endswith(ANY):
        prefix = wanted[:-1]
        return value.casefold().startswith(prefix.casefold()) if any_case else value.startswith(prefix)
    return value == wanted


def in_books(selector: Selector, name_of: Callable[[str, str], tuple[str, str]]) -> tuple[Selector, Selector]:
    """Return a selector with the names that models and providers have in the books, and what it had where it differs.

    `name_of` takes a provider, empty if any will do, and a model.
    """
    given = dict(selector)
    provider = given.get("provider", "")
    of_provider = provider if isinstance(provider, str) and not provider.endswith(ANY) else ""

    def renamed(dimension: str, name: str) -> str:
        if name.endswith(ANY):
            return name
        return name_of(name, "")[0] if dimension == "provider" else name_of(of_provider, name)[1]

    found = {
        dimension: _each(wanted, partial(renamed, dimension))
        for dimension, wanted in selector
        if dimension in NAMED_IN_BOOKS
    }
    changed = {dimension: given[dimension] for dimension, wanted in found.items() if wanted != given[dimension]}
    return tuple({**given, **found}.items()), tuple(changed.items())


def _each(wanted: Wanted, rename: Callable[[str], str]) -> Wanted:
    if isinstance(wanted, str):
        return rename(wanted)
    names = sorted({rename(name) for name in wanted})
    return names[0] if len(names) == 1 else tuple(names)


def any_dimensions(selector: Selector) -> tuple[str, ...]:
    """Return the dimensions of which every value has an account of its own."""
    return tuple(dimension for dimension, wanted in selector if wanted == ANY)


def longest_subject_bytes(dimensions: Iterable[str]) -> int:
    """Return how long the text of a subject with these dimensions can be, each value of two bytes per byte of a name.

    In JSON a quotation mark and a backslash take two; everything that takes more is no part of a name.
    """
    texts = (
        len(json.dumps(dimension, ensure_ascii=False).encode()) + _longest_text(dimension) for dimension in dimensions
    )
    return sum(text + len(":,") for text in texts) + len("{}")


def _longest_text(dimension: str) -> int:
    return len('""') + (_LONGEST_ID_BYTES if dimension == "run" else 2 * MOST_BYTES)
