"""What one call used: tokens of each kind, and what is counted by the piece.

To add a kind, add a field to `Usage` and its name to `PARTS` or `UNITS`, and fill it where a provider's usage is read.
JSON, addition and subtraction follow from the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import add, attrgetter

PARTS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("input_tokens", ("cache_read_tokens", "cache_write_1h_tokens", "cache_write_5m_tokens")),
    ("output_tokens", ("reasoning_tokens",)),
    ("input_tokens", ("audio_input_tokens", "image_input_tokens", "video_input_tokens")),
    ("output_tokens", ("audio_output_tokens", "image_output_tokens", "video_output_tokens", "citation_tokens")),
    ("cache_read_tokens", ("audio_cache_read_tokens", "image_cache_read_tokens")),
    ("audio_input_tokens", ("audio_cache_read_tokens",)),
    ("image_input_tokens", ("image_cache_read_tokens",)),
)
"""The kinds that are parts of another one; each list divides its whole in its own way, so cached audio is in two. Where
a whole is smaller than its parts, the first in a list keep their tokens and the later ones are cut, as the service does
it."""

UNITS = (
    "web_searches", "file_searches", "images", "pages", "annotated_pages", "characters", "messages", "audio_seconds",
    "requests",
)  # fmt: skip
"""What is counted by the piece, beside the tokens; `audio_seconds` are rounded up to whole seconds."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used, in tokens, and in the units that some providers charge besides.

    `input_tokens` is the whole prompt and `output_tokens` everything that was generated; the other kinds of tokens are
    parts of these two. `requests` counts fees per request besides that of the call itself. Raises ValueError for a
    count that is not an integer of 0 or more.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    video_input_tokens: int = 0
    audio_cache_read_tokens: int = 0
    image_cache_read_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    video_output_tokens: int = 0
    citation_tokens: int = 0
    web_searches: int = 0
    file_searches: int = 0
    images: int = 0
    pages: int = 0
    annotated_pages: int = 0
    characters: int = 0
    messages: int = 0
    audio_seconds: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        counts = _counts(self)
        if {*map(type, counts)} != {int} or min(counts) < 0:
            for kind, value in zip(_KINDS, counts, strict=True):
                _check_count(kind, value)

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(add, _counts(self), _counts(other)))

    def less(self, booked: Usage) -> Usage:
        """Subtract what is booked already: the difference of each kind, never below zero.

        After a first booking, a part is cut to the new tokens of its whole. So input that was booked before the
        provider reported it as cached is not booked a second time.
        """
        if booked == NO_USAGE:
            return self
        new = {kind: max(0, getattr(self, kind) - getattr(booked, kind)) for kind in _KINDS}
        for whole, parts in PARTS:
            room = new[whole]
            for part in parts:
                new[part] = min(new[part], room)
                room -= new[part]
        return Usage(**new)

    def to_json(self) -> dict[str, int]:
        """Return the counts by name, as the service takes them: text tokens always, other kinds where there are any."""
        counts = _counts(self)
        said: dict[str, int] = dict(zip(TEXT_KINDS, counts, strict=False))
        if any(counts[len(TEXT_KINDS) :]):  # few calls have others
            said.update((kind, count) for kind, count in zip(_KINDS, counts, strict=True) if count)
        return said


_KINDS = tuple(field.name for field in fields(Usage))
_counts = attrgetter(*_KINDS)
TEXT_KINDS = _KINDS[:6]
"""The kinds of tokens that every call has: they are sent even where there are none."""
OTHER_KINDS = _KINDS[6:]
"""The kinds that few calls have: what `max_usage` may name."""
NO_USAGE = Usage(0, 0)


def check_other_kinds(most: Mapping[str, int]) -> None:
    """Raise TypeError if a name is none of the other kinds."""
    if unknown := [kind for kind in most if kind not in OTHER_KINDS]:
        raise TypeError(f"max_usage names {unknown[0]!r}, which is no such kind: give some of {', '.join(OTHER_KINDS)}")


def _check_count(kind: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{kind} is {value!r}: give how many there were, an integer of 0 or more")
