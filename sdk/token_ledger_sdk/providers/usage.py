"""What one call used, in tokens of each kind.

To add a token kind, add a field to `Usage` and its name to `PARTS`, and fill it where a provider's usage is read
(`openai.py`, `anthropic.py`). JSON, addition and subtraction follow from the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

PARTS: Mapping[str, tuple[str, ...]] = {
    "input_tokens": ("cache_read_tokens", "cache_write_1h_tokens", "cache_write_5m_tokens"),
    "output_tokens": ("reasoning_tokens",),
}
"""The kinds that are parts of the input and of the output. Where a whole is smaller than its parts, the first in
each list keep their tokens and the later ones are cut, as the service does it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used, in tokens.

    `input_tokens` is the whole prompt and `output_tokens` everything that was generated; the other kinds are parts of
    these two. Raises ValueError for a count that is not an integer of 0 or more.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for kind, value in self.to_json().items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{kind} is {value!r}: give a number of tokens, an integer of 0 or more")

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, kind) + getattr(other, kind) for kind in _KINDS))

    def less(self, booked: Usage) -> Usage:
        """Subtract what is booked already: the difference of each kind, never below zero.

        After a first booking, a part is cut to the new tokens of its whole. So input that was booked before the
        provider reported it as cached is not booked a second time.
        """
        if booked == NO_USAGE:
            return self
        new = {kind: max(0, getattr(self, kind) - getattr(booked, kind)) for kind in _KINDS}
        for whole, parts in PARTS.items():
            room = new[whole]
            for part in parts:
                new[part] = min(new[part], room)
                room -= new[part]
        return Usage(**new)

    def to_json(self) -> dict[str, int]:
        """Return the count of every kind by its name, as the service takes it."""
        return {kind: getattr(self, kind) for kind in _KINDS}


_KINDS = tuple(field.name for field in fields(Usage))
NO_USAGE = Usage(0, 0)
