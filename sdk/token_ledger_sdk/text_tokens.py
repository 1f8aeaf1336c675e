"""How many tokens a text has: counted where the extra `tokens` is installed, else estimated from its characters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

from .vocabularies import encoding_for

ASCII_CHARACTERS_PER_TOKEN = 4
"""Without tiktoken, so many ASCII characters count as a token, and every other character as one of its own."""

QUICK_CHARACTERS = 64 * 1024
"""A longer text is better counted in a thread, where there are other tasks."""

COUNTED = "tiktoken"
ESTIMATED = f"{ASCII_CHARACTERS_PER_TOKEN} characters a token"


def count_or_estimate(text: str, model: str) -> tuple[int, str]:
    """Return how many tokens a text has, and by which of the two ways that was found."""
    count = _counter()
    if count is not None:
        try:
            return count(text, model)[0], COUNTED
        except ImportError:  # tiktoken is there, and the ranks are not
            pass
    return estimate_tokens(text), ESTIMATED


def count_text(text: str, model: str) -> int:
    """Return how many tokens a text has, as well as it can be known here."""
    return count_or_estimate(text, model)[0]


def is_exact(model: str) -> bool:
    """Whether texts of a model are counted as its provider does."""
    return encoding_for(model)[1] and not _is_missing()


def is_quick(characters: int, model: str) -> bool:
    """Whether so much text is counted at once: the first text of a vocabulary takes long, whatever its length."""
    if characters > QUICK_CHARACTERS:
        return False
    tokens = sys.modules.get(f"{__package__}.tokens")
    # While another thread imports it, it is listed and has not all of its names yet.
    is_loaded = getattr(tokens, "is_loaded", None)
    return _is_missing() if is_loaded is None else bool(is_loaded(model))


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text from its characters, rounded up."""
    ascii_count = len(text.encode("ascii", "ignore"))
    return -(-ascii_count // ASCII_CHARACTERS_PER_TOKEN) + len(text) - ascii_count


@cache
def _counter() -> Callable[[str, str], tuple[int, bool]] | None:
    # Imported at the first text: it takes longer than all else of this package.
    try:
        from .tokens import count_plain
    except ImportError:
        return None
    return count_plain


@cache
def _is_missing() -> bool:
    return find_spec("tiktoken") is None
